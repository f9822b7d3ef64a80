"""What preparation made of each input: suspect and failed ones first, with method, quality, reason and volume."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_processing.store.contract import ShapeSet
from isofield.reports.suspect_advice import advice_for
from isofield.runtime.json_files import read_object
from isofield.runtime.number_text import short

REPORT = "report.json"
RANKS = {"failed": 0, "suspect": 1, "partial": 2, "absent": 3}


@dataclass(frozen=True)
class PreparedShape:
    """One input. `index`: its row in the data set, None for what is not there. `share`: of the cube that is inside."""

    name: str
    category: str
    split: str
    status: str  # done, failed or absent
    method: str
    quality: str
    reason: str
    index: int | None = None
    share: float | None = None

    @property
    def kind(self) -> str:
        """failed, absent, suspect, partial or ok."""
        return self.status if self.status != "done" else self.quality.partition(":")[0] or "ok"

    @property
    def advice(self) -> str:
        """What to do; empty where nothing is doubtful."""
        return advice_for(self.status, self.quality)


def prepared_shapes(shapes: ShapeSet) -> list[PreparedShape]:
    """All inputs, those to look at first. ValueError for a report that does not fit the data set.

    Published files have no report: what is known of their shapes is little.
    """
    split_of = {int(i): split for split, members in shapes.splits.items() for i in members}
    index_of = {name: index for index, name in enumerate(shapes.names)}
    reported = _reported(shapes.path)
    found = [
        PreparedShape(
            name,
            shapes.categories[index],
            split_of.get(index, ""),
            "done",
            shapes.inside_method(index),
            shapes.qualities[index],
            "",
            index,
            _share(reported.get(name, {})),
        )
        for name, index in index_of.items()
    ]
    # Neither takes a place in a split. Only the report tells of structures that a scan does not have.
    found += [PreparedShape(each.name, each.category, "", "failed", "", "", each.reason) for each in shapes.failed]
    found += [
        PreparedShape(name, str(row.get("category", "")), "", "absent", "", "", str(row.get("reason", "")))
        for name, row in reported.items()
        if row.get("status") == "absent"
    ]
    return sorted(found, key=lambda shape: RANKS.get(shape.kind, len(RANKS)))


def _reported(path: Path) -> dict[str, dict[str, Any]]:
    """Rows of the report, by name; nothing where there is no report."""
    file = path / REPORT
    if not file.is_file():
        return {}
    rows = read_object(file, again="run the preparation again").get("shapes")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "name" in row for row in rows):
        raise ValueError(f"{file}: not a report of a preparation; run the preparation again")
    return {str(row["name"]): row for row in rows}


def _share(row: dict[str, Any]) -> float | None:
    """Of the cube that is inside, where the report tells."""
    share = row.get("inside_fraction")
    return float(share) if isinstance(share, int | float) else None


def volume_text(shapes: ShapeSet, shape: PreparedShape) -> str:
    """The volume in units of the input file, ml of a scan's; a dash where it is not known."""
    if shape.index is None or shape.share is None:
        return "-"
    volume = shape.share * abs(float(np.linalg.det(shapes.to_world(shape.index)[:3, :3])))
    of_scans = bool(shapes.settings.get("labels"))
    return f"{short(volume / 1000)} ml" if of_scans else f"{short(volume)} (units of the file)^3"


@dataclass(frozen=True)
class CountBar:
    """How many shapes a split or a category has, by kind; `width`: of the longest, in percent."""

    name: str
    counts: dict[str, int]
    width: float

    @property
    def total(self) -> int:
        """Of all kinds."""
        return sum(self.counts.values())


def count_bars(found: Iterable[PreparedShape], *, by: str) -> list[CountBar]:
    """By split or category, in the order of names; what is in no split is called so."""
    counters: dict[str, Counter[str]] = {}
    for shape in found:
        counters.setdefault(str(getattr(shape, by)) or "in none", Counter())[shape.kind] += 1
    longest = max((counter.total() for counter in counters.values()), default=1)
    return [
        CountBar(name, dict(sorted(counter.items())), 100 * counter.total() / longest)
        for name, counter in sorted(counters.items())
    ]
