"""What a folder holds: scans, each one label volume, or a folder with a file for each organ.

Nothing is opened here but headers. Which files are masks of single organs is told by their names; hidden files are left
out; a folder may be called like a scan.
"""

import fnmatch
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data_processing.formats.nifti import NIFTI_SUFFIXES
from data_processing.medical.label_names import plain_name
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
    organ. `pattern`: of files to be looked at, against the path below the folder and the file's name. FileNotFoundError
    when there is none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {folder} does not exist")
    files = sorted(file for file in files_below(folder) if _suffix(file))
    chosen = [file for file in files if fnmatch.fnmatch(file, pattern) or fnmatch.fnmatch(_name(file), pattern)]
    if not chosen:
        seen = f"; {len(files)} files do not match {pattern}: {', '.join(files[:SHOWN])}" if files else ""
        raise FileNotFoundError(f"{folder} has no NIfTI files ({', '.join(NIFTI_SUFFIXES)}) to look at{seen}")
    names = {plain_name(name) for name in known}
    by_folder: dict[str, list[str]] = {}
    for file in chosen:
        by_folder.setdefault(file.rpartition("/")[0], []).append(file)
    scans: list[Scan] = []
    for below, inside in by_folder.items():
        if _is_organ_folder(inside, names, layout):
            scans.append(_organ_folder(folder, below, inside))
        else:
            scans += _volumes(folder, inside)
    return _unique(scans)


def _is_organ_folder(files: Collection[str], names: Collection[str], layout: Layout) -> bool:
    if layout != "auto":
        return layout == "organs"
    return any(plain_name(_stem(_name(file))) in names for file in files)


def _organ_folder(folder: Path, below: str, files: Iterable[str]) -> Scan:
    """Of one subject."""
    organs = tuple((_stem(_name(file)), folder / file) for file in files)
    return Scan(below or folder.resolve().name, folder / below, organs)


def _volumes(folder: Path, files: Iterable[str]) -> list[Scan]:
    """Files of equal stem (a.nii beside a.nii.gz) keep their suffixes."""
    counts = Counter(_stem(file) for file in files)
    return [Scan(_stem(file) if counts[_stem(file)] == 1 else file, folder / file) for file in files]


def _unique(scans: list[Scan]) -> list[Scan]:
    """A folder called like a scan beside it keeps a slash's worth of difference: its key ends with an underline."""
    taken: set[str] = set()
    result = []
    for scan in sorted(scans, key=lambda scan: (bool(scan.organs), scan.key)):
        key = scan.key
        while key in taken:
            key += "_"
        taken.add(key)
        result.append(Scan(key, scan.file, scan.organs))
    return sorted(result, key=lambda scan: scan.key)


def _name(file: str) -> str:
    return file.rpartition("/")[2]


def _suffix(file: str) -> str:
    lower = file.lower()
    return next((suffix for suffix in sorted(NIFTI_SUFFIXES, key=len, reverse=True) if lower.endswith(suffix)), "")


def _stem(file: str) -> str:
    return file[: -len(_suffix(file))]
