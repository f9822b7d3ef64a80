"""Files that are forms or parts of one object, told by their names: obj/x.obj and stl/x.stl, x/visual.obj and
x/collision.obj, x_lod0.ply and x_lod1.ply, x/objs/new-0.obj and x/objs/new-1.obj (PartNet).

As shapes of their own they would lie in several splits, and a test split would hold what was trained on. Nothing is
guessed of which form is meant: they are refused with the setting that says it; where only some objects are there in
several forms, those alone.
"""

import fnmatch
import re
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

from data_processing.formats.voxel_files import voxel_suffix
from isofield.runtime.name_words import words_of

SHOWN = 3  # names in a message
# Words that say in which form an object is there, and not which object it is.
FORMATS = "obj stl ply off glb gltf dae fbx usd binvox npy npz mat"
KINDS = "mesh meshes model models object objects voxel voxels voxelized voxelised cloud clouds tet tetmesh"
STATES = (
    "raw original orig normalized normalised scaled watertight manifold simplified decimated remeshed repaired clean "
    "cleaned textured nontextured untextured visual collision convex decomposed binary embedded draco quantized "
    "highpoly lowpoly highres lowres hires lores lod copy"
)
WORDS = frozenset(f"{FORMATS} {KINDS} {STATES}".split())
FOLDER_WORDS = WORDS | frozenset(["in", "out", "input", "output"])  # 0_in, 1_scaled, 2_watertight
QUALITY = re.compile(r"(high|low)[-_ ](poly|res)(?![^\W_])", re.IGNORECASE)
LEVEL = re.compile(r"lod\d+", re.IGNORECASE)
COPY = re.compile(r"^copy( \d+)? of | - copy( ?\(\d+\))?$| ?\(\d+\)$", re.IGNORECASE)  # as file managers call them
NUMBERED = re.compile(r" ?\(\d+\)$")  # a copy where the file without the number is there; else one of a numbered series
PART = re.compile(r"(part|coacd|convex|hull|piece|component|segment|submesh)s?[-_ .]?\d+", re.IGNORECASE)
PART_FOLDERS = frozenset({"objs", "textured_objs", "parts", "part_meshes"})


def object_of(file: str) -> str:
    """What is left of a path without suffix and without the words that say a form."""
    *folders, name = file.split("/")
    stem = COPY.sub("", name[: len(name) - len(voxel_suffix(name))])
    kept = [part for part in folders if not _is_form(part)]
    return "/".join([*kept, "_".join(_telling(stem, WORDS))])


def refuse_forms(files: Collection[str]) -> dict[str, str]:
    """Why a file is refused, by file: of objects that seem to be there in several forms, all forms of them.

    ValueError where files seem to be the parts of one object, or where half of the objects or more have several forms:
    then the folder is meant so, and one setting mends it.
    """
    _refuse_parts(files)
    objects: dict[str, list[str]] = {}
    for file in sorted(files):
        objects.setdefault(object_of(file), []).append(file)
    for group in objects.values():
        group.sort(key=lambda file: bool(COPY.search(PurePosixPath(file).stem)))  # copies after what they are of
    # Names that differ in punctuation alone say no form.
    several = [
        group for group in objects.values() if len(group) > 1 and any(map(_says_form, group)) and not _is_series(group)
    ]
    if 2 * len(several) >= len(objects) and several:
        first, *others = several[0]
        raise ValueError(
            f"{first} and {others[0]} seem to be one object in two forms ({len(several)} objects are there so): "
            f"{_ways_out([_pattern(first, other) for first, *rest in several for other in rest])}"
        )
    return {
        file: f"{group[0]} and {group[1]} seem to be one object in two forms: {_ways_out(map(_escaped, group[1:]))}"
        for group in several
        for file in group
    }


def _ways_out(patterns: Iterable[str]) -> str:
    """`patterns`: values of `exclude` that leave the first form of each object."""
    distinct = [f"'{pattern}'" for pattern in dict.fromkeys(patterns)]
    shown = f"[{','.join(distinct[:SHOWN])}{',...' if len(distinct) > SHOWN else ''}]"
    return (
        "as shapes of their own they would lie in several splits. Leave the other forms out with --set "
        f"exclude={shown}, or, if they are different shapes, say so with --set layout=folders"
    )


def _says_form(file: str) -> bool:
    """Whether a word of a form, or the mark of a copy, stands in a path."""
    *folders, name = file.split("/")
    stem = name[: len(name) - len(voxel_suffix(name))]
    plain = words_of(QUALITY.sub(r"\1\2", stem))
    return bool(COPY.search(stem)) or any(map(_is_form, folders)) or _telling(stem, WORDS) != plain


def _is_series(files: Iterable[str]) -> bool:
    """Whether files are chair (1), chair (2), and no chair is there: so Windows names what is renamed together."""
    stems = [file[: len(file) - len(voxel_suffix(file))] for file in files]
    return all(map(NUMBERED.search, stems)) and len({NUMBERED.sub("", stem) for stem in stems}) == 1


def _refuse_parts(files: Iterable[str]) -> None:
    by_folder: dict[str, list[str]] = {}
    for file in sorted(files):
        folder, _, name = file.rpartition("/")
        stem = name[: len(name) - len(voxel_suffix(name))]
        # PartNet's lie in the folder of an object; what lies in parts/ at the top are shapes of their own.
        above, _, last = folder.rpartition("/")
        if folder and (PART.fullmatch(stem) or (above and last.lower() in PART_FOLDERS)):
            by_folder.setdefault(folder, []).append(file)
    found = [group for group in by_folder.values() if len(group) > 1]
    if found:
        raise ValueError(
            f"{', '.join(found[0][:SHOWN])} seem to be parts of one object ({len(found)} folders hold such): as shapes "
            "of their own they would lie in several splits. Merge the parts of each object into one file first (of "
            "PartNet: those that result.json names), or, if each is a shape, say so with --set layout=folders"
        )


def _is_form(folder: str) -> bool:
    """Whether the name of a folder says nothing but a form, perhaps with a number."""
    words = words_of(QUALITY.sub(r"\1\2", folder))
    telling = [word for word in _telling(folder, FOLDER_WORDS) if not word.isdigit()]
    return bool(words) and not telling and not all(word.isdigit() for word in words)


def _telling(name: str, words: Collection[str]) -> list[str]:
    found = words_of(QUALITY.sub(r"\1\2", name))
    return [word for word in found if word.lower() not in words and not LEVEL.fullmatch(word)]


def _pattern(kept: str, other: str) -> str:
    """What tells a file from the one that is kept: a folder, the end of its name, or the whole of it."""
    ours, theirs = PurePosixPath(other).parts, PurePosixPath(kept).parts
    for place, folder in enumerate(ours[:-1]):
        if place >= len(theirs) - 1 or folder != theirs[place]:
            return f"{'*/' if place else ''}{_escaped(folder)}/*"
    name, kept_name = ours[-1], theirs[-1]
    start = next((n for n, (a, b) in enumerate(zip(name, kept_name, strict=False)) if a != b), len(kept_name))
    # To the beginning of the word, and with what parts it from the last one: *raw.obj would take straw.obj as well.
    while start and name[start - 1].isalnum() and name[start : start + 1].isalnum():
        start -= 1
    if start and name[start : start + 1].isalnum():
        start -= 1
    pattern = f"*{_escaped(name[start:])}" if 0 < start < len(name) else _escaped(name)
    # x.obj beside raw_x.obj ends as that does: then the whole of its path is left out, and no more.
    return _escaped(other) if fnmatch.fnmatch(kept, pattern) else pattern


def _escaped(name: str) -> str:
    """A name as a pattern that is this name alone."""
    return re.sub(r"([*?[])", r"[\1]", name)
