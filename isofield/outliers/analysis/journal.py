"""What an analysis has done so far: a journal for each rank in the folder of the results, written row by row.

A line about each organ holds its row; a line about each scan says which rows it has, and what each was made from. A
kill costs the organ under way.
"""

from pathlib import Path
from typing import Any

from isofield.outliers.analysis.rows import COLUMNS, STATUSES, Row
from isofield.outliers.analysis.scan_pages import SCENE_SUFFIX, scan_page
from isofield.runtime.journal import RECORD, Journal, Line
from isofield.runtime.json_files import leads_out

# Columns that name a file below, and the file of shapes, which is no column.
FILES = ("picture", "reconstruction", "disagreement", "repaired", "agreement", "shape")
NUMBERS = (
    "p", "q", "score", "drawing_p", "dice", "asd", "assd", "hd95", "hd", "nsd", "volume_ml", "reconstruction_ml",
    "left_out_ml", "seconds",
)  # fmt: skip
LATER = ("agreement", "drawing_p")  # columns that rows of earlier versions lack: not known, which is not 0


def open_journal(out: Path, rank: int = 0, *, takes_record: bool = True) -> Journal:
    """What the journals of all ranks hold, and this rank's own."""
    return Journal(out, rank, read=_read, record=RECORD, takes_record=takes_record)


def line_of_organ(scan: str, organ: str) -> str:
    """What its line is called: another name than those of lines about scans, which are paths."""
    return f"{scan}\0{organ}"


def rows_of(journal: Journal, scan: str) -> list[Row] | None:
    """All rows of a scan; None when some are missing, or were made from something else since."""
    line = journal.lines.get(scan)
    if line is None:
        return None
    rows = [journal.row(line_of_organ(scan, organ), made_from) for organ, made_from in line["row"].items()]
    return rows if all(rows) else None


def forget(out: Path) -> None:
    """Start anew: what the journals say was written goes with them, nothing else."""
    journal = open_journal(out)
    pages = [scan_page(out, name) for name in journal.lines if "\0" not in name]
    files = [file for page in pages for file in (page, page.with_suffix(SCENE_SUFFIX))]
    rows = [line["row"] for name, line in journal.lines.items() if "\0" in name]
    files += [out / str(row.get(key)) for row in rows for key in FILES if row.get(key)]
    for file in files:
        if out.resolve() in file.resolve().parents:  # a link may lead elsewhere
            file.unlink(missing_ok=True)
    journal.remove()


def _read(line: Line) -> Line | None:
    """A line as it is, or as the version before wrote it. None for one that could not be ours.

    Results may come from anywhere, and their rows name files to remove and to show.
    """
    # Lines of the version before are translated; what is not shaped as our rows are could name any file of the user's.
    row = line.get("row", line.get("organs"))
    if isinstance(row, dict) and set(COLUMNS) - set(LATER) <= set(row):
        row = dict.fromkeys(LATER) | row
        line = {**line, "row": row}
    if "made_with" in line:
        name = _name_of(row) or line.get("scan")
        line = {"name": name, "made_from": line["made_with"], "row": row, "start": line.get("at", 0)}
    name = line.get("name")
    if not isinstance(name, str) or not isinstance(row, dict):
        return None
    is_scan = "\0" not in name and all(isinstance(text, str) for text in row.values())
    return line if is_scan or name == _name_of(row) else None


def _name_of(row: Any) -> str | None:
    """What the line about a row is called; None for what is no row."""
    is_row = (
        isinstance(row, dict)
        and set(COLUMNS) <= set(row)
        and row["status"] in STATUSES
        and all(isinstance(row[key], str) for key in ("scan", "file", "organ", "reason"))
        and all(row[key] is None or type(row[key]) in (int, float) for key in NUMBERS)
        and not any(leads_out(row[key]) for key in FILES if row.get(key))
    )
    return line_of_organ(row["scan"], row["organ"]) if is_row else None
