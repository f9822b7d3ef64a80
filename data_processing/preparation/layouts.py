"""Layouts of folders that people share: which file is which object, of which category, and in which split.

folders    category/any/path/name.ply: every file is a shape, but for voxels beside the mesh that they were made of
shapenet   SYNSET/ID/models/model_normalized.obj (v2), SYNSET/ID/model.obj (v1): the folder is the object
modelnet   category/train/name.off, or train/category/name.off: the folders are the split
abc        00000002/00000002_HASH_trimesh_000.obj: one category, the number is the object
objaverse  glbs/000-023/UID.glb: one category

Here are rules about paths alone; which files there are is said in sources.py. Lists of splits: store/splits.py.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from data_processing.formats.voxel_files import voxel_suffix
from data_processing.preparation.object_forms import object_of, refuse_forms
from data_processing.store.split_lists import SPLIT_WORDS
from isofield.runtime.name_words import composed

LayoutName = Literal["auto", "folders", "shapenet", "modelnet", "abc", "objaverse", "lists"]
DETECTED = 0.9  # the share of files that have to fit a layout
MAX_REPRESENTATIONS = 8  # files of one object in its folder
SHOWN = 3  # names in a line
MODEL_FOLDERS = ("models", "meshes")  # between an object's folder and its file
MESHES = (".obj", ".ply", ".off", ".glb", ".gltf", ".stl")  # the first that is there is taken
VOXELS = (".binvox", ".mat", ".nii.gz", ".nii", ".npy", ".npz")
HOLLOW, SOLID = re.compile(r"[._-]surface\.binvox$", re.I), re.compile(r"[._-]solid\.binvox$", re.I)


@dataclass(frozen=True)
class Place:
    """What a path says of a file. `split`: train, val or test where folders say so."""

    name: str
    category: str
    split: str = ""


@dataclass(frozen=True)
class Arrangement:
    """One file for each object, where each has its place, and lines for the person who started the command.

    `refused`: why a file among them cannot be told to be a shape of its own.
    """

    places: dict[str, Place]
    notes: tuple[str, ...]
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def splits(self) -> dict[str, str] | None:
        """Splits by the names of shapes; None where folders say nothing of them."""
        given = {place.name: place.split for place in self.places.values() if place.split}
        return given or None


def arrange(
    kinds: Mapping[str, str],
    layout: LayoutName,
    *,
    root: str,
    categories: Collection[str] | None = None,
    for_splits: bool = True,
) -> Arrangement:
    """One place for each object among files. `kinds`: file below the folder: mesh, voxels, or another word; `root`: the
    folder's name, a category where the path names none; `categories`: those that are wanted. `for_splits`: forms and
    parts of one object are refused, which would lie in several splits; without splits each is a shape of its own.

    ValueError when files of one name cannot be told apart, when folders seem to hold several files of each object, and
    for a category that is not there.
    """
    chosen = layout_of_files(list(kinds), root) if layout in ("auto", "lists") else layout
    # Every file first gets the place that its path gives it, whatever else there is.
    rule = RULES.get(chosen, _by_path)
    places = {file: rule(file, root) or _by_path(file, root) for file in kinds}
    if categories is not None:
        refuse_absent(categories, {place.category for place in places.values()})
        wanted = set(map(composed, categories))
        kinds = {file: kind for file, kind in kinds.items() if composed(places[file].category) in wanted}
    if chosen == "folders":
        groups = _representations(kinds, places, guess=layout != "folders")
    else:
        groups = {file: places[file].name for file in kinds}
    # Files of one object are one group; of each group one file is taken, and the line that says which is for the user.
    objects: dict[str, list[str]] = {}
    for file in sorted(kinds):
        objects.setdefault(groups[file], []).append(file)
    notes = [] if chosen == "folders" else [f"layout: {chosen}"]
    taken, left, hollow = _one_of_each(objects, kinds, refuse_twins=chosen in ("folders", "modelnet"))
    if left:
        several = sum(len(files) > 1 for files in objects.values())
        notes.append(
            f"{several} objects have several files: {_patterns(taken[name] for name in left)} taken, "
            f"{_patterns(file for files in left.values() for file in files)} left alone (kind, exclude choose others)"
        )
    if hollow:
        notes.append(f"{len(hollow)} objects are left out, they have hollow voxels alone: {_first_names(hollow)}")
    refused: dict[str, str] = {}
    if layout != "folders" and chosen == "folders":
        if for_splits and (refused := refuse_forms(taken.values())):
            objects_of = len(set(refused.values()))
            notes.append(f"{objects_of} objects are there in several forms, and fail: {_first_names(list(refused))}")
        notes += _recurring_names(taken.values())
    # Who divides by folders says it of all: a shape beside them would be missing without a word.
    without = [place.name for place in map(places.__getitem__, taken.values()) if not place.split]
    if without and len(without) < len(taken):
        notes.append(f"{len(without)} shapes lie in no folder of a split, and so in no split: {_first_names(without)}")
    return Arrangement({file: places[file] for file in taken.values()}, tuple(notes), refused)


def layout_of_files(files: Sequence[str], root: str) -> str:
    """The layout that nearly all files fit, by their paths below a folder called `root`; else "folders"."""
    for name, pattern in SIGNATURES.items():
        if files and sum(bool(pattern.search(file)) for file in files) >= DETECTED * len(files):
            return name
    splits = [place.split for file in files if (place := _modelnet(file, root))]
    return "modelnet" if len(splits) >= DETECTED * len(files) and len(set(splits)) > 1 else "folders"


def refuse_absent(categories: Collection[str], there: Collection[str]) -> None:
    """ValueError for categories that are not there."""
    if absent := sorted(set(map(composed, categories)) - set(map(composed, there))):
        raise ValueError(f"no shapes of category {', '.join(absent)}; it has: {', '.join(sorted(there)) or 'none'}")


def stem_of(file: str) -> str:
    """The path without its suffix, `.nii.gz` in one piece."""
    return file[: -len(suffix)] if (suffix := voxel_suffix(file)) else file


def _by_path(file: str, root: str) -> Place:
    stem = stem_of(file)
    return Place(stem, stem.partition("/")[0]) if "/" in stem else Place(f"{root}/{stem}", root)


def _shapenet(file: str, root: str) -> Place | None:
    """Its folder is the object, or the file itself where that folder is a synset."""
    parts = file.split("/")
    folders = parts[:-2] if len(parts) > 2 and parts[-2] in MODEL_FOLDERS else parts[:-1]
    if not folders:
        return None
    if re.fullmatch(r"\d{8}", folders[-1]):
        folders = [*folders, stem_of(parts[-1]).partition(".")[0]]
    category = folders[-2] if len(folders) > 1 else root
    return Place(f"{category}/{folders[-1]}", category)


def _modelnet(file: str, root: str) -> Place | None:
    """The one folder that is called as a split says it; the category is the folder before it, or behind it."""
    parts = file.split("/")
    places = [number for number, part in enumerate(parts[:-1]) if part.lower() in SPLIT_WORDS]
    if len(places) != 1:
        return None
    at = places[0]
    behind, before = parts[at + 1 : -1], parts[:at]
    category = behind[0] if behind else before[-1] if before else root
    return Place(stem_of(file), category, SPLIT_WORDS[parts[at].lower()])


def _abc(file: str, root: str) -> Place | None:
    found = ABC.search(file)
    return Place(f"abc/{found[1]}" + (f"_{found[2]}" if found[2] != "000" else ""), "abc") if found else None


def _objaverse(file: str, root: str) -> Place | None:
    found = OBJAVERSE.search(file)
    return Place(f"objaverse/{found[1]}", "objaverse") if found else None


ABC = re.compile(r"(?:^|/)(\d{8})_[0-9a-f]{8,}_[A-Za-z0-9]+_(\d{3})\.\w+$")
OBJAVERSE = re.compile(r"(?:^|/)\d{3}-\d{3}/([0-9a-f]{32})\.\w+$")
SIGNATURES = {
    "objaverse": OBJAVERSE,
    "abc": ABC,
    "shapenet": re.compile(
        r"(?:^|/)[^/]+/models/model_normalized\.[^/]+$"  # v2
        r"|(?:^|/)\d{8}/[^/]+/[^/]+$"  # v1, and what others made of it
        r"|(?:^|/)[^/]+/[^/]+/model(?:\.(?:solid|surface))?\.[^/.]+$"  # with names instead of synsets
        r"|^[0-9a-f]{8,}/model\.[^/]+$"  # one synset alone
        r"|(?:^|/)[^/]+/meshes/model\.[^/]+$"  # Google Scanned Objects: the same in other words
    ),
}
RULES: dict[str, Callable[[str, str], Place | None]] = {
    "shapenet": _shapenet,
    "modelnet": _modelnet,
    "abc": _abc,
    "objaverse": _objaverse,
}


def _representations(kinds: Mapping[str, str], places: Mapping[str, Place], *, guess: bool) -> dict[str, str]:
    """The object of each file by name: voxels belong to the mesh of their name. `guess`: and to the mesh in whose
    folder they lie, where such folders have files of the same names.
    """
    groups = {file: place.name for file, place in places.items()}
    meshes = {groups[file]: file for file in kinds if kinds[file] == "mesh"}
    folders: dict[str, list[str]] = {}
    for file in kinds:
        folders.setdefault(file.rpartition("/")[0], []).append(file)
    recurring = Counter(file.rpartition("/")[2] for file in kinds)
    if guess:
        _refuse_many(folders, kinds)
        _refuse_parallel(kinds)
    # A mesh's name that recurs in other folders (model.obj) says nothing: there the folder is the object.
    for folder, files in folders.items():
        of_folder = [file for file in files if kinds[file] == "mesh"]
        generic = len(of_folder) == 1 and "/" in folder and recurring[of_folder[0].rpartition("/")[2]] > 1
        for file in (file for file in files if kinds[file] == "voxels"):
            base = groups[file]
            while base not in meshes and "." in base.rpartition("/")[2]:
                base = base.rpartition(".")[0]  # model.solid belongs to model
            if base in meshes:
                groups[file] = base
            elif guess and generic:
                groups[file] = groups[of_folder[0]]
            elif guess and (mesh := _of_one_object(file, of_folder)):
                groups[file] = groups[mesh]
            elif HOLLOW.search(file) or SOLID.search(file):
                groups[file] = re.sub(r"[._-](solid|surface)$", "", groups[file], flags=re.I)
    return groups


def _of_one_object(file: str, meshes: Sequence[str]) -> str | None:
    """The one mesh beside voxels whose name says the same object: x_object.obj of x_voxel.mat."""
    same = [mesh for mesh in meshes if object_of(mesh) == object_of(file)]
    return same[0] if len(same) == 1 else None


def _refuse_many(folders: Mapping[str, Sequence[str]], kinds: Mapping[str, str]) -> None:
    """ValueError when sibling folders hold shape files of the same names: several files of each object, it seems."""
    siblings: dict[str, list[str]] = {}
    for folder, files in folders.items():
        if "/" in folder and len(files) <= MAX_REPRESENTATIONS:
            siblings.setdefault(folder.rpartition("/")[0], []).append(folder)
    for within in siblings.values():
        names = Counter(file.rpartition("/")[2] for folder in within for file in folders[folder])
        kind_of = {file.rpartition("/")[2]: kinds[file] for folder in within for file in folders[folder]}
        common = [name for name, count in names.items() if count > max(1, len(within) // 2)]
        common = [name for name in common if not stem_of(name).isdecimal()]
        kind = "mesh" if any(kind_of[name] == "mesh" for name in common) else "voxels"
        shown = sorted(name for name in common if kind_of[name] == kind)
        if len({stem_of(name).partition(".")[0] for name in shown}) > 1:
            raise ValueError(
                f"{len(within)} folders such as {within[0]} hold {', '.join(shown[:SHOWN])}: several files of one "
                f"object would be several shapes, in several splits. Leave the others out with --set "
                f"exclude=['{shown[-1]}'], or, if they are different shapes, say so with --set layout=folders"
            )


def _recurring_names(files: Iterable[str]) -> list[str]:
    """A line where most folders hold files of the same few names: they may be one object each, and are several shapes.

    The name of the folder itself does not count: scene_01/scene_01_clean.ply is scene_02/scene_02_clean.ply.
    """
    folders: dict[str, set[str]] = {}
    for file in files:
        above, _, name = file.rpartition("/")
        own = above.rpartition("/")[2]
        folders.setdefault(above, set()).add(name.replace(own, "*") if own else name)
    alike = Counter(
        frozenset(names)
        for above, names in folders.items()
        if above and 1 < len(names) <= MAX_REPRESENTATIONS and not all(stem_of(name).isdecimal() for name in names)
    )
    names, count = alike.most_common(1)[0] if alike else (frozenset[str](), 0)
    if count < 2 or count <= len(folders) // 2:
        return []
    shown = sorted(names)
    return [
        f"{count} folders hold files of the same names, {', '.join(shown[:SHOWN])}: each file is a shape; if a folder "
        f"is one object, leave the others out with --set exclude=['{shown[-1]}']"
    ]


def _refuse_parallel(kinds: Mapping[str, str]) -> None:
    """ValueError where one folder holds meshes and another voxels of the same names: each object twice, it seems."""
    below = {file: kind for file, kind in kinds.items() if "/" in file}  # others lie in no folder of theirs
    meshes = {stem_of(file).partition("/")[2]: file for file, kind in below.items() if kind == "mesh"}
    voxels = [file for file, kind in below.items() if kind == "voxels"]
    pairs = [
        (meshes[rest], file)
        for file in voxels
        if (rest := stem_of(file).partition("/")[2]) in meshes
        and not rest.rpartition("/")[2].isdecimal()
        and meshes[rest].partition("/")[0] != file.partition("/")[0]
    ]
    if len(pairs) > max(1, len(voxels) // 2):
        mesh, grid = pairs[0]
        raise ValueError(
            f"{mesh} and {grid}, and {len(pairs) - 1} more, have one name below their folders: objects that are there "
            "as mesh and as voxels would be two shapes, in several splits. Choose with --set kind=mesh or kind=voxels, "
            "or, if they are different shapes, say so with --set layout=folders"
        )


def _one_of_each(
    objects: Mapping[str, Sequence[str]], kinds: Mapping[str, str], *, refuse_twins: bool
) -> tuple[dict[str, str], dict[str, list[str]], list[str]]:
    """The file of each object that is taken, those that are left, and objects that have hollow voxels alone."""
    taken, left, hollow = dict[str, str](), dict[str, list[str]](), list[str]()
    for name, files in objects.items():
        solid = [file for file in files if not HOLLOW.search(file)]
        if not solid and len(files) >= 1:
            hollow.append(name)
            continue
        best, *others = sorted(solid, key=lambda file: _rank(file, kinds[file]))
        twins = [file for file in others if kinds[file] == kinds[best]] if refuse_twins else []
        if twins and not SOLID.search(best):
            raise ValueError(
                f"{min(best, twins[0])} and {max(best, twins[0])} would both be the shape {name!r}; leave one out, "
                f"for example with --set exclude=['*{voxel_suffix(max(best, twins[0]))}']"
            )
        taken[name] = best
        if len(files) > 1:
            left[name] = [file for file in files if file != best]
    return taken, left, hollow


def _rank(file: str, kind: str) -> tuple[int, int, str]:
    """Meshes before voxels, formats in the order above, solid voxels first."""
    suffixes, suffix = (MESHES if kind == "mesh" else VOXELS), voxel_suffix(file).lower()
    place = suffixes.index(suffix) if suffix in suffixes else len(suffixes)
    return (0 if kind == "mesh" else 1), (-1 if SOLID.search(file) else place), file


def _patterns(files: Iterable[str]) -> str:
    """The names of files without their folders, or their suffixes where each is called differently."""
    names = Counter(file.rpartition("/")[2] for file in files)
    if len(names) > SHOWN:
        names = Counter(f"*{voxel_suffix(name)}" for name in names.elements())
    return ", ".join(name for name, _ in names.most_common(SHOWN))


def _first_names(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
