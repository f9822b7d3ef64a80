"""What an analysis has done so far: a journal for each rank in the folder of the results, written row by row.

A row is found again by its scan, its organ and a hash of everything it depends on; a line for each scan says which rows
it has. A kill costs the organ under way.
"""

import functools
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from engine.run_dir import journal_file, journal_files
from outliers.rows import Row

FILES = ("picture", "reconstruction", "disagreement")  # columns of a row that name one, below the results
Key = tuple[str, str, str]  # scan, organ, made with


@dataclass(frozen=True)
class ScanLine:
    """A scan that was gone through: hash of what that depended on, and for each organ what its row was made with."""

    made_with: str
    organs: Mapping[str, str]
    at: float


class Done:
    """What the journals of all ranks hold."""

    def __init__(self, out: Path) -> None:
        self.rows: dict[Key, Row] = {}
        self.scans: dict[str, ScanLine] = {}
        for line in _lines(out):
            if "row" in line:
                row = line["row"]
                self.rows[row["scan"], row["organ"], line["made_with"]] = row
            elif line["scan"] not in self.scans or self.scans[line["scan"]].at <= line["at"]:
                self.scans[line["scan"]] = ScanLine(line["made_with"], line["organs"], line["at"])

    def rows_of(self, scan: str) -> list[Row] | None:
        """All rows of a scan; None when some are missing."""
        line = self.scans.get(scan)
        if line is None:
            return None
        rows = [self.rows.get((scan, organ, made_with)) for organ, made_with in line.organs.items()]
        return [row for row in rows if row is not None] if all(rows) else None


class Journal:
    """One rank's own file."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._write("")  # a kill may have cut the last line

    def row(self, row: Row, made_with: str) -> None:
        """What took no time to find out may be lost in a power cut."""
        self._write(json.dumps({"made_with": made_with, "row": row}), surely=row["seconds"] is not None)

    def scan(self, scan: str, made_with: str, organs: Mapping[str, str]) -> None:
        line = {"scan": scan, "made_with": made_with, "organs": dict(organs), "at": time.time()}
        self._write(json.dumps(line))

    def _write(self, line: str, *, surely: bool = True) -> None:
        self._file.write(line + "\n")
        self._file.flush()
        if surely:
            os.fsync(self._file.fileno())


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
        for text in file.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue  # cut by a kill
            if isinstance(line, dict) and ({"row", "made_with"} <= set(line) or {"scan", "organs", "at"} <= set(line)):
                yield line
