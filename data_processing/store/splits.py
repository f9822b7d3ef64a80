"""Which shapes train, which validate, which test. Names decide, never the order of work, and no shape is in two splits.

The published rule of IM-NET: per category, names sorted, the first 80 % train, the rest test.
Where shapes have a subject, subjects are divided instead of shapes, over all categories at once: one is in one split.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_processing.store.split_lists import Listed, NameIndex, read_list, read_table
from isofield.runtime.hints import did_you_mean
from isofield.runtime.seeds import numpy_generator

SPLITS = ("train", "val", "test")
PARTIAL = "partial"  # shapes set aside: kept, but in none of the others
BIDS_SUBJECT = r"(?:^|[/_])(sub-[A-Za-z0-9]+)"
FIRST_CHOICE = ("test", "val", "train")  # where content that is in several splits stays
MOST_COMPARED = 5000  # names of a data set that an unknown one is compared with

Splits = dict[str, NDArray[np.int64]]


@dataclass(frozen=True)
class SplitLists:
    """Text files with one name a line: the path of the shape below the input folder without suffix, or the end of it.

    `table`: a CSV with an ID and a split instead of them, or beside them.
    """

    train: Path | None = None  # file
    val: Path | None = None  # file
    test: Path | None = None  # file
    table: Path | None = None  # CSV
    allow_missing: bool = False  # names in a list that the input folder does not have


@dataclass(frozen=True)
class SplitRatios:
    """Shares of each category, drawn by seed."""

    train: float = 0.8  # share
    val: float = 0.0  # share
    test: float = 0.2  # share

    def __post_init__(self) -> None:
        shares = (self.train, self.val, self.test)
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"train, val and test must be shares that sum to 1, got {shares}")


@dataclass(frozen=True)
class SplitConfig:
    """The section `splits:` of a data config."""

    rule: Literal["published", "ratios", "lists"] = "published"  # published: 80 % train by name, or the folder's
    ratios: SplitRatios = field(default_factory=SplitRatios)  # of rule ratios
    lists: SplitLists = field(default_factory=SplitLists)  # of rule lists
    val_share: float = 0.0  # of train, taken by seed per category (rules published and lists)
    seed: int = 0  # of what is drawn
    subject: str | None = None  # "bids": entity sub-; else a regular expression: its first group (or match) in the name

    def __post_init__(self) -> None:
        if not 0 <= self.val_share < 1:
            raise ValueError(f"val_share must be in [0, 1), got {self.val_share}")
        try:
            re.compile(self.subject or "")
        except (re.error, RecursionError, OverflowError) as error:
            got = (self.subject or "")[:200]
            at = getattr(error, "pos", None)
            place = "" if at is None else f", which is none from character {at + 1} on"
            raise ValueError(f"subject must be bids or a regular expression, got {got!r}{place}") from error
        if self.rule == "ratios" and self.val_share:
            raise ValueError("val_share takes from train; with rule ratios give ratios.val instead")


def split_names(
    names: Sequence[str],
    categories: Sequence[str],
    settings: SplitConfig,
    *,
    set_aside: Sequence[int] = (),
    unreadable: Collection[int] = (),
    given: Mapping[str, str] | None = None,
) -> Splits:
    """Ascending indices into `names` for each split that is not empty. ValueError for lists that do not fit.

    `set_aside`: indices that go into the split "partial" whatever the rule says; they change nothing for the others
    (a shape is divided as if it were whole, so a subject keeps its split). `unreadable`: indices that take no place
    where shapes are divided; lists that name them keep them. `given`: splits by name that the folder itself says, the
    published ones of its shapes: rule published takes them.
    """
    # Whoever says the splits says them of all shapes; where they are divided, only what can be read counts.
    left_out = set(unreadable)
    readable = [index for index in range(len(names)) if index not in left_out]
    no_lists = settings.rule == "lists" and settings.lists == SplitLists(allow_missing=settings.lists.allow_missing)
    if settings.rule == "lists" and not (no_lists and given is not None):
        splits = _from_lists(names, settings.lists)
    elif settings.rule != "ratios" and given is not None:
        splits = {split: [i for i, name in enumerate(names) if given.get(name) == split] for split in SPLITS}
    else:
        splits = {split: [] for split in SPLITS}
        for group, members in _groups(names, categories, settings, readable).items():
            for split, part in _divided(list(members), group, settings).items():
                splits[split] += [index for unit in part for index in members[unit]]
    # A published validation set is one; where there is none, a share of train may become it.
    if settings.val_share and not (settings.rule == "published" and splits["val"]):
        _take_validation(splits, names, categories, settings, readable)
    _refuse_overlap(splits, names)
    if settings.subject:
        _refuse_shared_subjects(splits, names, settings)
    aside = set(set_aside)
    splits = {split: [index for index in members if index not in aside] for split, members in splits.items()}
    splits[PARTIAL] = list(aside)
    return {split: np.array(sorted(members), dtype=np.int64) for split, members in splits.items() if members}


def subject_of(name: str, settings: SplitConfig) -> str:
    """Whose shape it is, by `settings.subject`. ValueError when the name does not say."""
    assert settings.subject
    match = re.search(BIDS_SUBJECT if settings.subject == "bids" else settings.subject, name)
    subject = (match[1] if match and match.re.groups else match and match[0]) or ""
    if not subject:
        rule = "sub-LABEL" if settings.subject == "bids" else settings.subject
        raise ValueError(f"shape {name!r} has no subject by splits.subject ({rule}): correct the rule or the name")
    return subject


def members_of(splits: Mapping[str, NDArray[np.int64]], split: str, *, where: Path) -> NDArray[np.int64]:
    """Indices of a split, or the ValueError that lists the splits there are."""
    if split not in splits:
        there = ", ".join(f"{name} ({len(members)})" for name, members in splits.items())
        raise ValueError(f"{where}: no split '{split}'; it has: {there or 'none'}")
    return splits[split]


def _divided(units: list[str], group: str, settings: SplitConfig) -> dict[str, list[str]]:
    """Units of one group, sorted by name, to splits."""
    if settings.rule == "published":
        train = max(1, len(units) * 8 // 10) if units else 0  # 80 % rounded down, but at least one
        return {"train": units[:train], "test": units[train:]}
    # Keyed by the group: a new category leaves the splits of the others as they were.
    order = numpy_generator(settings.seed, group, "split ratios").permutation(len(units))
    drawn = [units[i] for i in order]
    test, val = (round(len(drawn) * share) for share in (settings.ratios.test, settings.ratios.val))
    return {"test": drawn[:test], "val": drawn[test : test + val], "train": drawn[test + val :]}


def without_copies(splits: Splits, digests: Sequence[str]) -> tuple[Splits, dict[int, int]]:
    """Splits in which no content is twice, and index -> index of the shape that each copy left out is like.

    `digests`: of the content of each shape; "" where nobody knows. What is in several splits stays in test, else in
    val: results on published test sets stay comparable. Copies within a split stay.
    """
    first: dict[str, tuple[str, int]] = {}
    copies: dict[int, int] = {}
    for split in FIRST_CHOICE:
        for index in splits.get(split, ()):
            # Whoever came first in the order of FIRST_CHOICE stays; an unknown content (no digest) is nobody's copy.
            kept, original = first.setdefault(digests[index], (split, int(index)))
            if digests[index] and kept != split:
                copies[int(index)] = original
    left = {split: members[~np.isin(members, list(copies))] for split, members in splits.items()}
    return {split: members for split, members in left.items() if len(members)}, copies


def _groups(
    names: Sequence[str], categories: Sequence[str], settings: SplitConfig, readable: Sequence[int]
) -> dict[str, dict[str, list[int]]]:
    """What is divided: group -> unit -> indices, sorted by unit. Shapes by category, or subjects all together."""
    groups: dict[str, dict[str, list[int]]] = {}
    by_subject = settings.subject is not None
    units = [subject_of(name, settings) for name in names] if by_subject else list(names)
    for index in sorted(readable, key=lambda i: units[i]):
        group = "subjects" if by_subject else categories[index]
        groups.setdefault(group, {}).setdefault(units[index], []).append(index)
    return groups


def _take_validation(
    splits: dict[str, list[int]],
    names: Sequence[str],
    categories: Sequence[str],
    settings: SplitConfig,
    readable: Sequence[int],
) -> None:
    if splits.get("val"):
        raise ValueError("val_share takes validation shapes from train, but a val list is given too: choose one")
    train = set(splits["train"])
    for group, units in _groups(names, categories, settings, readable).items():
        # Units and not shapes: all of one subject move to validation together.
        candidates = [there for members in units.values() if (there := [i for i in members if i in train])]
        generator = numpy_generator(settings.seed, group, "validation share")
        taken = generator.permutation(len(candidates))[: round(len(candidates) * settings.val_share)]
        splits["val"] += [index for i in taken for index in candidates[i]]
    splits["train"] = sorted(train - set(splits["val"]))


def _from_lists(names: Sequence[str], lists: SplitLists) -> dict[str, list[int]]:
    files: dict[str, Path | None] = {split: getattr(lists, split) for split in SPLITS}
    if not any(files.values()) and not lists.table:
        raise ValueError(
            "splits.rule is lists, but splits.lists names no file: give train, val or test, or table: a CSV with an ID "
            "and a split"
        )
    index, folders = NameIndex(names), {name.partition("/")[0] for name in names}
    listed = {split: _read_listed(file, split, folders) if file else [] for split, file in files.items()}
    for one in read_table(lists.table) if lists.table else ():
        listed[one.split].append(one)
    splits: dict[str, list[int]] = {}
    for split, of_split in listed.items():
        numbers = [index.find(one) for one in of_split]
        unknown = [one for one, number in zip(of_split, numbers, strict=True) if number is None]
        if unknown and not lists.allow_missing:
            raise ValueError(_unknown_names(files[split] or lists.table, unknown, names))
        splits[split] = [number for number in numbers if number is not None]
        # A shape that stands twice in a list would weigh double in a mean.
        if twice := [number for number, count in Counter(splits[split]).items() if count > 1]:
            raise ValueError(f"{files[split] or lists.table}: lists {names[twice[0]]!r} twice")
    return splits


def _read_listed(file: Path, split: str, folders: Collection[str]) -> list[Listed]:
    """The lines of a list; where it lies in a folder that is called like a category, IDs are those of the category."""
    category = file.parent.name
    return read_list(file, split, category=category if category in folders else "")


def _unknown_names(file: Path | None, unknown: Sequence[Listed], names: Sequence[str]) -> str:
    first = unknown[0].names[-1]
    hint = did_you_mean(first, names[:MOST_COMPARED]) or (
        f"names look like {names[0]!r}." if names else "it holds none."
    )
    return (
        f"{file}: {len(unknown)} names are not in the data set, first {first!r}; {hint} "
        "Correct the list, or leave out what is missing with --set splits.lists.allow_missing=true"
    )


def _refuse_shared_subjects(splits: Mapping[str, list[int]], names: Sequence[str], settings: SplitConfig) -> None:
    """Only lists can do this."""
    owner: dict[str, str] = {}
    for split, members in splits.items():
        for index in members:
            subject = subject_of(names[index], settings)
            if owner.setdefault(subject, split) != split:
                raise ValueError(
                    f"subject {subject!r} is in {owner[subject]} and in {split} ({names[index]!r}): "
                    "keep each subject in one list, or --set splits.subject=null"
                )


def _refuse_overlap(splits: Mapping[str, list[int]], names: Sequence[str]) -> None:
    owner: dict[int, str] = {}
    for split, members in splits.items():
        for index in members:
            if owner.setdefault(index, split) != split:
                raise ValueError(f"shape {names[index]!r} is in {owner[index]} and in {split}: splits must not overlap")
