"""The input files of a data set: which there are, what they are called, to which category they belong.

input/chair/one.ply        -> name chair/one, category chair
input/chair/x/model.obj    -> name chair/x/model, category chair
input/one.ply              -> category named after the input folder: name input/one
"""

import fnmatch
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data_processing.meshes import MESH_SUFFIXES
from data_processing.voxels import VOXEL_SUFFIXES, voxel_suffix

Kind = Literal["mesh", "voxels"]


@dataclass(frozen=True)
class Source:
    """One input file. `file` is relative to the input folder."""

    name: str
    category: str
    file: str
    kind: Kind


@dataclass(frozen=True)
class Listing:
    """What a folder holds: the sources sorted by name, and how many other files there were of each suffix."""

    sources: tuple[Source, ...]
    ignored: dict[str, int]


def list_sources(
    folder: Path,
    *,
    kind: Literal["auto", "mesh", "voxels"] = "auto",
    categories: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
) -> Listing:
    """All shapes below a folder.

    `exclude`: patterns such as `*.obj` or `chair/broken_*`, matched against the path below the folder and the file's
    name. FileNotFoundError when there is no folder or nothing in it; ValueError when two files have one name, or a name
    is not printable.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"input folder {folder} does not exist (current directory: {Path.cwd()})")
    sources, ignored = [], Counter[str]()
    for file in sorted(_files(folder)):
        found = kind_of(Path(file))
        if any(fnmatch.fnmatch(file, pattern) or fnmatch.fnmatch(Path(file).name, pattern) for pattern in exclude):
            ignored["excluded"] += 1
        elif found is None or kind not in ("auto", found):
            ignored[Path(file).suffix.lower() or "no suffix"] += 1
        else:
            sources.append(_source(folder, file, found))
    chosen = _of_categories(sources, categories, folder)
    if not chosen:
        raise FileNotFoundError(_nothing_found(folder, kind, ignored))
    _refuse_duplicates(chosen, folder)
    return Listing(tuple(sorted(chosen, key=lambda source: source.name)), dict(ignored))


def kind_of(path: Path) -> Kind | None:
    """Mesh or voxels, by the suffix; None for any other file."""
    if voxel_suffix(path) in VOXEL_SUFFIXES:
        return "voxels"
    return "mesh" if path.suffix.lower() in MESH_SUFFIXES else None


def _files(folder: Path) -> Iterator[str]:
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
    suffix = voxel_suffix(Path(file)) if kind == "voxels" else Path(file).suffix
    stem = file[: -len(suffix)]
    if not stem.isprintable() or "\\" in stem or not stem.rpartition("/")[2]:
        raise ValueError(f"{folder}: the file name {file!r} cannot name a shape; rename it, or list it under exclude")
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


def _nothing_found(folder: Path, kind: str, ignored: Counter[str]) -> str:
    wanted = {"mesh": "meshes", "voxels": "voxel files", "auto": "meshes or voxel files"}[kind]
    suffixes = sorted((MESH_SUFFIXES if kind != "voxels" else set()) | (VOXEL_SUFFIXES if kind != "mesh" else set()))
    other = ", ".join(f"{count} {suffix}" for suffix, count in ignored.items()) or "no file at all"
    return f"{folder} holds no {wanted} ({' '.join(suffixes)}); it has {other}"
