"""What ranks note while they work, a line for each thing that is done: a command that was stopped goes on from there.

A line says which thing (`name`), the fingerprint of what it was made from (`made_from`), what came out (`row`), and the
number of the start in which it was noted. It holds as long as the thing would be made from the same again and the row
stands. Each rank writes a file of its own and reads those of all, also of earlier starts with another number of ranks.
A start's number is one more than any before: of two lines about one thing the later start's counts. Clocks are not
asked: they jump, and differ between machines.

A command that is done leaves no journal: what counts stays in one *record* that anybody can see, sorted by name, where
the next start has to know it. That start makes it the journal again, by renaming; a kill leaves the one or the other.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from isofield.runtime.atomic_files import WriteError, refuse_vanished, write_text
from isofield.runtime.json_files import parse_json
from isofield.runtime.locks import Lock, NoLocksError, try_lock

Line = dict[str, Any]
STEM = ".journal"
RECORD = "record.jsonl"  # of a folder of results
FAILED = ("failed", "ERROR")  # status of a row that is tried again
MOST_STARTS = 10**15
PATIENCE = 60.0  # seconds in which another process has collected what it collects


def journal_file(folder: Path, rank: int, *, stem: str = STEM) -> Path:
    """Where one rank notes what it has done."""
    return folder / f"{stem}-{rank}.jsonl"


def journal_files(folder: Path, *, stem: str = STEM) -> list[Path]:
    """Those of all ranks that ever worked into a folder."""
    return sorted(folder.glob(f"{stem}-*.jsonl"))


class Journal:
    """The latest line about each thing in the files of a folder, and one rank's own file, opened for more by `with`.

    `record`: the file in the folder that keeps what counts when the work is done; the first rank makes it its journal,
    unless `takes_record` says that others, whom nobody waits for, may read it at any time. `read` is asked what a line
    says: it translates those of the version before, and gives None for one that is not of the command's own making.
    `surely`: a line survives a power cut; else only the end of the process. WriteError when the file cannot be written,
    or vanishes: the folder of the results is gone then.
    """

    def __init__(
        self,
        folder: Path,
        rank: int = 0,
        *,
        read: Callable[[Line], Line | None] = lambda line: line,
        stem: str = STEM,
        surely: bool = True,
        record: str | None = None,
        takes_record: bool = True,
    ) -> None:
        self._folder, self._stem, self._read, self._surely = folder, stem, read, surely
        self._record = None if record is None else folder / record
        self._takes_record = rank == 0 and takes_record
        self._own = journal_file(folder, rank, stem=stem)
        self.lines = _latest(self._lines())
        self._start = min(MOST_STARTS, 1 + max((line["start"] for line in self.lines.values()), default=0))

    def __enter__(self) -> Self:
        # The lock first: it keeps others from collecting this file away while it is open.
        self._lock = _lock_while_open(self._own)
        # A visible record without its hidden journal would be stale from the first new line on. Others have read it.
        if self._record is not None and self._takes_record and not self._own.exists():
            with contextlib.suppress(FileNotFoundError):
                self._record.replace(self._own)
        self._file = open(self._own, "a", encoding="utf-8")
        _append(self._file, "", surely=self._surely)  # a kill may have cut the last line
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._lock is not None:
            self._lock.release()

    def row(self, name: str, made_from: str) -> Any:
        """What came out of a thing, if it was made from the same; else None."""
        line = self.lines.get(name)
        return line["row"] if line is not None and line["made_from"] == made_from else None

    def add(self, name: str, made_from: str, row: Any, *, surely: bool | None = None) -> None:
        """Note what came out; `surely`: other than the journal's."""
        line = {"name": name, "made_from": made_from, "row": row, "start": self._start}
        _append(self._file, json.dumps(line), surely=self._surely if surely is None else surely)

    def collect(self) -> None:
        """Read again, once all ranks are done. When most lines do not count, those that do go into the own file alone.

        Nothing is touched while any process has one of the files open, or where the file system has no locks.
        """
        files = journal_files(self._folder, stem=self._stem)
        with contextlib.ExitStack() as stack:
            alone = all(_is_unused(file, stack) for file in files)
            self.lines.clear()  # of 50,000 shapes: 100 MiB
            self.lines = _latest(self._lines())
            # Only when more than half are of no more use: rewriting a large journal costs more than a few stale lines.
            if alone and sum(1 for _ in self._lines()) > 2 * len(self.lines):
                write_text(self._own, "".join(json.dumps(line) + "\n" for line in self.lines.values()))
                for file in set(files) - {self._own}:
                    file.unlink()

    def keep_record(self) -> None:
        """The work is done, of all ranks: what counts goes into the record, and the journals go.

        They stay where any process has one of them open, or the file system has no locks. WriteError as of any file.
        """
        assert self._record is not None
        files = journal_files(self._folder, stem=self._stem)
        with contextlib.ExitStack() as stack:
            if not all(_is_unused(file, stack) for file in files):
                return
        self.lines.clear()
        self.lines = _latest(self._lines())
        # One file with all that counts first, then the others go: a kill between leaves none with less alone.
        write_text(self._own, "".join(json.dumps(self.lines[name]) + "\n" for name in sorted(self.lines)))
        for file in {*files} - {self._own}:
            file.unlink()
        self._own.replace(self._record)

    def remove(self) -> None:
        """The files go, of all ranks, and the record."""
        for file in [*journal_files(self._folder, stem=self._stem), *([self._record] if self._record else [])]:
            file.unlink(missing_ok=True)

    def _lines(self) -> Iterator[Line]:
        """Those that are sound: what a kill or a power cut left of others is none."""
        record = [self._record] if self._record is not None and self._record.is_file() else []
        for file in [*record, *journal_files(self._folder, stem=self._stem)]:
            for text in _objects(file):
                line = self._read(text)
                if line is not None and _is_sound(line):
                    yield line


def stands(row: Mapping[str, Any], folder: Path, files: Iterable[str] = ()) -> bool:
    """Whether a row may be taken over: it did not fail, and the files that these columns name are in the folder."""
    return row["status"] not in FAILED and all((folder / row[key]).is_file() for key in files if row.get(key))


def _latest(lines: Iterable[Line]) -> dict[str, Line]:
    """The line about each thing that counts."""
    latest: dict[str, Line] = {}
    for line in lines:
        other = latest.get(line["name"])
        # Of one start the later line counts, as files are read in order.
        if other is None or other["start"] <= line["start"]:
            latest[line["name"]] = line
    return latest


def _is_sound(line: Line) -> bool:
    # A line without the number of a start is older than any that has one.
    start = line.setdefault("start", 0)
    texts = isinstance(line.get("name"), str) and isinstance(line.get("made_from"), str)
    return texts and "row" in line and type(start) in (int, float) and 0 <= start <= MOST_STARTS


def _objects(file: Path) -> Iterator[Line]:
    """The lines that are JSON objects."""
    with open(file, encoding="utf-8", errors="replace") as handle:
        for text in handle:
            with contextlib.suppress(ValueError):
                line = parse_json(text)
                if isinstance(line, dict):
                    yield line


def _append(file: TextIO, line: str, *, surely: bool) -> None:
    """One more line. WriteError when that fails, or the file is no longer there.

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
    # And after: the folder may have gone while the line was under way, and the line with it.
    refuse_vanished(file)


def _lock_while_open(file: Path) -> Lock | None:
    """A lock that tells others that a journal is open; None where there are no locks, and nobody moves lines."""
    with contextlib.suppress(NoLocksError):
        lock = try_lock(_lock_file(file), wait=PATIENCE)
        if lock is None:
            raise ValueError(f"{file}: another process writes it; wait for it, or stop it")
        return lock
    return None


def _is_unused(file: Path, stack: contextlib.ExitStack) -> bool:
    """Whether no process has it open, and none gets at it before the stack is left; False where there are no locks."""
    with contextlib.suppress(OSError):
        lock = try_lock(_lock_file(file))
        if lock is not None:
            stack.callback(lock.release)
            return True
    return False


def _lock_file(file: Path) -> Path:
    return file.with_suffix(".lock")
