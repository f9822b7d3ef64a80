"""An evaluation shared by ranks that goes on where it was stopped, with any number of them.

Each rank notes the rows of its shapes in a hidden file beside the results; when these are written the files go. A row
is taken over when both of its sides are the files that they were.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from isofield.evaluation.pairs import Comparison, Pair
from isofield.evaluation.protocols import AnyProtocol
from isofield.evaluation.rows import Row, SampleCounts
from isofield.evaluation.tables import describe
from isofield.runtime.commandline import say
from isofield.runtime.distributed import Group
from isofield.runtime.journal import Journal, Line, latest

FORMAT = 1  # of what rows are made of
Rows = list[Row]  # of one shape, one for each protocol


class Notes:
    """The files of all ranks of one evaluation."""

    def __init__(self, out: Path, what: Comparison, protocols: Sequence[AnyProtocol], draws: SampleCounts) -> None:
        told = [FORMAT, what.title, what.about, what.split, [[p.name, describe(p, draws)] for p in protocols]]
        text = json.dumps(told, sort_keys=True, default=str)
        self.stem = out / f".rows-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"

    def file(self, rank: int) -> Path:
        return self.stem.with_name(f"{self.stem.name}-{rank}.jsonl")

    def files(self) -> list[Path]:
        return sorted(self.stem.parent.glob(f"{self.stem.name}-*.jsonl"))

    def remove(self) -> None:
        """The results are written."""
        for file in self.files():
            file.unlink(missing_ok=True)


def rows_of_ranks(
    pairs: Sequence[Pair], rows_of: Callable[[Sequence[Pair]], Generator[Rows]], notes: Notes, group: Group
) -> list[Rows]:
    """Rows of all pairs on the first rank, in order; nothing on others.

    `rows_of` makes those of some pairs, in order; it is asked for this rank's, every size-th, that are not there yet.
    """
    journal = Journal(notes.file(group.rank), notes.files(), surely=False)
    group.wait()  # nobody writes before all have read
    mine = pairs[group.rank :: group.size]
    made = {pair.name: line["rows"] for pair in mine if (line := _still_true(journal.before.get(pair.name), pair))}
    if made:
        say(f"rank {group.rank}: {len(made)} of {len(mine)} shapes were evaluated before")
    missing = [pair for pair in mine if pair.name not in made]
    with journal, contextlib.closing(rows_of(missing)) as rows:
        for pair, of_pair in zip(missing, rows, strict=True):
            made[pair.name] = of_pair
            journal.add({"name": pair.name, "made_from": made_from(pair), "rows": of_pair})
    group.wait()
    if not group.is_first:
        return []
    if group.size > 1:
        made = {name: line["rows"] for name, line in latest(notes.files()).items() if "rows" in line} | made
    return [made[pair.name] for pair in pairs]


def made_from(pair: Pair) -> str:
    """Which files both sides are: their places, sizes and times of change."""
    files = [] if pair.prediction is None else [pair.prediction]
    files += [] if pair.truth is None else pair.truth.files()
    return json.dumps([pair.reason, [_state(file) for file in files]])


def _still_true(line: Line | None, pair: Pair) -> Line | None:
    """A line that stands: it is one of ours, all went well, and nothing changed."""
    rows = None if line is None else line.get("rows")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row.get("status") == "done" for row in rows):
        return None
    return line if line and line.get("made_from") == made_from(pair) else None


def _state(file: Path) -> list[str | int]:
    try:
        state = file.stat()
    except OSError:
        return [str(file)]
    return [str(file), state.st_size, state.st_mtime_ns]
