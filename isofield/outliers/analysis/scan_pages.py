"""A page for each scan of an analysis, beside that of the folder: slices to scroll through, shapes to turn, all organs.

OUT/scans/SCAN.html, and SCAN.mrml for 3D Slicer beside it. Style, scripts and three.js are files that all these pages
share (OUT/scans/assets), and what an organ shows is loaded when it is looked at: a page takes some kilobytes.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from isofield.outliers.analysis.card_columns import card_of
from isofield.outliers.analysis.rows import Row, totals, worst_first
from isofield.outliers.analysis.slicer_scene import write_scene
from isofield.reports.mask_slices import PLANES
from isofield.reports.page import write_assets, write_page
from isofield.run_dir import mesh_in

SCANS = "scans"
SCENE_SUFFIX = ".mrml"
ASSETS = "assets"  # a folder of scans may be called so too: its pages end in another way


def scan_page(out: Path, scan: str) -> Path:
    """Where the page of a scan is."""
    return mesh_in(out / SCANS, scan, ".html")


def write_scan_pages(
    out: Path, rows: Sequence[Row], *, inputs: Path | None, meanings: Mapping[str, str], report: Path, title: str
) -> list[str]:
    """Replace the pages of all scans, and their scenes; returns the address of each row, worst first, from `report`.

    `inputs`: the folder of the scans, for the scenes. `report`: the page of the folder, called `title`.
    """
    assets = out / SCANS / ASSETS
    write_assets(assets, scripts=("scan.js",))
    ordered = worst_first(rows)
    # Where every row will stand is known first: pages link to those of other scans.
    by_scan: dict[str, list[int]] = {}
    places: list[tuple[Path, int]] = []  # of each row: its page, and its number there
    for number, row in enumerate(ordered):
        own = by_scan.setdefault(row["scan"], [])
        places.append((scan_page(out, row["scan"]), len(own)))
        own.append(number)
    for scan, numbers in by_scan.items():
        file, own_rows = scan_page(out, scan), [ordered[number] for number in numbers]
        scene = file.with_suffix(SCENE_SUFFIX)
        has_scene = write_scene(scene, own_rows, out=out, inputs=inputs)
        write_page(
            file,
            "scan.html.j2",
            title=scan,
            turnable=True,
            assets=address(assets, file),
            folder=title,
            report=address(report, file),
            scene=address(scene, file) if has_scene else "",
            totals={status: count for status, count in totals(own_rows).items() if count and status in meanings},
            organs=[_organ(ordered, number, places, out) for number in numbers],
            planes=[{"axis": plane.axis, "name": plane.name, "sides": plane.sides} for plane in PLANES],
        )
    return [_link(place, report) for place in places]


def address(file: Path, page: Path) -> str:
    """Of a file beside a page, as a link."""
    return quote(Path(os.path.relpath(file, page.parent)).as_posix())


def _organ(ordered: Sequence[Row], number: int, places: Sequence[tuple[Path, int]], out: Path) -> dict[str, Any]:
    """What the page shows of an organ, its place in the folder, and where the organs before and after it there are."""
    page, _ = places[number]
    card = card_of(ordered[number])
    del card["thumbnail"]  # of the folder's page
    links = {key: address(out / card[key], page) if card[key] else None for key in ("shape", "picture")}
    around = {
        key: _link(places[other], page) if 0 <= other < len(ordered) else ""
        for key, other in (("before", number - 1), ("after", number + 1))
    }
    return card | {"addresses": links, "place": number + 1, "count": len(ordered)} | around


def _link(place: tuple[Path, int], page: Path) -> str:
    """To the organ of a number on a page: by its number, as its name may be anything."""
    file, number = place
    return f"{'' if file == page else address(file, page)}#{number}"
