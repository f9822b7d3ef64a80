"""What ranks note while they work, a line for each shape: a command that was stopped goes on from there.

Each rank writes its own file and reads those of all, also of an earlier start with another number of ranks. A line has
the number of its start, one more than any start before: of two lines about one shape the later start's counts.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from data_processing.json_files import parsed

Line = dict[str, Any]


class Journal:
    """One rank's file, opened for more lines, and what there was in those of all ranks.

    surely: a line survives a power cut; else only the end of the process.
    """

    def __init__(self, own: Path, files: Iterable[Path], *, surely: bool = True) -> None:
        self.before = latest(files)
        self._start = 1 + max((line.get("start", 0) for line in self.before.values()), default=0)
        self._own, self._surely = own, surely

    def __enter__(self) -> Self:
        self._file = open(self._own, "a", encoding="utf-8")
        self._write("")  # a kill may have cut the last line
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, line: Line) -> None:
        """Note what has a `name`."""
        self._write(json.dumps({**line, "start": self._start}))

    def _write(self, text: str) -> None:
        self._file.write(text + "\n")
        self._file.flush()
        if self._surely:
            os.fsync(self._file.fileno())


def latest(files: Iterable[Path]) -> dict[str, Line]:
    """The line of each name that counts; a line cut by a kill does not."""
    found: dict[str, Line] = {}
    for file in files:
        for line in _lines(file):
            other = found.get(line["name"])
            if other is None or other.get("start", 0) <= line.get("start", 0):
                found[line["name"]] = line
    return found


def _lines(file: Path) -> Iterator[Line]:
    with open(file, encoding="utf-8", errors="replace") as handle:
        for text in handle:
            try:
                line = parsed(text)
            except ValueError:
                continue
            if isinstance(line, dict) and isinstance(line.get("name"), str) and isinstance(line.get("start", 0), int):
                yield line
