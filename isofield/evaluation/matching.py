"""Which prediction belongs to which ground truth, by their names alone.

Equal names first. Then folders: a file that is alone in a folder, or the surface among the files of one object, goes
by the folder's name, as SYNSET/ID/pointcloud.npz does for SYNSET/ID.off. Rules of `--match` change names before that.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_processing.formats.mesh_files import MESH_SUFFIXES
from data_processing.formats.voxel_files import VOXEL_SUFFIXES
from isofield.runtime.name_words import composed

SURFACE, SAMPLES = "pointcloud", "points"  # of one object in the layout of Occupancy Networks
# What files are called where the folder is the object.
GENERIC = frozenset(
    {
        SURFACE,
        SAMPLES,
        "model",
        "model_normalized",
        "mesh",
        "surface",
        "isosurf",
        "isosurf_scaled",
        "gt",
        "pred",
        "recon",
    }
)
TRIED = 1000  # names that are looked at for a suggestion


@dataclass(frozen=True)
class Matching:
    """`patterns`: what a prediction is called, and its ground truth, with a * for what both have."""

    ignore_case: bool = False
    patterns: tuple[tuple[str, str], ...] = ()

    def truth_name(self, prediction: str) -> str:
        """What the ground truth of a prediction is called."""
        folder, _, last = prediction.rpartition("/")
        for theirs, ours in self.patterns:
            # A rule speaks of the whole path, or of its last part in any folder.
            for text, above in ((prediction, ""), (last, f"{folder}/" if folder else "")):
                start, _, end = theirs.partition("*")
                if len(text) >= len(start) + len(end) and text.startswith(start) and text.endswith(end):
                    return self.key(above + ours.replace("*", text[len(start) : len(text) - len(end)]))
        return self.key(prediction)

    def key(self, name: str) -> str:
        return composed(composed(name).casefold() if self.ignore_case else name)


EQUAL = Matching()


def matching_of(rules: Sequence[str]) -> Matching:
    """Rules of a command line. ValueError for one that is none."""
    patterns = []
    for rule in rules:
        theirs, equals, ours = rule.partition("=")
        if rule != "case" and not (equals and theirs.count("*") == ours.count("*") == 1):
            raise ValueError(f"--match {rule!r}: expected case, or PREDICTION=TRUTH with a * on each side: '*_pred=*'")
        if rule != "case":
            patterns.append((theirs, ours))
    return Matching("case" in rules, tuple(patterns))


@dataclass(frozen=True)
class Matches:
    """`truth_of`: names of truths by those of predictions. `objects`: what truths without a prediction are called.

    `samples_of`: names of truths by names of the occupancy samples of the same object.
    """

    truth_of: dict[str, str]
    objects: dict[str, str]
    samples_of: dict[str, str]


def match_names(predictions: Mapping[str, Path], truths: Mapping[str, Path], matching: Matching) -> Matches:
    """ValueError where two predictions would belong to one ground truth, or the other way round."""
    # Names that are equal, or become so by the rules, belong together whatever lies beside them.
    truth_of = _pairs_of({name: name for name in predictions}, {name: name for name in truths}, matching)
    left = {name: path for name, path in predictions.items() if name not in truth_of}
    if not left:
        return Matches(truth_of, {name: name for name in truths if name not in truth_of.values()}, {})
    # The rest goes by folders: first the truths, then, for what is still alone, the predictions too.
    by_folder = _folders(truths, beside=truth_of.values())
    own = {name: name for name in truths if name not in truth_of.values()}
    found = _pairs_of({name: name for name in left}, {**own, **by_folder}, matching)
    still_left = {name: path for name, path in left.items() if name not in found}
    folders_left = _folders(still_left, beside=truth_of)
    found |= _pairs_of(folders_left, own, matching)
    # Two files alone in folders of one name are one object only where both names say nothing of it.
    unnamed = {folder: name for folder, name in folders_left.items() if _is_generic(name) and name not in found}
    found |= _pairs_of(unnamed, {folder: name for folder, name in by_folder.items() if _is_generic(name)}, matching)
    truth_of |= found
    # Once folders are objects here, a folder without a prediction is one missing shape, not one for each of its files.
    grouped = {name.rpartition("/")[0] for folder, name in by_folder.items() if folder != name} if found else set()
    named = by_folder if found else {name: name for name in truths}
    objects = {
        shown: name
        for shown, name in named.items()
        if name not in truth_of.values() and (shown != name or name.rpartition("/")[0] not in grouped)
    }
    samples = {
        name: f"{name.rpartition('/')[0]}/{SAMPLES}"
        for folder, name in by_folder.items()
        if folder != name and name.endswith(f"/{SURFACE}") and f"{name.rpartition('/')[0]}/{SAMPLES}" in truths
    }
    return Matches(truth_of, objects, samples)


def equal_names(predictions: Collection[str], truths: Collection[str], matching: Matching) -> dict[str, str]:
    """Names of truths by those of predictions that are equal, or become so. ValueError as `match_names`."""
    return _pairs_of({name: name for name in predictions}, {name: name for name in truths}, matching)


def row_names(predictions: Collection[str], truth_of: Mapping[str, str]) -> dict[str, str]:
    """What the row of each prediction is called: as its ground truth in `truth_of`, else as itself.

    ValueError where two rows would have one name: a rule made one prediction of what another is called.
    """
    called, owner = {name: truth_of.get(name, name) for name in predictions}, dict[str, str]()
    for name, row in sorted(called.items()):
        if owner.setdefault(row, name) != name:
            own, other = sorted((name, owner[row]), key=lambda one: one in truth_of)
            raise ValueError(
                f"the prediction {own} is named like the ground truth that by --match belongs to {other}, and not to "
                "it: rename one, or change the rule"
            )
    return called


def _is_generic(name: str) -> bool:
    return name.rpartition("/")[2].casefold() in GENERIC


def _pairs_of(predictions: Mapping[str, str], truths: Mapping[str, str], matching: Matching) -> dict[str, str]:
    """Predictions and truths of one name. Both come as names they go by, and their own."""
    # Several names may go by one key, such as those that differ in case: then nobody can tell, and that is an error.
    by_key: dict[str, set[str]] = {}
    for called, name in truths.items():
        by_key.setdefault(matching.key(called), set()).add(name)
    truth_of: dict[str, str] = {}
    owner: dict[str, str] = {}
    for called, name in sorted(predictions.items()):
        found = sorted(by_key.get(matching.truth_name(called), ()))
        if len(found) > 1:
            raise ValueError(f"the prediction {name} could belong to {' and to '.join(found[:2])}: rename one")
        if found and owner.setdefault(found[0], name) != name:
            raise ValueError(
                f"the predictions {owner[found[0]]} and {name} would both belong to {found[0]}: rename one"
            )
        if found:
            truth_of[name] = found[0]
    return truth_of


def _folders(files: Mapping[str, Path], *, beside: Collection[str]) -> dict[str, str]:
    """Names that files go by: that of the folder where one file stands for it, its own otherwise.

    `beside`: names that have their match; nothing in their folders goes by the folder's name.
    """
    members: dict[str, list[str]] = {}
    for name in files:
        members.setdefault(name.rpartition("/")[0], []).append(name)
    busy = {name.rpartition("/")[0] for name in beside}
    called: dict[str, str] = {}
    for folder, names in members.items():
        one = _representative(names, files) if folder and folder not in busy else None
        called |= {folder.removesuffix("/models"): one} if one else {name: name for name in names if name not in beside}
    return called


def _representative(names: Sequence[str], files: Mapping[str, Path]) -> str | None:
    """The surface among the files of one object; None where nobody can tell."""
    if len(names) == 1:
        return names[0]
    surfaces = [name for name in names if name.rpartition("/")[2] == SURFACE]
    only_mesh = MESH_SUFFIXES - VOXEL_SUFFIXES
    meshes = [name for name in names if files[name].suffix.lower() in only_mesh]
    return surfaces[0] if surfaces else meshes[0] if len(meshes) == 1 else None


def no_common_name(what: str, predictions: Collection[str], truths_below: Path | None, truths: Collection[str]) -> str:
    """What to say where no name fits. `what`: what has the names of the predictions, in words."""
    hint = suggestion(predictions, truths) or "--match 'PREDICTION=TRUTH' says how they differ, such as '*_pred=*'"
    return (
        f"no {what} is named like one below {truths_below}: for example {next(iter(predictions))} and "
        f"{next(iter(truths))}; names have to match. {hint}"
    )


def suggestion(predictions: Collection[str], truths: Collection[str]) -> str:
    """The rule of --match that pairs most of the names, as words; empty where none does."""
    folded = {name.casefold() for name in truths}
    if any(name.casefold() in folded for name in predictions):
        return "names differ in case: --match case"
    rules: Counter[str] = Counter()
    first = sorted(predictions)[0]
    for truth in sorted(truths)[:TRIED]:
        for rule in _rules(first, truth):
            rule_of = matching_of([rule])
            rules[rule] = sum(rule_of.truth_name(name) in truths for name in sorted(predictions)[:TRIED])
    # Of rules that pair equally many the shortest, which is the one that a person would have written.
    best = max(rules, key=lambda rule: (rules[rule], -len(rule)), default="")
    return f"--match '{best}' pairs {rules[best]}" if best and rules[best] > 0 else ""


def _rules(prediction: str, truth: str) -> list[str]:
    """Rules by which one name becomes the other: what they begin, or end, with in common, and the folders above."""
    ours, theirs = prediction.rpartition("/")[2], truth.rpartition("/")[2]
    start = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    end = next((i for i, (a, b) in enumerate(zip(ours[::-1], theirs[::-1], strict=False)) if a != b), 0)
    end = end or min(len(ours), len(theirs)) * (ours.endswith(theirs) or theirs.endswith(ours))
    rules = [f"*{ours[start:]}=*{theirs[start:]}"] if start else []
    rules += [f"{ours[: len(ours) - end]}*={theirs[: len(theirs) - end]}*"] if end else []
    above, over = (name[: len(name) - len(last)] for name, last in ((prediction, ours), (truth, theirs)))
    return rules if above == over else [f"{above}{rule.replace('=', f'={over}')}" for rule in rules]
