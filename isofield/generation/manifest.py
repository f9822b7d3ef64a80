"""What a folder of meshes says of them: the manifest beside them, and the lines of the journal that it is made of."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from isofield.generation.files_beside import FILES
from isofield.run_dir import manifest_file
from isofield.runtime.atomic_files import write_text
from isofield.runtime.fingerprint import fingerprint
from isofield.runtime.journal import Journal, Line
from isofield.runtime.json_files import leads_out, read_object


def write_manifest(
    journal: Journal, folder: Path, settings: Mapping[str, Any], header: dict[str, Any], only: Collection[str] | None
) -> None:
    """manifest.json: the latest row of each shape that was made with these settings, sorted by name."""
    journal.collect()
    chosen = None if only is None else set(only)
    names = sorted(name for name in journal.lines if chosen is None or name in chosen)
    rows = [journal.lines[name]["row"] for name in names]
    shapes = [row for row in rows if journal.row(row["name"], made_from(settings, row.get("origin")))]
    content = {**header, **settings, "shapes": shapes}
    write_text(manifest_file(folder), json.dumps(content, indent=1) + "\n")


def meshes_of(folder: Path, names: Sequence[str]) -> list[Path | None]:
    """The meshes of some shapes as the folder's manifest has them; None where the shape failed."""
    rows = {row["name"]: row for row in rows_of(folder, names)}
    return [folder / rows[name]["file"] if rows.get(name, {}).get("status") == "done" else None for name in names]


def rows_of(folder: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of some shapes in the folder's manifest, of whichever rank."""
    chosen = set(names)
    shapes = read_object(manifest_file(folder), again="generate again")["shapes"]
    return [row for row in shapes if row["name"] in chosen]


def made_from(settings: Mapping[str, Any], origin: str | None) -> str:
    """Of what decides how a mesh comes out; a shape that failed has no origin."""
    return fingerprint([settings, origin])


def read_line(line: Line) -> Line | None:
    """A line of ours, as the version before wrote it too. None for one whose files would not be those of the folder.

    A journal may come with a run from anywhere.
    """
    settings, row = line.get("settings"), line.get("row")
    if isinstance(settings, dict):
        row = {key: value for key, value in line.items() if key not in ("settings", "start")}
        line = {"name": row.get("name"), "made_from": "", "row": row, "start": line.get("start", 0)}
        if all(isinstance(value, str | int | float) for value in [*settings.values(), row.get("origin", "")]):
            line["made_from"] = made_from(settings, row.get("origin"))
    return line if isinstance(row, dict) and row.get("name") == line.get("name") and _is_own(row) else None


def _is_own(row: dict[str, Any]) -> bool:
    if not isinstance(row.get("origin", ""), str) or any(leads_out(row[key]) for key in FILES if key in row):
        return False
    return row.get("status") == "failed" or (row.get("status") == "done" and "file" in row)
