"""An evaluation shared by ranks that goes on where it was stopped, with any number of them.

Each rank notes the rows of its shapes in a hidden journal beside the results; when these are written it goes. Rows are
taken over when both of their sides are the files that they were.
"""

import contextlib
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from isofield.evaluation.doubts import doubts_in_words
from isofield.evaluation.pairs import Comparison, Pair
from isofield.evaluation.protocols import AnyProtocol, MaskProtocol
from isofield.evaluation.rows import Row, SampleCounts
from isofield.evaluation.tables import describe
from isofield.runtime.commandline import say
from isofield.runtime.distributed import Group
from isofield.runtime.fingerprint import fingerprint, of_states
from isofield.runtime.journal import Journal, Line, stands

FORMAT, MASK_FORMAT = 1, 2  # of what rows are made of: of shapes as in version 0.1, of masks with labels and notes
Rows = list[Row]  # of one shape, one for each protocol


def journal_of(
    out: Path, what: Comparison, protocols: Sequence[AnyProtocol], draws: SampleCounts, *, rank: int = 0
) -> Journal:
    """The journal of one evaluation: others in the same folder, of other protocols say, have theirs."""
    of_masks = any(isinstance(protocol, MaskProtocol) for protocol in protocols)
    # Whatever moves a number is in the name of the journal: another protocol, or number of points, begins another one.
    parts = [
        MASK_FORMAT if of_masks else FORMAT,
        what.title,
        what.about,
        what.split,
        [[p.name, describe(p, draws)] for p in protocols],
    ]
    return Journal(out, rank, stem=f".rows-{fingerprint(parts, size=6)}", read=_read, surely=False)


def rows_of_ranks(
    pairs: Sequence[Pair],
    rows_of: Callable[[Sequence[Pair]], Generator[Rows]],
    journal: Journal,
    group: Group,
    *,
    keep_failed: bool = False,
) -> list[Rows]:
    """Rows of all pairs on the first rank, in order; nothing on others, nor on parts.

    `rows_of` makes those of some pairs, in order; it is asked for this rank's, every size-th, that are not there yet,
    or failed, unless these are kept.
    """
    group.wait()  # nobody writes before all have read
    mine = pairs[group.rank :: group.size]
    made_from = {pair.name: _made_from(pair) for pair in mine}
    # A row stands as long as what it was made from is unchanged.
    rows_before = {pair.name: journal.row(pair.name, made_from[pair.name]) for pair in mine}
    made = {name: rows for name, rows in rows_before.items() if rows and (keep_failed or _stand(rows))}
    if made and not keep_failed:
        who = f"rank {group.rank}" if group.part is None else f"part {group.part}"
        say(f"{who}: {len(made)} of {len(mine)} shapes were evaluated before")
    # Rows of an earlier version say nothing of what is suspect; what preparation knows is added.
    for pair in mine:
        for row in made.get(pair.name, []):
            if row["status"] == "done":
                row.setdefault("suspect", doubts_in_words({"ground truth": pair.doubt}))
    missing = [pair for pair in mine if pair.name not in made]
    with journal, contextlib.closing(rows_of(missing)) as rows:
        for pair, of_pair in zip(missing, rows, strict=True):
            made[pair.name] = of_pair
            journal.add(pair.name, made_from[pair.name], of_pair)
    group.wait()
    if not group.is_first:
        return []
    # Others noted theirs in files beside ours: that is how rows travel between ranks.
    if group.size > 1:
        journal.collect()
        made = {name: line["row"] for name, line in journal.lines.items()} | made
    return [made[pair.name] for pair in pairs]


def are_evaluated(pairs: Sequence[Pair], journal: Journal) -> bool:
    """Whether each pair has rows, by whichever part: numbers, or the reason why there are none."""
    # Names first: only when all are there, files are looked at.
    return all(pair.name in journal.lines for pair in pairs) and all(
        journal.row(pair.name, _made_from(pair)) for pair in pairs
    )


def _stand(rows: Rows) -> bool:
    return all(stands(row, Path()) for row in rows)


def _made_from(pair: Pair) -> str:
    """Which files both sides are: their places, sizes and times of change."""
    # Times and sizes, not contents: whether anything changed is then told in a moment, of thousands of meshes.
    files = [] if pair.prediction is None else [pair.prediction]
    files += [] if pair.truth is None else pair.truth.files()
    return fingerprint([pair.reason, of_states(files)])


def _read(line: Line) -> Line | None:
    """A line of ours, as the version before wrote them too."""
    if isinstance(line.get("made_from"), str) and "rows" in line:
        made_from, start = fingerprint(line["made_from"]), line.get("start", 0)
        line = {"name": line.get("name"), "made_from": made_from, "row": line["rows"], "start": start}
    rows = line.get("row")
    if isinstance(rows, list) and all(isinstance(row, dict) and isinstance(row.get("status"), str) for row in rows):
        return line
    return None
