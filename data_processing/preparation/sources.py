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

Kind = Literal["mesh", "voxels", "labels"]


@dataclass(frozen=True)
class Source:
    """One shape to prepare. `file` is relative to the input folder; `part`: which of a labelled scan's shapes."""

    name: str
    category: str
    file: str
    kind: Kind
    part: str = ""


@dataclass(frozen=True)
class Listing:
    """What a folder holds: the sources sorted by name, how many other files there were of each suffix, and a line on
    images that lie beside their labels."""

    sources: tuple[Source, ...]
    ignored: dict[str, int]
    left_out: str = ""


def list_sources(
    folder: Path,
    *,
    kind: Literal["auto", "mesh", "voxels", "labels"] = "auto",
    categories: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    labels: LabelConfig | None = None,
) -> Listing:
    """All shapes below a folder.

    `exclude`: patterns such as `*.obj` or `chair/broken_*`, matched against the path below the folder and the file's
    name. `labels`: what kind labels takes from each scan. FileNotFoundError when there is no folder or nothing in it;
    ValueError when two files have one name, or a name is not printable.
    """
    if kind == "labels" and labels is None:
        raise ValueError("kind: labels needs a section labels: that says which structures to take from a scan")
    if not folder.is_dir():
        raise FileNotFoundError(f"input folder {folder} does not exist (current directory: {Path.cwd()})")
    sources, scans, ignored = [], list[str](), Counter[str]()
    everything = sorted(files_below(folder))
    images = images_beside(everything) if labels is not None and is_general(labels.pattern) else []
    for file in everything:
        found = _kind_in(file, kind, labels)
        if _matches(file, exclude):
            ignored["excluded"] += 1
        elif found is None or kind not in ("auto", found):
            ignored[voxel_suffix(Path(file)).lower() or "no suffix"] += 1
        elif found == "labels" and file in images:
            continue
        elif found == "labels":
            scans.append(file)
        else:
            sources.append(_source(folder, file, found))
    if labels is not None:
        sources += _scan_sources(folder, scans, labels)
    chosen = _of_categories(sources, categories, folder)
    if not chosen:
        raise FileNotFoundError(_nothing_found(folder, kind, ignored, everything))
    _refuse_duplicates(chosen, folder)
    ordered = tuple(sorted(chosen, key=lambda source: source.name))
    return Listing(ordered, dict(ignored), left_out(images, CONFIG_KEYS.pattern))


def kind_of(path: Path) -> Kind | None:
    """Mesh or voxels, by the suffix; None for any other file."""
    if voxel_suffix(path) in VOXEL_SUFFIXES:
        return "voxels"
    return "mesh" if path.suffix.lower() in MESH_SUFFIXES else None


def _kind_in(file: str, kind: str, labels: LabelConfig | None) -> Kind | None:
    """What a file is where `kind` is asked for: a NIfTI file holds labels if labels are."""
    if kind != "labels" or labels is None:
        return kind_of(Path(file))
    is_scan = file.lower().endswith(SCAN_SUFFIXES) and _matches(file, (labels.pattern,))
    return "labels" if is_scan else None


def _matches(file: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(file, pattern) or fnmatch.fnmatch(Path(file).name, pattern) for pattern in patterns)


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
        real = os.path.realpath(root)
        folders[:] = [name for name in folders if not name.startswith(".")] if real not in seen else []
        if real in seen:
            continue
        seen.add(real)
        for name in files:
            if not name.startswith("."):
                yield Path(root, name).relative_to(folder).as_posix()


def _source(folder: Path, file: str, kind: Kind) -> Source:
    stem = _stem(folder, file, voxel_suffix(Path(file)) if kind == "voxels" else Path(file).suffix)
    if "/" in stem:
        return Source(name=stem, category=stem.partition("/")[0], file=file, kind=kind)
    category = folder.resolve().name or "all"
    return Source(name=f"{category}/{stem}", category=category, file=file, kind=kind)


def _of_categories(sources: list[Source], categories: Sequence[str] | None, folder: Path) -> list[Source]:
    if categories is None:
        return sources
    there = sorted({source.category for source in sources})
    absent = sorted(set(categories) - set(there))
    if absent:
        raise ValueError(f"{folder}: no shapes of category {', '.join(absent)}; it has: {', '.join(there) or 'none'}")
    return [source for source in sources if source.category in categories]


def _refuse_duplicates(sources: list[Source], folder: Path) -> None:
    first: dict[str, Source] = {}
    for source in sources:
        other = first.setdefault(source.name, source)
        if other is not source:
            raise ValueError(
                f"{folder}: {other.file} and {source.file} would both be the shape {source.name!r}; "
                f"leave one out, for example with exclude: ['*{Path(source.file).suffix}']"
            )


def _nothing_found(folder: Path, kind: str, ignored: Counter[str], files: Sequence[str]) -> str:
    wanted, suffixes = {
        "mesh": ("meshes", sorted(MESH_SUFFIXES)),
        "voxels": ("voxel files", sorted(VOXEL_SUFFIXES)),
        "auto": ("meshes or voxel files", sorted(MESH_SUFFIXES | VOXEL_SUFFIXES)),
        "labels": ("label files that labels.pattern takes", sorted(SCAN_SUFFIXES)),
    }[kind]
    other = ", ".join(f"{count} {suffix}" for suffix, count in ignored.items()) or "no file at all"
    if kind in ("labels", "voxels") and "excluded" not in ignored:
        other = described(folder / file for file in files) or other
    return f"{folder} holds no {wanted} ({' '.join(suffixes)}); it has {other}"
