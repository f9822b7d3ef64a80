"""The samples of a field on a padded lattice, each evaluated at most once, and the coarse lattices laid over it.

The fine lattice holds one sample per voxel centre and a layer of OUTSIDE around them. For a resolution (Rx, Ry, Rz)
voxels are cubes of side 1 / M, M = max(R), and the volume is centred: along axis a sample i lies at
(i + 0.5) / M - R_a / (2 M), which for a cubic grid is the convention (i + 0.5) / R - 0.5. What to sample is decided in
`isofield/extraction/isosurface.py`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from data_processing.geometry.coordinates import voxel_centres
from data_processing.geometry.marching_cubes import OUTSIDE, cells_corners, strides
from isofield.contract import Model
from isofield.runtime.device_tensors import constant

Field = Callable[[torch.Tensor], torch.Tensor]  # (N, 3) float32 cube coordinates -> (N,) values
Resolution = tuple[int, int, int]
BATCH_POINTS = 1 << 16  # decoded in one go, where nobody says otherwise: bounds memory


def axis_centres(resolution: Resolution, axis: int, device: torch.device | str) -> torch.Tensor:
    """Cube coordinates of the samples along one axis: (R_a,) float32."""
    index = torch.arange(resolution[axis], device=device)
    longest = max(resolution)
    return voxel_centres(index, longest) + (0.5 - resolution[axis] / longest / 2)


@torch.no_grad()
def evaluate_field(field: Field, points_N3: torch.Tensor, *, batch_points: int = BATCH_POINTS) -> torch.Tensor:
    """(N,) float32 values of a field on the device of the points, at most `batch_points` in a call; no gradients.

    Raises ValueError when a value is not finite or the field returns another shape than (N,).
    """
    values_N = _values_of(field, points_N3, batch_points=batch_points)
    refuse_non_finite(int((~torch.isfinite(values_N)).sum()), len(values_N))
    return values_N


def _values_of(field: Field, points_N3: torch.Tensor, *, batch_points: int) -> torch.Tensor:
    """The values, whatever they are: to look at them is to wait for the device."""
    parts = [points_N3.new_empty(0, dtype=torch.float32)]
    for batch in points_N3.split(batch_points) if len(points_N3) else ():
        result = field(batch)
        if result.shape != batch.shape[:1]:
            raise ValueError(
                f"field returned shape {tuple(result.shape)} for {len(batch)} points: ({len(batch)},) expected"
            )
        parts.append(result.float())
    # An empty part stands first for no points at all; a single batch is not copied.
    return parts[-1] if len(parts) < 3 else torch.cat(parts)


def refuse_non_finite(bad: int, points: int) -> None:
    """ValueError when a field is not finite at `bad` > 0 of so many points."""
    if bad:
        raise ValueError(f"field is NaN or infinite at {bad} of {points} points: no surface can be drawn from it")


class Samples:
    """Values on the padded fine lattice, flat, C order: NaN is not yet sampled, the border is OUTSIDE.

    Memory: 4 bytes a sample of the padded lattice (0.54 GB at 512^3).
    """

    def __init__(self, field: Field, resolution: Resolution, *, batch_points: int, device: torch.device | str) -> None:
        self.shape = tuple(length + 2 for length in resolution)
        values_XYZ = torch.full(self.shape, torch.nan, device=device)
        for axis in range(3):
            values_XYZ.select(axis, 0).fill_(OUTSIDE)
            values_XYZ.select(axis, -1).fill_(OUTSIDE)
        self.values = values_XYZ.view(-1)
        self.evaluations = 0
        self._unlooked = [self.values[:0]]  # values of the field
        self._field, self._batch_points = field, batch_points
        self._centres = [torch.nn.functional.pad(axis_centres(resolution, a, device), (1, 1)) for a in range(3)]

    def claim(self, ids_KC: torch.Tensor) -> torch.Tensor:
        """Those of the flat ids that are not sampled yet, each once: (N,) in their order. They must be sampled next.

        No id is twice in a row of (K, C); in which rows it is again, each row writes its number where the sample will
        lie, and the first has it. NaN, read as a whole number, is above all of them.
        """
        # No array of its own for who comes first: the samples' own memory, which is NaN until then, serves for it.
        marks = self.values.view(torch.int32)
        row_K1 = constant(range(len(ids_KC)), ids_KC.device, torch.int32)[:, None]
        free_KC = self.values[ids_KC].isnan()
        place_KC = ids_KC * free_KC  # of those that are not free: 0, a corner of the border
        marks.scatter_reduce_(0, place_KC.flatten(), row_K1.expand_as(ids_KC).flatten(), "amin")
        first_KC = free_KC & (marks[place_KC] == row_K1)
        # The corner of the border that was written for those that are not free becomes OUTSIDE again.
        self.values.select(0, 0).fill_(OUTSIDE)
        return ids_KC[first_KC]

    def sample(self, ids: torch.Tensor) -> None:
        """Evaluate the field at claimed `ids`. Whether it is finite there is asked later, of all (`refuse_bad`)."""
        x_stride, y_stride, _ = strides(self.shape)
        index = (ids // x_stride, ids // y_stride % self.shape[1], ids % y_stride)
        points_N3 = torch.stack([centres[i] for centres, i in zip(self._centres, index, strict=True)], 1)
        values_N = _values_of(self._field, points_N3, batch_points=self._batch_points)
        self.values[ids] = values_N.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)  # NaN: not sampled
        self._unlooked.append(values_N)
        self.evaluations += len(ids)

    def refuse_bad(self) -> None:
        """ValueError when the field was not finite somewhere since this was asked last. The device is waited for."""
        values_N = torch.cat(self._unlooked)
        refuse_non_finite(int((~values_N.isfinite()).sum()), len(values_N))
        self._unlooked = [values_N[:0]]


class Lattice(NamedTuple):
    """A subset of the padded fine lattice: the product of increasing positions along the axes, 0 and R+1 included."""

    positions: tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # int64 padded fine indices along each axis
    fine_ids: torch.Tensor | None  # int32 flat fine index of each flat lattice index; None where they are the same

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis) for axis in self.positions)

    def fine(self, ids: torch.Tensor) -> torch.Tensor:
        return ids if self.fine_ids is None else self.fine_ids[ids].long()

    def corners(self, cells: torch.Tensor) -> torch.Tensor:
        """Fine flat indices (8, C) of the corners of cells, which are named by the flat index of their low corner."""
        return self.fine(cells_corners(cells, self.shape))


def fine_lattice(resolution: Resolution, device: torch.device | str) -> Lattice:
    x, y, z = (torch.arange(length + 2, device=device) for length in resolution)
    return Lattice((x, y, z), None)


def lattice_of(positions: list[torch.Tensor], resolution: Resolution) -> Lattice:
    x, y, z = positions
    sx, sy, sz = strides(tuple(length + 2 for length in resolution))
    ids = (x * sx)[:, None, None] + (y * sy)[None, :, None] + (z * sz)[None, None, :]
    return Lattice((x, y, z), ids.reshape(-1).to(torch.int32))


def coarse_lattice(resolution: Resolution, frame: int, device: torch.device | str) -> Lattice:
    """`frame` samples along the longest axis and as dense (or denser) along the others, spread evenly, plus the border.

    No sample of the volume is farther than half a spacing max(R) / frame (rounded up) from the frame.
    """
    positions = []
    for length in resolution:
        # As many as the share of the longest side, rounded up; the positions are the middles of equal parts, so that
        # both ends are as far from their first sample.
        count = min(length, -(-length * frame // max(resolution)))
        inner = ((2 * torch.arange(count, device=device) + 1) * length).div(2 * count, rounding_mode="floor") + 1
        positions.append(torch.nn.functional.pad(inner, (1, 1)))
        positions[-1][-1] = length + 1
    return lattice_of(positions, resolution)


def halve(lattice: Lattice, resolution: Resolution) -> tuple[Lattice, list[torch.Tensor]]:
    """The lattice with every interval longer than 1 split in the middle, and the new places of old positions."""
    positions, places = [], []
    for old in lattice.positions:
        # An interval of one fine step has its middle at its low end, and is not split.
        middle = (old[:-1] + old[1:]).div(2, rounding_mode="floor")
        both = torch.cat([old, middle[middle > old[:-1]]]).sort().values
        positions.append(both)
        places.append(torch.searchsorted(both, old))
    return lattice_of(positions, resolution), places


def field_of(model: Model, code: Any) -> Field:
    """The field of one code: (N, 3) cube coordinates to (N,)."""
    return lambda points_N3: model.decode(points_N3[None], code)[0]
