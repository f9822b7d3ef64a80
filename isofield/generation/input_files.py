"""The user's own files and folders, and the name that each one's mesh gets: no two get the same one.

A file is named by its stem, or, where that is not its own, by its path below the folder that all files have in common.
A folder is gone through as data_processing does it: one file for each object, named as it lies there.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_processing.formats.first_bytes import missing_file
from data_processing.formats.pictures import PICTURE_SUFFIXES
from data_processing.formats.point_clouds import CLOUD_SUFFIXES
from data_processing.formats.scans import SCAN_SUFFIXES, described, scan_stem, scan_suffix
from data_processing.formats.text_clouds import GENERIC_SUFFIXES, is_text_cloud
from data_processing.loading.network_inputs import CLOUDS, InputConfig
from data_processing.preparation.config import DataConfig
from data_processing.preparation.layouts import LayoutName, arrange, stem_of
from data_processing.preparation.sources import files_below, kind_of, matches_any
from isofield.runtime.commandline import say
from isofield.runtime.reasons import reason_of


@dataclass(frozen=True)
class FolderRules:
    """What of a folder is taken: `--set kind=mesh exclude=[...] layout=...`, not as the run's own data set was."""

    exclude: tuple[str, ...] = ()
    layout: LayoutName = "auto"
    kind: str = "auto"

    @classmethod
    def of(cls, config: DataConfig, overrides: Sequence[str]) -> "FolderRules":
        given = {text.partition("=")[0] for text in overrides}
        asked = {key: getattr(config, key) for key in ("exclude", "layout", "kind") if key in given}
        return cls(**asked)


def named_files(
    paths: Sequence[Path], section: InputConfig, config: DataConfig, rules: FolderRules, *, out: Path | None = None
) -> dict[str, Path]:
    """Files by the name of their mesh, in the order given. `out`: a folder whose files are no inputs.

    Raises FileNotFoundError for a folder without a file that the run takes, ValueError where two files are left with
    one name (FileNotFoundError where one of them is not there: a pattern that matched nothing, as shells pass it on).
    """
    groups: list[tuple[Path, dict[str, Path]]] = []
    for path in dict.fromkeys(paths):
        if path.is_dir():
            groups.append((path, _files_of_folder(path, section, config, rules, out)))
        else:
            groups.append((path.parent, {_stem(path): path}))
    named: dict[str, Path] = {}
    if _all_differ(groups):
        for _, files in groups:
            named |= files
        return named
    # Names are not enough: what the files have in common above them tells them apart.
    common = Path(os.path.commonpath([str(folder.resolve()) for folder, _ in groups]))
    for folder, files in groups:
        above = folder.resolve().relative_to(common).as_posix()
        for name, file in files.items():
            whole = name if above == "." else f"{above}/{name}"
            other = named.setdefault(whole, file)
            if other.resolve() != file.resolve():
                for one in (other, file):
                    if not one.exists():
                        raise missing_file(one)
                raise ValueError(f"{other} and {file} would both be written as {whole}: run twice, with --out")
    return named


def _all_differ(groups: Sequence[tuple[Path, dict[str, Path]]]) -> bool:
    owner: dict[str, Path] = {}
    return all(
        owner.setdefault(name, file.resolve()) == file.resolve() for _, files in groups for name, file in files.items()
    )


def _files_of_folder(
    folder: Path, section: InputConfig, config: DataConfig, rules: FolderRules, out: Path | None
) -> dict[str, Path]:
    """What the run takes of a folder, one file for each object."""
    kinds, others = dict[str, str](), list[Path]()
    for file in sorted(files_below(folder)):
        inside_out = out is not None and (folder / file).resolve().is_relative_to(out.resolve())
        kind = None if inside_out else _kind_for(folder / file, section, config)
        other_kind = {"mesh": "voxels", "voxels": "mesh"}.get(rules.kind)
        if kind and kind != other_kind and not matches_any(file, rules.exclude):
            kinds[file] = kind
        else:
            others.append(folder / file)
    if not kinds:
        raise FileNotFoundError(
            f"{folder} holds no file that this run takes: it is shown {section.kind}; give "
            + ("clouds, meshes or voxels" if section.kind in CLOUDS else "meshes, voxels or NIfTI masks")
            + f"; it has {described(others) or 'no file at all'}"
        )
    try:
        arrangement = arrange(kinds, rules.layout, root=folder.resolve().name or "all", for_splits=False)
    except ValueError as error:
        raise ValueError(f"{folder}: {reason_of(error)}") from error
    for note in arrangement.notes:
        say(f"{folder}: {note}")
    if others:
        say(f"{folder}: {len(arrangement.places)} shapes, {len(others)} other files left alone")
    return {place.name if "/" in file else stem_of(file): folder / file for file, place in arrangement.places.items()}


def _kind_for(file: Path, section: InputConfig, config: DataConfig) -> str | None:
    """The kind of a file that the run can be shown; None for others, and for the masks that lie beside photos."""
    suffix, name = file.suffix.lower(), file.name.lower()
    if config.labels is not None and name.endswith(SCAN_SUFFIXES):
        return "labels"
    if section.kind in CLOUDS and suffix in CLOUD_SUFFIXES and kind_of(file) is None:
        return "cloud" if suffix not in GENERIC_SUFFIXES or is_text_cloud(file) else None
    if section.kind == "view" and suffix in PICTURE_SUFFIXES:
        return None if ".mask." in name else "picture"
    return kind_of(file)


def _stem(file: Path) -> str:
    if scan_suffix(file.name):
        return scan_stem(file.name) or file.name
    name = file.name.removesuffix(".gz")
    return name.rpartition(".")[0] or name
