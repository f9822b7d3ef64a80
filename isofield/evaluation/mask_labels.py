"""Label volumes of two folders into pairs of masks: a pair for each label of each case, by name where names are known.

Both sides of a case are looked at once before anything is compared. A label that only one side has is a pair too: Dice
is 0 there, as of an empty mask. Numbers alone make no pair: label 2 is never compared with label 3 unless both files
call them the same, or both are plain masks (0 and 1 against 0 and 255).
"""

import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_processing.medical.advice import COMMAND_OPTIONS, worded
from data_processing.medical.crops import Crop, crop_of, mask_crop
from data_processing.medical.label_names import LabelTable, Naming, find_table
from data_processing.medical.label_volumes import label_volume
from data_processing.medical.organ_names import entity_organ, name_key, organ_of_stem
from data_processing.medical.totalsegmentator import NAMED_TABLES
from isofield.evaluation.pairs import Pair
from isofield.runtime.processes import in_order

MASK_LABELS = (1, 255)  # of plain masks
KNOWN_ORGANS = tuple(organ for table in NAMED_TABLES.values() for organ in table)
IGNORE = "ignore"  # nnU-Net: voxels of that label are not judged
BOTH = 2  # volumes that stay in memory: one of each side


@dataclass(frozen=True)
class FileMask:
    """A mask in a file: all there is in it (`labels` None), or some of its labels. `ignored` are not judged."""

    path: Path
    labels: tuple[int, ...] | None = None
    threshold: float | None = None
    ignored: tuple[int, ...] = ()

    def load(self) -> Crop:
        if self.labels is None:
            return mask_crop(self.path, threshold=self.threshold)
        return crop_of(label_volume(self.path, threshold=self.threshold, keep=BOTH), self.labels)

    def load_ignored(self) -> Crop:
        """The voxels that are not judged."""
        return crop_of(label_volume(self.path, threshold=self.threshold, keep=BOTH), self.ignored)

    def files(self) -> list[Path]:
        return [self.path]


@dataclass(frozen=True)
class MaskPair(Pair):
    """A pair whose prediction is a label of a file. `notes`: what a reader of its row has to know."""

    predicted: FileMask | None = None
    notes: tuple[str, ...] = ()
    case: str = ""


@dataclass(frozen=True)
class Labels:
    """What one file holds: ids of its labels and their table, or `error`: why it cannot be read."""

    file: Path
    ids: tuple[int, ...] = ()
    table: LabelTable | None = None
    error: str = ""


@dataclass(frozen=True)
class LabelledCase:
    """Two files of one name; None where there is none. `category`: what a mask is that no table names."""

    name: str
    category: str
    predicted: Path | None
    true: Path | None
    by_generation: bool = False  # the prediction is one of generate.py, whose masks are 0 and 1 whatever they show


@dataclass(frozen=True)
class _Entry:
    """A label or a region: its name, "" where no table has one, and its ids in one file."""

    name: str
    ids: tuple[int, ...]

    @property
    def key(self) -> str:
        return name_key(self.name) if self.name else f"label {self.ids[0]}"

    @property
    def shown(self) -> str:
        return self.name or f"label {self.ids[0]}"


@dataclass
class _LabelSides:
    """The entries of both files of a case under one key."""

    true: _Entry | None = None
    predicted: _Entry | None = None
    notes: list[str] = field(default_factory=list)


def pairs_of_cases(cases: Sequence[LabelledCase], naming: Naming, *, workers: int = 0) -> list[Pair]:
    """The pairs of all cases, in their order.

    Where no table names anything and every truth of a category holds one and the same label, a case is one pair of its
    own name, as of folders of masks. Otherwise there is a pair for each label, CASE/NAME, whose category is the name.
    """
    # All cases are looked at first: whether masks are plain is a question about all of them.
    looked_at = list(in_order(functools.partial(look_at, naming=naming), cases, workers=workers))
    plain = _plain_categories(cases, looked_at)
    pairs: list[Pair] = []
    for case, (true, predicted) in zip(cases, looked_at, strict=True):
        pairs += _pairs_of(case, true, predicted, naming, plain=case.category in plain)
    return pairs


def look_at(case: LabelledCase, naming: Naming) -> tuple[Labels | None, Labels | None]:
    """The labels of the ground truth and of the prediction."""
    true, predicted = (None if file is None else _labels_in(file, naming) for file in (case.true, case.predicted))
    return true, predicted


def category_of(name: str) -> str:
    """What a file of a mask shows: the organ that its name says, else the first folder of its path."""
    stem = name.rpartition("/")[2]
    return organ_of_stem(stem, KNOWN_ORGANS) or entity_organ(stem) or (name.split("/")[0] if "/" in name else "all")


def _labels_in(file: Path, naming: Naming) -> Labels:
    try:
        volume = label_volume(file, threshold=naming.threshold, keep=BOTH)
        return Labels(file, tuple(sorted(volume.boxes)), find_table(file, naming.table, header=volume.header))
    except (ValueError, OSError) as error:
        return Labels(file, error=worded(error, COMMAND_OPTIONS))


def _plain_categories(
    cases: Sequence[LabelledCase], looked_at: Sequence[tuple[Labels | None, Labels | None]]
) -> set[str]:
    """Categories of plain masks: nothing has a name, and all truths have one label between them."""
    named: set[str] = set()
    ids: dict[str, set[int]] = {}
    for case, (true, predicted) in zip(cases, looked_at, strict=True):
        there = [side for side in (true, predicted) if side is not None]
        if any(entry.name for side in there for entry in _entries(side, side.table)):
            named.add(case.category)
        labels = () if true is None else true.ids
        ids.setdefault(case.category, set()).update(1 if label in MASK_LABELS else label for label in labels)
    return {category for category, labels in ids.items() if category not in named and len(labels) <= 1}


def _pairs_of(
    case: LabelledCase, true: Labels | None, predicted: Labels | None, naming: Naming, *, plain: bool
) -> list[Pair]:
    """The pairs of one case."""
    # Nobody knows which labels a truth has that cannot be read: the case is one row that says why.
    reason = _missing_side(true, predicted)
    if true is None or true.error:
        prediction = None if predicted is None else FileMask(predicted.file, threshold=naming.threshold)
        return [_pair(case, case.name, case.category, None, prediction, reason=reason)]
    # Plain masks keep the name of their file; what lacks its other side still has a row, with the reason.
    ids = () if predicted is None else predicted.ids
    if plain and (reason or _alike(true.ids, ids, case)):
        truth = FileMask(true.file, true.ids, naming.threshold)
        prediction = None if predicted is None else FileMask(predicted.file, ids, naming.threshold)
        notes = _number_notes(true.ids, ids)
        return [_pair(case, case.name, case.category, truth, prediction, reason=reason, notes=notes)]
    # Else each label that either side has is a row, so that what is missing or too much is seen.
    sides_by_key = _sides_of(true, predicted, case)
    if not sides_by_key:  # both are empty: they agree
        sides_by_key = {"": _LabelSides(_Entry("", ()), _Entry("", ()))}
    ignored = _ignored(true)
    pairs: list[Pair] = []
    for key, sides in sides_by_key.items():
        entry = sides.true or sides.predicted
        assert entry is not None
        name, category = f"{case.name}/{entry.shown}" if key else case.name, entry.shown if key else case.category
        if plain and sides.true is not None:
            name, category = case.name, case.category
        truth = FileMask(true.file, sides.true.ids if sides.true else (), naming.threshold, ignored)
        prediction = None
        if predicted is not None:
            prediction = FileMask(predicted.file, sides.predicted.ids if sides.predicted else (), naming.threshold)
        pairs.append(_pair(case, name, category, truth, prediction, reason=reason, notes=sides.notes))
    return pairs


def _pair(
    case: LabelledCase,
    name: str,
    category: str,
    truth: FileMask | None,
    predicted: FileMask | None,
    *,
    reason: str,
    notes: Iterable[str] = (),
) -> MaskPair:
    path = None if predicted is None else predicted.path
    return MaskPair(name, category, path, truth, reason, predicted=predicted, notes=tuple(notes), case=case.name)


def _missing_side(true: Labels | None, predicted: Labels | None) -> str:
    """Why a case cannot be compared; "" where it can."""
    if true is None:
        return "no ground truth"
    if true.error:
        return f"ground truth: {true.error}"
    if predicted is None:
        return "no prediction"
    return f"prediction: {predicted.error}" if predicted.error else ""


def _alike(true: Sequence[int], predicted: Sequence[int], case: LabelledCase) -> bool:
    """Whether two files hold one mask each whose numbers mean the same, or one of them nothing."""
    if len(true) > 1 or len(predicted) > 1:
        return False
    if not true or not predicted or tuple(true) == tuple(predicted):
        return True
    return {*true, *predicted} == set(MASK_LABELS) or (case.by_generation and tuple(predicted) == (1,))


def _number_notes(true: Sequence[int], predicted: Sequence[int]) -> list[str]:
    if not true or not predicted or tuple(true) == tuple(predicted):
        return []
    there, here = ("+".join(map(str, ids)) for ids in (true, predicted))
    return [f"label {here} of the prediction was compared with label {there} of the ground truth"]


def _sides_of(true: Labels, predicted: Labels | None, case: LabelledCase) -> dict[str, _LabelSides]:
    """What of both files belongs together, by key: names where there are any, else numbers."""
    tables = [side.table if side is not None else None for side in (true, predicted)]
    sides: dict[str, _LabelSides] = {}
    for entry in _entries(true, tables[0] or tables[1]):
        sides.setdefault(entry.key, _LabelSides()).true = entry
    for entry in _entries(predicted, tables[1] or tables[0]) if predicted is not None else []:
        sides.setdefault(entry.key, _LabelSides()).predicted = entry
    if predicted is not None and len(sides) == 2 and _alike(true.ids, predicted.ids, case):
        # One mask on each side, written with the numbers of plain masks: the truth says what it is.
        one = next(side for side in sides.values() if side.true is not None)
        one.predicted = next(side.predicted for side in sides.values() if side.true is None)
        sides = {key: side for key, side in sides.items() if side is one}
    for side in sides.values():
        side.notes += _notes_of(side, sides.values(), predicted)
    return sides


def _entries(labels: Labels, table: LabelTable | None) -> list[_Entry]:
    """Labels and regions that a file holds, as a table names them, then those that it does not name."""
    there, named = set(labels.ids), list[_Entry]()
    for name, ids in table.entries if table is not None else ():
        if name_key(name) != IGNORE and there & set(ids):
            named.append(_Entry(name, ids))
    # Two labels of one name are told apart by their numbers.
    twice = {key for key, count in Counter(entry.key for entry in named).items() if count > 1}
    named = [_Entry(f"{e.name} {'+'.join(map(str, e.ids))}", e.ids) if e.key in twice else e for e in named]
    # A label that is part of a named region needs no row of its own.
    covered = {label for _, ids in (table.entries if table is not None else ()) for label in ids}
    return named + [_Entry("", (label,)) for label in labels.ids if label not in covered]


def _ignored(true: Labels) -> tuple[int, ...]:
    entries = true.table.entries if true.table is not None else ()
    return tuple(label for name, ids in entries if name_key(name) == IGNORE for label in ids if label in true.ids)


def _notes_of(side: _LabelSides, others: Iterable[_LabelSides], predicted: Labels | None) -> list[str]:
    if side.true is not None and side.predicted is not None:
        return _number_notes(side.true.ids, side.predicted.ids)
    if predicted is None or predicted.error:
        return []
    if side.true is not None:
        extra = [_told(other.predicted) for other in others if other.true is None and other.predicted is not None]
        has = f", but {', '.join(extra)}, which the ground truth has not" if extra else ""
        return [f"the prediction has no {_told(side.true)}{has}"]
    return [f"the ground truth has no {_told(side.predicted)}"] if side.predicted is not None else []


def _told(entry: _Entry) -> str:
    numbers = "+".join(map(str, entry.ids))
    return f"label {numbers}" + (f" ({entry.name})" if entry.name else "")


def label_names(pairs: Sequence[Pair]) -> Mapping[str, list[list[int]]]:
    """For the settings of the results: each category, and the labels that it was in truths."""
    found: dict[str, set[tuple[int, ...]]] = {}
    for pair in pairs:
        if isinstance(pair, MaskPair) and isinstance(pair.truth, FileMask) and pair.truth.labels:
            found.setdefault(pair.category, set()).add(pair.truth.labels)
    return {name: [list(ids) for ids in sorted(labels)] for name, labels in sorted(found.items())}
