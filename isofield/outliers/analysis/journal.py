"""What an analysis has done so far: a journal for each rank in the folder of the results, written row by row.

A row is found again by its scan, its organ and a hash of everything it depends on; a line for each scan says which rows
it has. A kill costs the organ under way.
"""

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from isofield.outliers.analysis.rows import COLUMNS, STATUSES, Row
from isofield.run_dir import journal_file, journal_files
from isofield.runtime.journal import append, objects
from isofield.runtime.json_files import leads_out

FILES = ("picture", "reconstruction", "disagreement", "repaired")  # columns of a row that name one, below the results
NUMBERS = (
    "p", "q", "score", "dice", "asd", "assd", "hd95", "hd", "nsd", "volume_ml", "reconstruction_ml", "left_out_ml",
    "seconds",
)  # fmt: skip
MOST_STARTS = 1e15
Key = tuple[str, str, str]  # scan, organ, made with


@dataclass(frozen=True)
class ScanLine:
    """A scan that was gone through: hash of what that depended on, and for each organ what its row was made with."""

    made_with: str
    organs: Mapping[str, str]
    at: float


class Done:
    """What the journals of all ranks hold. Of two lines about one thing the one of the later start counts.

    `start`: the number of the next start. Clocks are not asked: they jump, and differ between machines.
    """

    def __init__(self, out: Path) -> None:
        self.rows: dict[Key, Row] = {}
        self.scans: dict[str, ScanLine] = {}
        self.start = 1.0
        began: dict[tuple[str, str], tuple[float, Key]] = {}  # of each organ: its files are those of its latest row
        for line in _lines(out):
            at = float(line.get("at", 0))
            self.start = max(self.start, at + 1)
            if "row" in line:
                row = line["row"]
                key = row["scan"], row["organ"], line["made_with"]
                earlier = began.get(key[:2], (0.0, key))
                if earlier[0] <= at:
                    self.rows.pop(earlier[1], None)
                    self.rows[key], began[key[:2]] = row, (at, key)
            elif line["scan"] not in self.scans or self.scans[line["scan"]].at <= at:
                self.scans[line["scan"]] = ScanLine(line["made_with"], line["organs"], at)

    def rows_of(self, scan: str) -> list[Row] | None:
        """All rows of a scan; None when some are missing."""
        line = self.scans.get(scan)
        if line is None:
            return None
        rows = [self.rows.get((scan, organ, made_with)) for organ, made_with in line.organs.items()]
        return [row for row in rows if row is not None] if all(rows) else None


class Journal:
    """One rank's own file, of one start. WriteError when it vanishes: the folder of the results is gone then."""

    def __init__(self, file: TextIO, start: float) -> None:
        self._file, self._start = file, start
        self._write("")  # a kill may have cut the last line

    def row(self, row: Row, made_with: str) -> None:
        """What took no time to find out may be lost in a power cut."""
        line = {"made_with": made_with, "row": row, "at": self._start}
        self._write(json.dumps(line), surely=row["seconds"] is not None)

    def scan(self, scan: str, made_with: str, organs: Mapping[str, str]) -> None:
        self._write(json.dumps({"scan": scan, "made_with": made_with, "organs": dict(organs), "at": self._start}))

    def _write(self, line: str, *, surely: bool = True) -> None:
        append(self._file, line, surely=surely)


def open_journal(out: Path, rank: int) -> TextIO:
    return open(journal_file(out, rank), "a", encoding="utf-8")


def forget(out: Path) -> None:
    """Start anew: what the journals say was written goes with them, nothing else."""
    for row in Done(out).rows.values():
        for file in (out / str(row.get(key)) for key in FILES if row.get(key)):
            if out.resolve() in file.resolve().parents:
                file.unlink(missing_ok=True)
    for file in journal_files(out):
        file.unlink()


def hash_of(*parts: Any) -> str:
    """Of plain values."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()


def content_hash(files: Sequence[Path]) -> str:
    """Of the bytes of files."""
    states = ((file, file.stat()) for file in files)
    return hash_of([_hash_of_file(file, state.st_mtime_ns, state.st_size) for file, state in states])


@functools.lru_cache(maxsize=1024)
def _hash_of_file(file: Path, changed: int, size: int) -> str:
    with open(file, "rb") as handle:
        return hashlib.file_digest(handle, "blake2b").hexdigest()


def _lines(out: Path) -> Iterator[dict[str, Any]]:
    for file in journal_files(out):
        yield from filter(_is_sound, objects(file))


def _is_sound(line: Mapping[str, Any]) -> bool:
    """Whether a line could be ours: results may come from anywhere, and their rows name files to remove and show."""
    at, row, organs = line.get("at", 0), line.get("row"), line.get("organs")
    if not isinstance(line.get("made_with"), str) or type(at) not in (int, float) or not 0 <= at < MOST_STARTS:
        return False
    if not isinstance(row, dict):
        texts = [line.get("scan"), *organs.keys(), *organs.values()] if isinstance(organs, dict) else [None]
        return all(isinstance(text, str) for text in texts)
    return (
        set(COLUMNS) <= set(row)
        and row["status"] in STATUSES
        and all(isinstance(row[key], str) for key in ("scan", "file", "organ", "reason"))
        and all(row[key] is None or type(row[key]) in (int, float) for key in NUMBERS)
        and not any(leads_out(row[key]) for key in FILES if row[key])
    )
