"""From an opened data set to batches on the device: resident there when it fits, streamed when not.

A step asks for some shapes and some of their points; bits are unpacked on the device, for all shapes at once.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.batch import Batch
from data_processing.coordinates import voxel_centres
from data_processing.shards import FailedShape
from data_processing.storage import ShapeSet

POINT_GRID = 256  # level points are indices into a grid of this resolution
STREAM_AHEAD = 3  # batches read in the background while one is used


@dataclass(frozen=True)
class DataSection:
    """The `data:` section of a training config."""

    path: Path
    categories: tuple[str, ...] = ()  # none: all
    resident: Literal["auto", "yes", "no"] = "auto"
    memory_gb: float | None = None  # budget of `auto`; none: half of what is free on the device

    def __post_init__(self) -> None:
        if self.memory_gb is not None and not self.memory_gb > 0:
            raise ValueError(f"data.memory_gb must be positive, got {self.memory_gb}")


@dataclass(frozen=True)
class Draw:
    """Which shapes, and which of their level points, make one batch."""

    shapes: NDArray[np.int64]  # (B,) indices into the data set
    first_point: int
    points: int  # taken from `first_point` on, around the end


class BatchSource(Protocol):
    """Turns draws into batches on the device, in order."""

    def batches(self, draws: Iterable[Draw]) -> Iterator[Batch]: ...


def selected(shapes: ShapeSet, split: str, categories: Sequence[str] = ()) -> NDArray[np.int64]:
    """Indices of a split, of some categories only when they are named. ValueError when a category does not exist."""
    indices = shapes.indices(split)
    if categories:
        unknown = sorted(set(categories) - set(shapes.categories))
        if unknown:
            there = ", ".join(sorted(set(shapes.categories)))
            raise ValueError(f"{shapes.path}: no category {', '.join(unknown)}; it has: {there}")
        indices = np.array([i for i in indices if shapes.categories[i] in categories], dtype=np.int64)
    return indices


def all_members(shapes: ShapeSet, split: str, categories: Sequence[str] = ()) -> tuple[list[int], list[FailedShape]]:
    """Indices of a split, and the shapes of it that could not be prepared: every input ends in some table.

    ValueError when there is no such split or category.
    """
    failed = [shape for shape in shapes.failed if shape.split == split]
    nothing_left = split not in shapes.splits and failed  # not one shape of it could be prepared
    indices = [] if nothing_left else [int(index) for index in selected(shapes, split, categories)]
    return indices, [shape for shape in failed if not categories or shape.category in categories]


def open_source(
    shapes: ShapeSet, indices: NDArray[np.int64], *, level: int, device: torch.device, section: DataSection
) -> tuple[BatchSource, str]:
    """Resident or streamed batches of the shapes `indices` at a sampling level, and a line that says which."""
    if level not in shapes.level_points:
        raise ValueError(f"{shapes.path}: no points of level {level}; it has {sorted(shapes.level_points)}")
    need = len(indices) * bytes_per_shape(shapes, level)
    budget = section.memory_gb * 1e9 if section.memory_gb else free_memory(device) / 2
    if section.resident == "yes" or (section.resident == "auto" and need <= budget):
        source: BatchSource = ResidentShapes(shapes, indices, level=level, device=device)
        how = f"resident on {device}"
    else:
        source, how = StreamedShapes(shapes, level=level, device=device), "streamed"
    return source, f"level {level}: {len(indices)} shapes, {need / 1e6:.1f} MB {how} (budget {budget / 1e9:.1f} GB)"


def bytes_per_shape(shapes: ShapeSet, level: int) -> int:
    """Packed voxels, points and values of one shape."""
    points = shapes.level_points[level]
    return shapes.voxel_resolution**3 // 8 + points * 3 + points // 8


def free_memory(device: torch.device) -> int:
    """Bytes free on the device (of the machine, on a CPU)."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines()) if LINUX else {}
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else 4 << 30


LINUX = Path("/proc/meminfo").exists()


class ResidentShapes:
    """All packed rows of one level as three tensors on the device; a batch is three gathers."""

    def __init__(self, shapes: ShapeSet, indices: NDArray[np.int64], *, level: int, device: torch.device) -> None:
        rows = stack_rows([shapes.packed(int(index), keys_of(level)) for index in indices], level)
        self.voxels, self.points, self.values = (tensor.to(device) for tensor in rows)
        self.resolution = shapes.voxel_resolution
        self.rows = np.argsort(indices)  # rows in the order of their shapes' indices
        self.indices = indices[self.rows]

    def batches(self, draws: Iterable[Draw]) -> Iterator[Batch]:
        for draw in draws:
            rows = torch.from_numpy(self.rows[np.searchsorted(self.indices, draw.shapes)]).to(self.voxels.device)
            packed = self.voxels[rows], self.points[rows], self.values[rows]
            yield assemble(packed, draw, resolution=self.resolution)


class StreamedShapes:
    """Rows read in the background, pinned, and sent to the device a few batches ahead."""

    def __init__(self, shapes: ShapeSet, *, level: int, device: torch.device) -> None:
        self.shapes, self.level, self.device = shapes, level, device

    def batches(self, draws: Iterable[Draw]) -> Iterator[Batch]:
        waiting: deque[tuple[Draw, Future[list[torch.Tensor]]]] = deque()
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

    def _read(self, draw: Draw) -> list[torch.Tensor]:
        rows = stack_rows([self.shapes.packed(int(index), keys_of(self.level)) for index in draw.shapes], self.level)
        return [row.pin_memory() for row in rows] if self.device.type == "cuda" else rows

    def _to_device(self, draw: Draw, read: Future[list[torch.Tensor]]) -> Batch:
        voxels, points, values = (tensor.to(self.device, non_blocking=True) for tensor in read.result())
        return assemble((voxels, points, values), draw, resolution=self.shapes.voxel_resolution)


def keys_of(level: int) -> tuple[str, str, str]:
    """The fields of a packed row that a batch of a level is made of."""
    return "voxels", f"points_{level}", f"values_{level}"


def stack_rows(rows: Sequence[dict[str, NDArray[np.uint8]]], level: int) -> list[torch.Tensor]:
    """Packed rows of shapes as (S, ...) uint8 tensors: voxel bits, points, value bits."""
    return [torch.from_numpy(np.stack([row[key] for row in rows])) for key in keys_of(level)]


def assemble(packed: tuple[torch.Tensor, ...], draw: Draw, *, resolution: int) -> Batch:
    """Unpack the voxels and take the drawn points of B shapes, on whatever device the packed tensors are."""
    voxel_bits, points, value_bits = packed
    count = points.shape[1]
    take = (draw.first_point + torch.arange(draw.points, device=points.device)) % count
    inputs = unpack_bits(voxel_bits).view(len(points), 1, resolution, resolution, resolution)
    return Batch(
        inputs=inputs.float(),
        points_BN3=voxel_centres(points[:, take], POINT_GRID),
        values_BN=unpack_bits(value_bits)[:, take].float(),
        shapes=tuple(draw.shapes.tolist()),
    )


def unpack_bits(packed: torch.Tensor) -> torch.Tensor:
    """np.unpackbits along the last axis (most significant bit first), on the device: (..., n) to (..., 8n) uint8."""
    shifts = torch.arange(7, -1, -1, device=packed.device, dtype=torch.uint8)
    return ((packed[..., None] >> shifts) & 1).flatten(-2)
