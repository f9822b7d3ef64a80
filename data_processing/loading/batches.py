"""From an opened data set to batches on the device: resident there when it fits, streamed when not.

A step asks for some shapes and some of their points; bits are unpacked, points drawn and the network's input made on
the device, for all shapes at once. What is drawn depends on seed, shape and epoch alone, not on ranks or residency.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.batch import Batch
from data_processing.geometry.coordinates import from_fixed, voxel_centres
from data_processing.loading.made_ahead import made_ahead
from data_processing.loading.network_inputs import InputConfig, check_fields, fields_of, observe, pose_of
from data_processing.loading.poses import posed_points
from data_processing.store.bits import bits_at, unpack_bits
from data_processing.store.shape_set import ShapeSet
from data_processing.store.shards import FailedShape, Layout
from isofield.runtime.counter_random import derive_keys, integers, keys_of
from isofield.runtime.device_tensors import send
from isofield.runtime.memory import free_memory
from isofield.runtime.seeds import seed_of

POINT_GRID = 256  # level points are indices into a grid of this resolution
STREAM_AHEAD = 3  # batches read in the background while one is used

SHOWN_NAMES = 10  # of the shapes that are left out

# What a network answers to: points of a sampling level, or near the surface, or the code that a frozen model gives.
Level = int | Literal["boundary", "codes"]
Codes = NDArray[np.float32]  # (S, Z), a row for each shape of the data set; NaN where none was asked for
Packed = Mapping[str, torch.Tensor]  # fields of the rows of B shapes: (B, ...)


@dataclass(frozen=True)
class LoadingConfig:
    """The `data:` section of a training config."""

    path: Path  # of the data set, or of a published HDF5 file
    categories: tuple[str, ...] = ()  # none: all
    suspect: Literal["drop", "keep"] = "drop"  # shapes whose inside is doubtful, in training
    resident: Literal["auto", "yes", "no"] = "auto"  # on the device; auto: where it fits the budget
    memory_gb: float | None = None  # budget of `auto`; none: half of what is free on the device
    input: InputConfig = field(default_factory=InputConfig)  # what the network is shown
    shares: tuple[float, ...] = ()  # of the points of a step near the surface, one for each sigma; none: equal ones
    target: InputConfig | None = None  # of `level: codes`: what the frozen model is shown; filled in from its run

    def __post_init__(self) -> None:
        if self.shares and not (min(self.shares) >= 0 and 0 < sum(self.shares) < float("inf")):
            raise ValueError(f"data.shares must be numbers that are not negative, got {list(self.shares)}")
        if self.memory_gb is not None and not self.memory_gb > 0:
            raise ValueError(f"data.memory_gb must be positive, got {self.memory_gb}")


@dataclass(frozen=True)
class BatchPlan:
    """Which shapes, and which of their points, make one batch."""

    shapes: NDArray[np.int64]  # (B,) indices into the data set
    first_point: int  # of a level: points are taken from here on, around the end
    points: int
    epoch: int = 0  # of the whole run; keys what is drawn of a shape (boundary points, input). -1: validation
    is_padding: bool = False  # nothing of this batch counts
    step: int = -1  # keys what is drawn once for a step; -1: validation


class BatchSource(Protocol):
    """Turns draws into batches on the device, in order."""

    def batches(self, draws: Iterable[BatchPlan]) -> Iterator[Batch]: ...


def select_shapes(shapes: ShapeSet, split: str, categories: Sequence[str] = ()) -> NDArray[np.int64]:
    """Indices of a split, of some categories only when they are named. ValueError when a category does not exist."""
    indices = shapes.indices(split)
    if categories:
        unknown = sorted(set(categories) - set(shapes.categories))
        if unknown:
            there = ", ".join(sorted(set(shapes.categories)))
            raise ValueError(f"{shapes.path}: no category {', '.join(unknown)}; it has: {there}")
        indices = np.array([i for i in indices if shapes.categories[i] in categories], dtype=np.int64)
    return indices


def training_shapes(shapes: ShapeSet, section: LoadingConfig) -> tuple[NDArray[np.int64], str]:
    """The shapes to train on, and a line that names the suspect ones that are left out ("" where there are none).

    ValueError when nothing is left.
    """
    indices = select_shapes(shapes, "train", section.categories)
    if len(indices) == 0:
        raise ValueError(f"{shapes.path}: no shape to train on in the split 'train'")
    # A suspect shape is one whose inside is a guess; a network would learn the guess.
    suspect = np.array([shapes.qualities[index].startswith("suspect") for index in indices], dtype=bool)
    if section.suspect == "keep" or not suspect.any():
        return indices, ""
    names = [shapes.names[index] for index in indices[suspect]]
    shown = ", ".join(names[:SHOWN_NAMES]) + (", ..." if len(names) > SHOWN_NAMES else "")
    if suspect.all():
        raise ValueError(
            f"{shapes.path}: all {len(names)} shapes to train on are suspect ({shown}); "
            "see its report.csv, or train on them with data.suspect=keep"
        )
    return indices[
        ~suspect
    ], f"{shapes.path}: left out {len(names)} suspect shapes (data.suspect=keep has them): {shown}"


def all_members(shapes: ShapeSet, split: str, categories: Sequence[str] = ()) -> tuple[list[int], list[FailedShape]]:
    """Indices of a split, and the shapes of it that could not be prepared: every input ends in some table.

    ValueError when there is no such split or category.
    """
    failed = [shape for shape in shapes.failed if shape.split == split]
    nothing_left = split not in shapes.splits and failed  # not one shape of it could be prepared
    indices = [] if nothing_left else [int(index) for index in select_shapes(shapes, split, categories)]
    return indices, [shape for shape in failed if not categories or shape.category in categories]


def open_source(
    shapes: ShapeSet,
    indices: NDArray[np.int64],
    *,
    level: Level,
    device: torch.device,
    section: LoadingConfig,
    seed: int = 0,
    codes: Codes | None = None,
) -> tuple[BatchSource, str]:
    """Resident or streamed batches of the shapes `indices` with points of a level, and a line that says which.

    `seed` keys what is drawn. `codes` of `level: codes`. ValueError when the data set does not hold what batches are
    made of.
    """
    check_contents(shapes, level, section)
    recipe = recipe_of(shapes, level, section, seed=seed, codes=codes)
    # Resident where it fits: no byte moves between host and device during training.
    need = len(indices) * recipe.bytes_per_shape
    budget = section.memory_gb * 1e9 if section.memory_gb else free_memory(device) / 2
    if section.resident == "yes" or (section.resident == "auto" and need <= budget):
        source: BatchSource = ResidentShapes(shapes, indices, recipe, device=device)
        how = f"resident on {device}"
    else:
        source = StreamedShapes(shapes, recipe, device=device)
        how = "streamed"
    return source, f"level {level}: {len(indices)} shapes, {need / 1e6:.1f} MB {how} (budget {budget / 1e9:.1f} GB)"


def check_contents(shapes: ShapeSet, level: Level, section: LoadingConfig) -> None:
    """ValueError, saying what there is, when batches of a level and their input cannot be made of a data set."""
    if shows_input(level, section):
        check_fields(section.input, shapes.layout, shapes.path)
    if level == "codes":
        if section.target is None:
            raise ValueError("level: codes is for models with init_from, the run of a frozen autoencoder")
        check_fields(section.target, shapes.layout, shapes.path)
        if section.input.pose:
            raise ValueError("data.input.pose: codes are those of shapes as they are stored; leave pose out")
    elif level == "boundary":
        sigmas = shapes.layout.boundary_sigmas
        if not sigmas:
            raise ValueError(
                f"{shapes.path}: no boundary points; prepare it again with contents: {{boundary: {{sigmas: [...]}}}}, "
                f"or train on a level: it has {sorted(shapes.level_points)}"
            )
        if section.shares and len(section.shares) != len(sigmas):
            raise ValueError(f"data.shares: expected one for each sigma {list(sigmas)}, got {list(section.shares)}")
    elif level not in shapes.level_points:
        raise ValueError(f"{shapes.path}: no points of level {level}; it has {sorted(shapes.level_points)}")


def points_of(shapes: ShapeSet, level: Level) -> int:
    """How many points of a level a shape has; of those near the surface any number can be drawn, again and again."""
    return UNLIMITED if isinstance(level, str) else shapes.level_points[level]


def shows_input(level: Level, section: LoadingConfig) -> bool:
    """Whether the network is shown an input, or in its place the code that the frozen model made of the same."""
    return level != "codes" or section.input != section.target


UNLIMITED = 1 << 31


@dataclass(frozen=True)
class Recipe:
    """What batches are made of, and what keys their draws."""

    names: Sequence[str]  # of all shapes of the data set
    layout: Layout
    level: Level
    section: LoadingConfig
    seed: int
    codes: Codes | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of a packed row that a batch is made of."""
        inputs = fields_of(self.section.input) if shows_input(self.level, self.section) else ()
        if self.level == "codes":
            return inputs
        if self.level == "boundary":
            return (*inputs, "boundary_points", "boundary_values")
        return (*inputs, f"points_{self.level}", f"values_{self.level}")

    @property
    def bytes_per_shape(self) -> int:
        """What batches are made of, packed, of one shape."""
        fields = self.layout.fields()
        packed = sum(int(np.prod(fields[key][0])) * np.dtype(fields[key][1]).itemsize for key in self.fields)
        return packed + (self.codes[0].nbytes if self.codes is not None else 0)

    def rows(self, shapes: ShapeSet, indices: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """Packed rows of some shapes, their codes among them where batches are of codes: (S, ...) each."""
        packed = stack_rows(shapes, indices, self.fields)
        return packed if self.codes is None else {**packed, "codes": torch.from_numpy(self.codes[indices])}

    def keys(self, draw: BatchPlan, purpose: str, device: torch.device) -> torch.Tensor:
        """(B,) keys of the drawn shapes, for `draws`."""
        return keys_of((seed_of(self.seed, self.names[i], purpose, draw.epoch) for i in draw.shapes.tolist()), device)


def recipe_of(
    shapes: ShapeSet, level: Level, section: LoadingConfig | None = None, *, seed: int = 0, codes: Codes | None = None
) -> Recipe:
    """How batches of a data set are made."""
    return Recipe(shapes.names, shapes.layout, level, section or LoadingConfig(shapes.path), seed, codes)


def stack_rows(shapes: ShapeSet, indices: Iterable[int], keys: Sequence[str]) -> dict[str, torch.Tensor]:
    """Fields of packed rows of some shapes as (S, ...) tensors."""
    # Each row is read once, however often it is wanted; numbers in ascending order are neighbours in a file.
    wanted = [int(index) for index in indices]
    rows = {index: shapes.packed_row(index, keys) for index in sorted(set(wanted))}  # in the order of the files
    return {key: torch.from_numpy(np.stack([rows[index][key] for index in wanted])) for key in keys}


class ResidentShapes:
    """All packed rows as tensors on the device; a batch is a gather of each."""

    def __init__(self, shapes: ShapeSet, indices: NDArray[np.int64], recipe: Recipe, *, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.packed = {key: rows.to(device) for key, rows in recipe.rows(shapes, indices).items()}
        self.rows = np.argsort(indices)  # rows in the order of their shapes' indices
        self.indices = indices[self.rows]

    def batches(self, draws: Iterable[BatchPlan]) -> Iterator[Batch]:
        return made_ahead(self._batches(draws), device=self.device)

    def _batches(self, draws: Iterable[BatchPlan]) -> Iterator[Batch]:
        for draw in draws:
            # Shapes come by their index in the data set; rows lie in the order that they were stacked in.
            rows = send(torch.from_numpy(self.rows[np.searchsorted(self.indices, draw.shapes)]), self.device)
            yield assemble({key: values[rows] for key, values in self.packed.items()}, draw, self.recipe)


class StreamedShapes:
    """Rows read in the background, pinned, and sent to the device a few batches ahead."""

    def __init__(self, shapes: ShapeSet, recipe: Recipe, *, device: torch.device) -> None:
        self.shapes, self.recipe, self.device = shapes, recipe, device

    def batches(self, draws: Iterable[BatchPlan]) -> Iterator[Batch]:
        return made_ahead(self._batches(draws), device=self.device)

    def _batches(self, draws: Iterable[BatchPlan]) -> Iterator[Batch]:
        # A few batches ahead: reading, sending and computing overlap, and memory stays bounded.
        waiting: deque[tuple[BatchPlan, Future[Packed]]] = deque()
        with ThreadPoolExecutor(max_workers=1) as reader:  # one: HDF5 serialises its calls anyway
            try:
                for draw in draws:
                    waiting.append((draw, reader.submit(self._read, draw)))
                    if len(waiting) > STREAM_AHEAD:
                        yield self._to_device(*waiting.popleft())
                while waiting:
                    yield self._to_device(*waiting.popleft())
            finally:
                reader.shutdown(cancel_futures=True)

    def _read(self, draw: BatchPlan) -> Packed:
        rows = self.recipe.rows(self.shapes, draw.shapes)
        return {key: row.pin_memory() for key, row in rows.items()} if self.device.type == "cuda" else rows

    def _to_device(self, draw: BatchPlan, read: Future[Packed]) -> Batch:
        packed = {key: rows.to(self.device, non_blocking=True) for key, rows in read.result().items()}
        return assemble(packed, draw, self.recipe)


def assemble(packed: Packed, draw: BatchPlan, recipe: Recipe) -> Batch:
    """The input and the drawn points of B shapes, on whatever device the packed tensors are."""
    device = next(iter(packed.values())).device
    # What the network answers to, and (in training) both of them posed alike: the input is posed where it is observed.
    take = {"boundary": _boundary_points, "codes": _no_points}.get(str(recipe.level), _level_points)
    points_BN3, values_BN = take(packed, draw, recipe)
    section, input_keys_B, fixed = recipe.section.input, recipe.keys(draw, "input", device), draw.epoch < 0
    if section.pose and not fixed:
        points_BN3 = posed_points(points_BN3, pose_of(section, input_keys_B))
    if shows_input(recipe.level, recipe.section):
        inputs = observe(packed, section, input_keys_B, fixed=fixed)
    else:
        inputs = values_BN
    keys_B, key_1 = recipe.keys(draw, "model", device), keys_of([seed_of(recipe.seed, "step", draw.step)], device)
    return Batch(inputs, points_BN3, values_BN, tuple(draw.shapes.tolist()), draw.is_padding, keys_B, key_1)


def _level_points(packed: Packed, draw: BatchPlan, recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    """A block of the points of a level, around the end."""
    points, value_bits = packed[f"points_{recipe.level}"], packed[f"values_{recipe.level}"]
    # Points of a level are stored in random order, so that a block of neighbours is a fair sample; epochs begin
    # elsewhere.
    take = (draw.first_point + torch.arange(draw.points, device=points.device)) % points.shape[1]
    return voxel_centres(points[:, take], POINT_GRID), unpack_bits(value_bits)[:, take].float()


def _no_points(packed: Packed, draw: BatchPlan, recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes to answer with: there is nothing to ask at."""
    codes_BZ = packed["codes"]
    return codes_BZ.new_empty(len(codes_BZ), 0, 3), codes_BZ


def _boundary_points(packed: Packed, draw: BatchPlan, recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    """Points near the surface, drawn with replacement, each sigma's share of them (IF-Net, section 4)."""
    points, stored = packed["boundary_points"], recipe.layout.boundary_points
    keys_B = recipe.keys(draw, "points", points.device)
    counts = shared_out(draw.points, recipe.section.shares or (1.0,) * len(recipe.layout.boundary_sigmas))
    index_BN = torch.cat(
        [n * stored + integers(derive_keys(keys_B, f"sigma {n}"), count, stored) for n, count in enumerate(counts)], 1
    )
    points_BN3 = from_fixed(points.gather(1, index_BN[..., None].expand(-1, -1, 3)))
    return points_BN3, bits_at(packed["boundary_values"], index_BN).float()


def shared_out(total: int, shares: Sequence[float]) -> list[int]:
    """`total` in whole numbers by shares, each less than one away from its own."""
    ends = [round(total * part / sum(shares)) for part in itertools.accumulate(shares)]
    return [end - start for start, end in itertools.pairwise([0, *ends])]
