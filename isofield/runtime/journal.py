"""What ranks note while they work, a line for each shape: a command that was stopped goes on from there.

Each rank writes its own file and reads those of all, also of an earlier start with another number of ranks. A line has
the number of its start, one more than any start before: of two lines about one shape the later start's counts.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from isofield.runtime.atomic_files import WriteError, refuse_vanished, write_text
from isofield.runtime.json_files import parse_json

Line = dict[str, Any]


class Journal:
    """One rank's file, opened for more lines, and what there was in those of all ranks.

    surely: a line survives a power cut; else only the end of the process. WriteError when the file cannot be written,
    or vanishes: the folder of the results is gone then.
    """

    def __init__(self, own: Path, files: Iterable[Path], *, surely: bool = True) -> None:
        self.before = latest(files)
        self._start = 1 + max((line.get("start", 0) for line in self.before.values()), default=0)
        self._own, self._surely = own, surely

    def __enter__(self) -> Self:
        self._file = _shared(self._own)
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
        append(self._file, text, surely=self._surely)


def append(file: TextIO, line: str, *, surely: bool) -> None:
    """One more line; `surely`: it survives a power cut. WriteError when that fails, or the file is no longer there.

    Then the line is not written: other files that belong to it went where its folder was, not where that is now.
    """
    refuse_vanished(file)
    try:
        file.write(line + "\n")
        file.flush()
        if surely:
            os.fsync(file.fileno())
    except OSError as error:
        raise WriteError(error.errno, error.strerror, file.name) from error
    refuse_vanished(file)


def objects(file: Path) -> Iterator[Line]:
    """The lines that are JSON objects; what a kill or a power cut left of others is none."""
    with open(file, encoding="utf-8", errors="replace") as handle:
        for text in handle:
            with contextlib.suppress(ValueError):
                line = parse_json(text)
                if isinstance(line, dict):
                    yield line


def compact(files: Sequence[Path], into: Path) -> dict[str, Line]:
    """The lines that count. When most do not, `into` keeps those that do and the other files go.

    Nothing is touched while any process has one of the files open, or where the file system has no locks.
    """
    with contextlib.ExitStack() as stack:
        for file in files:
            with contextlib.suppress(OSError):
                handle = stack.enter_context(open(file, "rb"))
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                continue
            return latest(files)
        lines = latest(files)
        if sum(1 for file in files for _ in _lines(file)) > 2 * len(lines):
            write_text(into, "".join(json.dumps(line) + "\n" for line in lines.values()))
            for file in set(files) - {into}:
                file.unlink()
    return lines


def _shared(path: Path) -> TextIO:
    """Opened for appending, and no other process tidies it up as long as it is open."""
    while True:
        file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (the caller closes it)
        with contextlib.suppress(OSError):  # no locks here: nobody tidies up
            fcntl.flock(file, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # tidied up while we waited for the lock


def latest(files: Iterable[Path]) -> dict[str, Line]:
    """The line of each name that counts; a line cut by a kill does not."""
    lines: dict[str, Line] = {}
    for file in files:
        for line in _lines(file):
            other = lines.get(line["name"])
            if other is None or other.get("start", 0) <= line.get("start", 0):
                lines[line["name"]] = line
    return lines


def _lines(file: Path) -> Iterator[Line]:
    for line in objects(file):
        if isinstance(line.get("name"), str) and isinstance(line.get("start", 0), int):
            yield line
