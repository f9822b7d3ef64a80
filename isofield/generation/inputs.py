"""What to generate: shapes of a split of a data set, or the user's own files prepared as the run's data were."""

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from data_processing.formats.pictures import mask_file
from data_processing.formats.scans import SCAN_SUFFIXES
from data_processing.loading.batches import all_members
from data_processing.loading.network_inputs import CLOUDS, InputConfig, plain_input
from data_processing.loading.single_inputs import Observed, is_photo, observe_file, observe_shape, scan_of
from data_processing.medical.advice import SET_OPTIONS, worded
from data_processing.medical.structures import all_parts
from data_processing.preparation.config import DataConfig, content_settings
from data_processing.preparation.shape import SHAPE_ERRORS, digest_of, size_of
from data_processing.preparation.sources import kind_of
from data_processing.store.shape_set import ShapeSet
from isofield.generation.input_files import FolderRules, named_files
from isofield.generation.meshes import Item
from isofield.run_dir import RunDir, preparation_of
from isofield.runtime.config import to_plain
from isofield.runtime.fingerprint import fingerprint
from isofield.runtime.threads import threads_for_mesh


def items_of_split(
    shapes: ShapeSet, split: str, categories: Sequence[str] = (), *, section: InputConfig, seed: int
) -> list[Item]:
    """Every shape of a split, those too whose preparation failed: their loading says why.

    `section` and `seed` are the run's: what the network is shown. ValueError when there is no such split or category.
    """

    # One shape after the other is made: what was loaded is at hand when its origin is asked for, and the other way.
    @functools.lru_cache(maxsize=1)
    def observed(index: int) -> Observed:
        return observe_shape(shapes, index, section, seed=seed)

    def load(index: int) -> Observed:
        return replace(observed(index), scan=scan_of(shapes, index))

    def origin(index: int) -> str:
        return _digest(observed(index))

    def refuse(reason: str) -> Observed:
        raise ValueError(f"preparation failed: {reason}")

    indices, failed = all_members(shapes, split, categories)
    items = [Item(shapes.names[i], functools.partial(load, i), functools.partial(origin, i)) for i in indices]
    return items + [Item(shape.name, functools.partial(refuse, shape.reason), str) for shape in failed]


def items_of_files(
    files: Sequence[Path],
    run: RunDir,
    *,
    section: InputConfig,
    overrides: Sequence[str] = (),
    device: torch.device,
    out: Path | None = None,
) -> list[Item]:
    """The user's own files and folders (input_files.py); of a run on labelled scans, a NIfTI file is an item for each
    part. `out`: where the meshes go, if that may lie in a folder of inputs.

    ValueError when two would have one name.
    """
    config = preparation_of(run, overrides=overrides)
    named = named_files(files, section, config, FolderRules.of(config, overrides), out=out)
    shapes: dict[str, _FileShape] = {}
    for name, file in named.items():
        for one in _shapes_of(name, file, config):
            other = shapes.setdefault(one.name, one)
            if other is not one:
                raise ValueError(f"{other.file} and {file} would both be written as {one.name}: run twice, with --out")
    load = functools.partial(_load_file, config=config, section=section, device=device)
    origin = functools.partial(_origin_of_file, config=config, section=section)
    return [Item(name, functools.partial(load, one), functools.partial(origin, one)) for name, one in shapes.items()]


@dataclass(frozen=True)
class _FileShape:
    """A shape to be made of a file; `part` as in Source.part."""

    name: str
    file: Path
    part: str = ""


def _shapes_of(name: str, file: Path, config: DataConfig) -> list[_FileShape]:
    if config.labels is not None and file.name.lower().endswith(SCAN_SUFFIXES):
        return [_FileShape(part.name(name), file, part.key) for part in all_parts(config.labels)]
    return [_FileShape(name, file)]


def _load_file(wanted: _FileShape, config: DataConfig, section: InputConfig, device: torch.device) -> Observed:
    try:
        with _threads_for(wanted.file):
            return observe_file(wanted.file, config, section, name=wanted.name, part=wanted.part, device=device)
    except SHAPE_ERRORS as error:
        raise ValueError(worded(error, SET_OPTIONS)) from error


def _threads_for(file: Path) -> contextlib.AbstractContextManager[None]:
    return threads_for_mesh(size_of(file)) if kind_of(file) == "mesh" else contextlib.nullcontext()


def _origin_of_file(wanted: _FileShape, config: DataConfig, section: InputConfig) -> str:
    """The file's content, how it was prepared and what was shown of it."""
    plain, files = [content_settings(to_plain(config)), plain_input(section), wanted.part], [wanted.file]
    if is_photo(wanted.file, section):
        mask = mask_file(wanted.file, config.photo)
        plain, files = [*plain, to_plain(config.photo)], [*files, *([mask] if mask else [])]
    elif section.kind in CLOUDS:
        plain = [*plain, to_plain(config.cloud)]
    return fingerprint(digest_of(*files), " ", plain)


def _digest(observed: Observed) -> str:
    values = observed.inputs.numpy()
    bits = values.ndim == 4 and bool(((values == 0) | (values == 1)).all())  # not pixels, not shares of finer cells
    shown = np.packbits(values > 0) if bits else values
    return fingerprint(shown, observed.to_world)
