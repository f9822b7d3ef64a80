"""What a folder holds: scans, each one label volume, or a folder with a file for each organ.

Nothing is opened here but headers. Which files are masks of single organs is told by their names; hidden files are left
out, and so are images that lie beside their labels; a folder may be called like a scan.
"""

import fnmatch
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data_processing.formats.scans import SCAN_SUFFIXES, described, scan_stem, scan_suffix
from data_processing.medical.advice import COMMAND_OPTIONS
from data_processing.medical.images_beside import images_beside, is_general, left_out
from data_processing.medical.organ_names import name_key, organ_of_stem
from data_processing.preparation.sources import files_below

Layout = Literal["auto", "volumes", "organs"]
SHOWN = 5


@dataclass(frozen=True)
class Scan:
    """One scan. `key`: its path below the folder, no suffix, unique. `organs`: files by organ; none of a volume."""

    key: str
    file: Path  # the label volume, or the folder of the organs
    organs: tuple[tuple[str, Path], ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(path for _, path in self.organs) or (self.file,)


def find_scans(folder: Path, known: Iterable[str], *, pattern: str = "*", layout: Layout = "auto") -> list[Scan]:
    """All scans below a folder, sorted by key.

    `known`: names of organs; with layout auto a folder that has a file named like one is a scan with a file for each
    organ. `pattern`: of files to be looked at, against the path below the folder and the file's name. Raises
    NotADirectoryError for a file, FileNotFoundError when there is nothing, with what there is instead.
    """
    if folder.is_file():
        raise NotADirectoryError(f"{folder} is a file, expected a folder of scans: give the folder that it is in")
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {folder} does not exist")
    everything = sorted(files_below(folder))
    files = [file for file in everything if scan_suffix(file)]
    images = _images(files, pattern, layout)
    matching = [file for file in files if fnmatch.fnmatch(file, pattern) or fnmatch.fnmatch(_name(file), pattern)]
    chosen = [file for file in matching if file not in images]
    if not chosen:
        seen = f"; {len(files)} files do not match {pattern}: {', '.join(files[:SHOWN])}" if files else ""
        seen = seen or f"; it has {described(folder / file for file in everything) or 'no file at all'}"
        raise FileNotFoundError(
            f"{folder} has no NIfTI files, or others of {' '.join(SCAN_SUFFIXES)}, to look at{seen}"
        )
    # A scan is a folder of organs, or a file of its own: decided folder by folder.
    names = tuple(dict.fromkeys(known))
    by_folder: dict[str, list[str]] = {}
    for file in chosen:
        by_folder.setdefault(file.rpartition("/")[0], []).append(file)
    scans: list[Scan] = []
    for below, inside in by_folder.items():
        if _is_organ_folder(inside, names, layout):
            scans.append(_organ_folder(folder, below, inside, names))
        else:
            scans += _volumes(folder, inside)
    return _unique(scans)


def left_out_of(folder: Path, *, pattern: str = "*", layout: Layout = "auto") -> str:
    """A line on the images that `find_scans` leaves out; "" for none."""
    return left_out(sorted(_images(files_below(folder), pattern, layout)), COMMAND_OPTIONS.pattern)


def _images(files: Iterable[str], pattern: str, layout: Layout) -> set[str]:
    """What the user asked for is taken: the files of a pattern, or every file as an organ."""
    return set(images_beside(files, organs=True)) if is_general(pattern) and layout != "organs" else set()


def _is_organ_folder(files: Collection[str], names: Collection[str], layout: Layout) -> bool:
    if layout != "auto":
        return layout == "organs"
    stems = [scan_stem(_name(file)) for file in files]
    if any(organ_of_stem(stem, names) for stem in stems):
        return True
    # Behind the name of a subject: organs only where there are several, for volumes are called hippocampus_001 too.
    organs = {organ_of_stem(stem, names, anywhere=True) for stem in stems}
    return len(organs) > 1 and "" not in organs


def _organ_folder(folder: Path, below: str, files: Iterable[str], names: Collection[str]) -> Scan:
    """Of one subject; organs as they are known, where the names of files say it with other words around."""
    stems = [(scan_stem(_name(file)), folder / file) for file in files]
    # Two files that both say "liver" with other words around (liver_old, liver_new): neither may take the name.
    spelt = [(_organ(stem, names), stem, path) for stem, path in stems]
    counts = Counter(organ for organ, _, _ in spelt)
    organs = tuple((organ if counts[organ] == 1 else stem, path) for organ, stem, path in spelt)
    return Scan(below or folder.resolve().name, folder / below, organs)


def _organ(stem: str, names: Collection[str]) -> str:
    """The stem itself, unless it says an organ with other words around."""
    organ = organ_of_stem(stem, names, anywhere=True)
    return stem if not organ or name_key(organ) == name_key(stem) else organ


def _volumes(folder: Path, files: Iterable[str]) -> list[Scan]:
    """Files of equal stem (a.nii beside a.nii.gz) keep their suffixes."""
    counts = Counter(scan_stem(file) for file in files)
    return [Scan(scan_stem(file) if counts[scan_stem(file)] == 1 else file, folder / file) for file in files]


def _unique(scans: list[Scan]) -> list[Scan]:
    """A folder called like a scan beside it keeps a slash's worth of difference: its key ends with an underline."""
    taken: set[str] = set()
    result = []
    # Files first: a folder gives way to a file of its name, whatever order they were found in.
    for scan in sorted(scans, key=lambda scan: (bool(scan.organs), scan.key)):
        key = scan.key
        while key in taken:
            key += "_"
        taken.add(key)
        result.append(Scan(key, scan.file, scan.organs))
    return sorted(result, key=lambda scan: scan.key)


def _name(file: str) -> str:
    return file.rpartition("/")[2]
