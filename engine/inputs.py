"""What to generate: shapes of a split of a data set, or the user's own files prepared as the run's data were."""

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.config import override, to_plain
from data_processing.dataset import all_members
from data_processing.prepare import (
    SHAPE_ERRORS,
    DataConfig,
    config_of,
    content_settings,
    cube_voxels,
    digest_of,
    read_shape,
)
from data_processing.storage import ShapeSet
from engine.generation import Item
from engine.run_dir import RunDir

Loaded = tuple[NDArray[np.uint8], NDArray[np.float64]]


def items_of_split(shapes: ShapeSet, split: str, categories: Sequence[str] = ()) -> list[Item]:
    """Every shape of a split, those too whose preparation failed: their loading says why.

    ValueError when there is no such split or category.
    """

    def load(index: int) -> Loaded:
        return shapes.voxels(index), shapes.to_world(index)

    def origin(index: int) -> str:
        return hashlib.blake2b(b"".join(array.tobytes() for array in load(index)), digest_size=16).hexdigest()

    def refuse(reason: str) -> Loaded:
        raise ValueError(f"preparation failed: {reason}")

    indices, failed = all_members(shapes, split, categories)
    items = [Item(shapes.names[i], functools.partial(load, i), functools.partial(origin, i)) for i in indices]
    return items + [Item(shape.name, functools.partial(refuse, shape.reason), str) for shape in failed]


def items_of_files(
    files: Sequence[Path], run: RunDir, *, overrides: Sequence[str] = (), device: torch.device
) -> list[Item]:
    """The user's own files, named by their stems; ValueError when two would have one name."""
    config = preparation_of(run, overrides=overrides)
    by_name: dict[str, Path] = {}
    for file in files:
        other = by_name.setdefault(_stem(file), file)
        if other is not file:
            raise ValueError(f"{other} and {file} would both be written as {_stem(file)}: run twice, with --out")
    load = functools.partial(_load_file, config=config, device=device)
    return [
        Item(name, functools.partial(load, file), functools.partial(_origin_of_file, file, config))
        for name, file in by_name.items()
    ]


def preparation_of(run: RunDir, *, overrides: Sequence[str] = ()) -> DataConfig:
    """How the run's data were prepared, read back from the run, with `--set` overrides."""
    settings = json.loads(run.preparation_file.read_text(encoding="utf-8"))
    for text in overrides:
        override(settings, text)
    return config_of(settings)


def _load_file(file: Path, config: DataConfig, device: torch.device) -> Loaded:
    try:
        shape = read_shape(file, config, device=device)
    except SHAPE_ERRORS as error:
        raise ValueError(str(error) or type(error).__name__) from error
    return cube_voxels(shape), shape.to_world


def _origin_of_file(file: Path, config: DataConfig) -> str:
    """The file's content and how it was prepared."""
    settings = json.dumps(content_settings(to_plain(config)), sort_keys=True)
    return hashlib.blake2b(f"{digest_of(file)} {settings}".encode(), digest_size=16).hexdigest()


def _stem(file: Path) -> str:
    name = file.name.removesuffix(".gz")
    return name.rpartition(".")[0] or name
