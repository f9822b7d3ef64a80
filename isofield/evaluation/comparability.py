"""Which evaluations can stand in one table: same protocol and split, points, seed, units, shapes and data.

Others are refused by name, or shown apart. Numbers of two protocols are never put beside each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from isofield.evaluation.results import Candidate
from isofield.runtime.fingerprint import fingerprint

SETTINGS = ("points", "seed", "iou_points", "f_score_threshold", "tolerance_mm", "scale", "units", "match", "grid")
DATA_HASH = "data hash"
APART = "Evaluate them alike, or add --allow: it shows them apart"
SHOWN = 3  # names of shapes in a message
Kind = tuple[str, str]  # protocol and split


@dataclass(frozen=True)
class ComparableGroup:
    """Candidates of one protocol, split and conditions. `notes`: what a reader has to know of them."""

    protocol: str
    split: str
    candidates: list[Candidate]
    notes: list[str] = field(default_factory=list)


def group_candidates(of_paths: Sequence[Sequence[Candidate]], *, allow: bool) -> list[ComparableGroup]:
    """What can be compared, a group for each protocol and split that all paths have.

    ValueError that names candidates and what differs, where nothing is common to all, or a condition differs.
    `allow`: then every protocol, split and condition has a group of its own instead.
    """
    # Only what all paths have can stand in one table; what some have is named, or shown apart.
    kinds: dict[Kind, list[Candidate]] = {}
    for candidates in of_paths:
        for candidate in candidates:
            kinds.setdefault((candidate.protocol, candidate.split), []).append(candidate)
    common = {kind: members for kind, members in kinds.items() if len(members) == len(of_paths)}
    if not common and not allow:
        raise ValueError(f"no protocol and split is common to all: {_holdings(of_paths)}. {APART}")
    groups: list[ComparableGroup] = []
    for kind, members in (kinds if allow else common).items():
        parts = _alike(members)
        if len(parts) > 1 and not allow:
            raise ValueError(f"protocol {_named(kind)}: {_differences(members)}. {APART}")
        groups += [ComparableGroup(*kind, part, _notes(part)) for part in parts]
    if not allow and len(common) < len(kinds):
        others = "; ".join(f"{_named(kind)}: only {_names(m)}" for kind, m in kinds.items() if kind not in common)
        groups[0].notes.append(f"left out, because not all have it (--allow shows it apart): {others}")
    return groups


def conditions_of(candidate: Candidate) -> dict[str, str | None]:
    """What has to be equal, in words; None: not recorded."""
    settings, rows = candidate.settings, candidate.evaluation["per_shape"]
    names = sorted(row["name"] for row in rows)
    kinds = sorted({str(row["ground_truth"]) for row in candidate.done().values() if "ground_truth" in row})
    return {
        **{key.replace("_", " "): _words(settings[key]) for key in SETTINGS if key in settings},
        "metrics": ", ".join(candidate.metrics),
        "ground truth": ", ".join(kinds) or None,
        "shapes": f"{len(names)} ({fingerprint(names, size=3)})",
        DATA_HASH: settings.get("data_hash"),
    }


def _alike(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """In groups; what is not recorded contradicts nothing."""
    groups: list[list[Candidate]] = []
    for candidate in candidates:
        # With every member of a group, not with its first: what is not recorded fits all, and must not join two that
        # differ.
        fitting = (group for group in groups if not any(_mismatches(candidate, other) for other in group))
        group = next(fitting, None)
        if group is None:
            groups.append(group := [])
        group.append(candidate)
    return groups


def _mismatches(one: Candidate, other: Candidate) -> list[str]:
    """Names of conditions in which two differ."""
    mine, theirs = conditions_of(one), conditions_of(other)
    keys = dict.fromkeys([*mine, *theirs])
    unknown = ("ground truth", DATA_HASH)  # a candidate whose shapes all failed, or of an older version, has none
    return [
        key
        for key in keys
        if mine.get(key) != theirs.get(key) and not (key in unknown and None in (mine.get(key), theirs.get(key)))
    ]


def _differences(candidates: Sequence[Candidate]) -> str:
    """Each condition in which any two differ, with the value of each candidate."""
    keys = [key for n, one in enumerate(candidates) for other in candidates[:n] for key in _mismatches(other, one)]
    lines = []
    for key in dict.fromkeys(keys):
        values = ", ".join(f"{each.name} {conditions_of(each).get(key) or 'none'}" for each in candidates)
        lines.append(f"{key} differ ({values}){_only(candidates) if key == 'shapes' else ''}")
    return "; ".join(lines)


def _only(candidates: Sequence[Candidate]) -> str:
    """Names that not all have."""
    names = {each.name: {row["name"] for row in each.evaluation["per_shape"]} for each in candidates}
    everywhere = set.intersection(*names.values())
    nothing = "" if everywhere else "; they have no shape in common"
    return nothing + "".join(
        f", only {name}: {', '.join(sorted(mine - everywhere)[:SHOWN])}"
        for name, mine in names.items()
        if mine - everywhere
    )


def _notes(candidates: Sequence[Candidate]) -> list[str]:
    """One evaluation twice, failed shapes and what was never recorded: none of it may be overlooked."""
    notes = []
    for first, second in combinations(candidates, 2):
        if first.file.resolve() == second.file.resolve():
            notes.append(f"{first.name} and {second.name} are one evaluation ({first.file}): they cannot differ")
        elif first.done() and _numbers(first) == _numbers(second):
            notes.append(f"{first.name} and {second.name} have equal numbers for every shape: one may be a copy")
    for each in candidates:
        if failed := each.evaluation["failed_count"]:
            notes.append(f"{each.name}: {failed} of {len(each.evaluation['per_shape'])} shapes failed")
    unknown = [each for each in candidates if conditions_of(each)[DATA_HASH] is None]
    if len(candidates) > 1 and unknown:
        notes.append(
            f"{_names(unknown)}: no data hash was recorded, so nothing shows that the ground truth is the same; "
            "names of shapes are the same"
        )
    return notes


def _numbers(candidate: Candidate) -> dict[str, list[object]]:
    """Of each shape those that the protocol publishes."""
    return {name: [row[metric] for metric in candidate.metrics] for name, row in candidate.done().items()}


def _holdings(of_paths: Sequence[Sequence[Candidate]]) -> str:
    return "; ".join(
        f"{candidates[0].name} has {', '.join(_named((each.protocol, each.split)) for each in candidates)}"
        for candidates in of_paths
    )


def _named(kind: Kind) -> str:
    return f"{kind[0]}, split {kind[1]}" if kind[1] else kind[0]


def _names(candidates: Sequence[Candidate]) -> str:
    return ", ".join(each.name for each in candidates)


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {text}" for key, text in sorted(value.items()))
    return f"{value:g}" if isinstance(value, float) else str(value)
