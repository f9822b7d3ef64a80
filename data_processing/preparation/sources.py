"""The input files of a data set: which there are, what they are called, to which category they belong.

input/chair/one.ply        -> name chair/one, category chair
input/chair/x/model.obj    -> name chair/x/model, category chair
input/one.ply              -> category named after the input folder: name input/one

Of labelled scans the structures are the categories, and a scan has a shape for each part that is asked of it:

input/sub-1/dseg.nii.gz    -> name kidney/sub-1/dseg-left, category kidney, part kidney/left
input/sub-1/liver.nii.gz   -> name liver/sub-1, category liver, part liver (files: organ)
"""

import fnmatch
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data_processing.formats.mesh_files import MESH_SUFFIXES
from data_processing.formats.scans import SCAN_SUFFIXES, described
from data_processing.formats.voxel_files import VOXEL_SUFFIXES, voxel_suffix
from data_processing.medical.advice import CONFIG_KEYS
from data_processing.medical.crops import organ_file
from data_processing.medical.images_beside import images_beside, is_general, left_out
from data_processing.medical.structures import LabelConfig, all_parts
from data_processing.preparation.layouts import LayoutName, arrange, refuse_absent
from data_processing.store.split_lists import given_splits, lists_among, read_list_files
from isofield.runtime.name_words import composed
from isofield.runtime.reasons import reason_of

Kind = Literal["mesh", "voxels", "labels"]
SYSTEM_FOLDERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"})


@dataclass(frozen=True)
class Source:
    """One shape to prepare. `file` is relative to the input folder; `part`: which of a labelled scan's shapes.

    `refusal`: why it is no shape of its own; it fails with that.
    """

    name: str
    category: str
    file: str
    kind: Kind
    part: str = ""
    refusal: str = ""


@dataclass(frozen=True)
class Listing:
    """What a folder holds: the sources sorted by name, and how many other files there were of each suffix.

    `notes`: lines for the person who started the command. `splits`: by the names of shapes, where folders or lists
    in the folder say them; shapes that they do not name are in none.
    """

    sources: tuple[Source, ...]
    ignored: dict[str, int]
    notes: tuple[str, ...] = ()
    splits: dict[str, str] | None = None


def list_sources(
    folder: Path,
    *,
    kind: Literal["auto", "mesh", "voxels", "labels"] = "auto",
    categories: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    labels: LabelConfig | None = None,
    layout: LayoutName = "auto",
) -> Listing:
    """All shapes below a folder, one for each object as its layout has them (layouts.py).

    `exclude`: patterns such as `*.obj` or `chair/broken_*`, matched against the path below the folder and the file's
    name. `labels`: what kind labels takes from each scan. FileNotFoundError when there is no folder or nothing in it;
    ValueError when two files have one name, or a name is not printable.
    """
    if kind == "labels" and labels is None:
        raise ValueError("kind: labels needs a section labels: that says which structures to take from a scan")
    if not folder.is_dir():
        raise FileNotFoundError(f"input folder {folder} does not exist (current directory: {Path.cwd()})")
    # What files are is told by their suffixes; scans of labels are listed apart, they hold several shapes each.
    kinds, scans, ignored = dict[str, Kind](), list[str](), Counter[str]()
    files = sorted(files_below(folder))
    images = images_beside(files) if labels is not None and is_general(labels.pattern) else []
    for file in files:
        found = _kind_in(file, kind, labels)
        if matches_any(file, exclude):
            ignored["excluded"] += 1
        elif found is None or kind not in ("auto", found):
            ignored[voxel_suffix(Path(file)).lower() or "no suffix"] += 1
        elif found == "labels" and file in images:
            continue
        elif found == "labels":
            scans.append(file)
        else:
            _stem(folder, file, voxel_suffix(Path(file)) if found == "voxels" else Path(file).suffix)
            kinds[file] = found
    # One source for each object, and for each part of a scan.
    asked = categories if kinds else None  # those of scans are the structures, and come below
    try:
        arrangement = arrange(kinds, layout, root=folder.resolve().name or "all", categories=asked)
    except ValueError as error:
        raise ValueError(f"{folder}: {reason_of(error)}") from error
    refused = arrangement.refused
    sources = [
        Source(to.name, to.category, file, kinds[file], refusal=refused.get(file, ""))
        for file, to in arrangement.places.items()
    ]
    if labels is not None:
        sources += _scan_sources(folder, scans, labels)
    chosen = _of_categories(sources, categories, folder)
    if not chosen:
        raise FileNotFoundError(_nothing_found(folder, kind, ignored, files) + _wider_pattern(labels, files))
    _refuse_duplicates(chosen, folder)
    # Lists beside the shapes say more than folders do.
    splits, notes = arrangement.splits, list(arrangement.notes)
    if labels is None and (lists := read_list_files(folder, files, all_kinds=layout == "lists")):
        splits, said = given_splits([source.name for source in chosen], lists)
        notes += said
    elif layout == "auto" and labels is None and (unread := lists_among(files)):
        notes.append(f"{', '.join(unread[:3])} look like lists of splits: --set layout=lists takes them")
    elif layout == "lists":
        raise FileNotFoundError(
            f"{folder}: layout lists, but neither it nor its folders hold train, val or test (.lst, .txt, .json), a "
            "CSV with columns id and split, or split.json; lists elsewhere: --set splits.rule=lists "
            "splits.lists.train=FILE"
        )
    if beside := left_out(images, CONFIG_KEYS.pattern):
        notes.append(beside)
    return Listing(tuple(sorted(chosen, key=lambda source: source.name)), dict(ignored), tuple(notes), splits)


def kind_of(path: Path) -> Kind | None:
    """Mesh or voxels, by the suffix; None for any other file."""
    if voxel_suffix(path) in VOXEL_SUFFIXES:
        return "voxels"
    return "mesh" if path.suffix.lower() in MESH_SUFFIXES else None


def _kind_in(file: str, kind: str, labels: LabelConfig | None) -> Kind | None:
    """What a file is where `kind` is asked for: a NIfTI file holds labels if labels are."""
    if kind != "labels" or labels is None:
        return kind_of(Path(file))
    is_scan = file.lower().endswith(SCAN_SUFFIXES) and matches_any(file, (labels.pattern,))
    return "labels" if is_scan else None


def matches_any(file: str, patterns: Sequence[str]) -> bool:
    """Whether a path below a folder, or its last part, is one of the patterns."""
    file = composed(file)
    names = (file, file.rpartition("/")[2])
    return any(fnmatch.fnmatch(name, composed(pattern)) for pattern in patterns for name in names)


def _scan_sources(folder: Path, files: Sequence[str], labels: LabelConfig) -> Iterator[Source]:
    """Every part of every scan, there or not: what a scan lacks becomes a row with the reason."""
    scans: dict[str, str] = {}  # stem: file, or folder of one file per organ
    for file in files:
        stem = _stem(folder, file, voxel_suffix(Path(file)))
        scan = stem if labels.files == "scan" else Path(stem).parent.as_posix()
        if labels.files == "scan" and scan in scans:
            raise ValueError(f"{folder}: {scans[scan]} and {file} would both be the scan {scan!r}; exclude one")
        scans[scan] = file if labels.files == "scan" else scan
    for scan, file in scans.items():
        for part in all_parts(labels):
            name = part.name(scan if scan != "." else folder.resolve().name or "scan")
            path = file
            if labels.files == "organ":
                # Of a folder of organs the file of the structure's first label stands for all of them.
                first = str(part.structure.labels[0])
                path = organ_file(folder / file, first).relative_to(folder).as_posix()
            yield Source(name=name, category=part.structure.name, file=path, kind="labels", part=part.key)


def _stem(folder: Path, file: str, suffix: str) -> str:
    """The path below the folder without its suffix. ValueError where that cannot name a shape."""
    stem = file[: -len(suffix)]
    if not stem.isprintable() or "\\" in stem or not stem.rpartition("/")[2]:
        raise ValueError(f"{folder}: the file name {file!r} cannot name a shape; rename it, or list it under exclude")
    return stem


def files_below(folder: Path) -> Iterator[str]:
    """Paths of all files below, with slashes; hidden ones left out, linked folders entered once."""
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        # A link to a folder above would be walked for ever: each real folder is entered once.
        real = os.path.realpath(root)
        folders[:] = [name for name in folders if not is_hidden(name)] if real not in seen else []
        if real in seen:
            continue
        seen.add(real)
        for name in files:
            if not is_hidden(name):
                yield Path(root, name).relative_to(folder).as_posix()


def is_hidden(name: str) -> bool:
    """What systems put beside files: ._x.obj, .DS_Store, the copies of attributes in archives of macOS."""
    return name.startswith(".") or name in SYSTEM_FOLDERS


def _of_categories(sources: list[Source], categories: Sequence[str] | None, folder: Path) -> list[Source]:
    if categories is None:
        return sources
    try:
        refuse_absent(categories, {source.category for source in sources})
    except ValueError as error:
        raise ValueError(f"{folder}: {reason_of(error)}") from error
    wanted = set(map(composed, categories))
    return [source for source in sources if composed(source.category) in wanted]


def _refuse_duplicates(sources: list[Source], folder: Path) -> None:
    first: dict[str, Source] = {}
    for source in sources:
        other = first.setdefault(source.name, source)
        if other is not source:
            raise ValueError(
                f"{folder}: {other.file} and {source.file} would both be the shape {source.name!r}; "
                f"leave one out, for example with --set exclude=['{source.file}']"
            )


def _wider_pattern(labels: LabelConfig | None, files: Sequence[str]) -> str:
    """What to type where label files are there and none is called as `labels.pattern` says."""
    if labels is None or labels.pattern == "*" or not any(file.lower().endswith(SCAN_SUFFIXES) for file in files):
        return ""
    return f"; labels.pattern is {labels.pattern!r}: --set \"labels.pattern='*'\" takes them all"


def _nothing_found(folder: Path, kind: str, ignored: Counter[str], files: Sequence[str]) -> str:
    wanted, suffixes = {
        "mesh": ("meshes", sorted(MESH_SUFFIXES)),
        "voxels": ("voxel files", sorted(VOXEL_SUFFIXES)),
        "auto": ("meshes or voxel files", sorted(MESH_SUFFIXES | VOXEL_SUFFIXES)),
        "labels": ("label files that labels.pattern takes", sorted(SCAN_SUFFIXES)),
    }[kind]
    other = ", ".join(f"{count} {suffix}" for suffix, count in ignored.items()) or "no file at all"
    if "excluded" not in ignored:
        other = described(folder / file for file in files) or other
    return f"{folder} holds no {wanted} ({' '.join(suffixes)}); it has {other}"
