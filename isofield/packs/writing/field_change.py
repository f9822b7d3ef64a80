"""How far the field of a model moves when its weights are rounded, on inputs that need no data set.

A box and an ellipsoid off the centre, and a rod with a plate: as cells, as points of their surface or as a picture,
whichever the network is shown. A model of new shapes is asked for some of them instead.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from data_processing.geometry.coordinates import voxel_centres
from data_processing.loading.network_inputs import CLOUDS, InputConfig
from isofield.contract import MakesShapes, Model
from isofield.extraction.lattice import evaluate_field, field_of

RESOLUTION = 32  # of the points that are asked for
SAMPLES = 3


@dataclass(frozen=True)
class FieldChange:
    """Over all points of all probes: the largest change, what the values span, and how many points change sides."""

    largest: float
    span: float
    points: int
    crossed: int

    @property
    def share(self) -> float:
        """The largest change as a share of the span."""
        return self.largest / self.span if self.span else float(self.largest > 0)

    def __str__(self) -> str:
        return (
            f"{self.largest:.2g} of a span of {self.span:.3g} ({self.share:.2%}); {self.crossed} of {self.points:,} "
            "points change sides"
        )


@torch.no_grad()
def field_change(model: Model, other: Model, section: InputConfig) -> FieldChange:
    """Of two models that differ in their weights alone, both evaluating on the CPU; `section`: what they are shown."""
    points_N3, largest, crossed = _grid(RESOLUTION), 0.0, 0
    low, high, count = float("inf"), -float("inf"), 0
    for code, other_code in zip(_codes(model, section), _codes(other, section), strict=True):
        before_N = evaluate_field(field_of(model, code), points_N3)
        after_N = evaluate_field(field_of(other, other_code), points_N3)
        largest = max(largest, float((after_N - before_N).abs().max()))
        crossed += int(((before_N > model.iso_level) != (after_N > model.iso_level)).sum())
        low, high, count = min(low, float(before_N.min())), max(high, float(before_N.max())), count + len(before_N)
    return FieldChange(largest, high - low, count, crossed)


def _codes(model: Model, section: InputConfig) -> Iterator[Any]:
    if isinstance(model, MakesShapes):
        # Both models are given the same seed: what differs between their shapes are the weights alone.
        yield from model.sample(SAMPLES, torch.Generator().manual_seed(0))[:, None]
        return
    for inputs in probe_inputs(section):
        yield model.encode(inputs[None])


def probe_inputs(section: InputConfig) -> Iterator[torch.Tensor]:
    """Inputs of a network, (1, R, R, R) float32, with offsets (4, R, R, R), or pictures (1, R, R); always the same."""
    resolution = section.resolution
    # Off the centre and of three different lengths: no symmetry of theirs can hide a change.
    x, y, z = _grid(resolution).view(resolution, resolution, resolution, 3).unbind(-1)
    box = ((x - 0.05).abs() < 0.35) & ((y + 0.02).abs() < 0.25) & ((z - 0.1).abs() < 0.15)
    ellipsoid = ((x + 0.1) / 0.2) ** 2 + (y / 0.4) ** 2 + ((z - 0.03) / 0.3) ** 2 < 1
    # Thin parts, which the two bodies above lack.
    rod = (x**2 + z**2 < 0.06**2) & (y.abs() < 0.4)
    plate = (y.abs() < 0.05) & (x.abs() < 0.4) & (z.abs() < 0.3)
    for cells_RRR in (box, ellipsoid, rod | plate):
        if section.kind == "view":
            yield 1 - 0.6 * cells_RRR.any(2).float()[None]  # a grey shadow on white
        elif section.kind in CLOUDS:
            marks = _surface_cells(cells_RRR, section.points)[None].float()
            # Offsets anywhere in the cells, which a thinned surface has as well.
            drawn = torch.rand(3, *cells_RRR.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
            yield torch.cat([marks, marks * drawn]) if section.offsets else marks
        else:
            yield cells_RRR[None].float()


def _surface_cells(cells_RRR: torch.Tensor, points: int) -> torch.Tensor:
    """The cells inside that have one outside beside them: all, or as many as the network is shown points."""
    # A cell is deep where the mean over the 27 cells around it is one; beyond the border all count as outside.
    padded = torch.nn.functional.pad(cells_RRR[None, None].float(), (1,) * 6)
    deep_RRR = torch.nn.functional.avg_pool3d(padded, 3, stride=1)[0, 0] > 1 - 1e-4
    places = (cells_RRR & ~deep_RRR).flatten().nonzero()[:, 0]
    # A draw of its own, for the first cells in memory would all lie on one side.
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(0))
    marked = torch.zeros(cells_RRR.numel(), dtype=torch.bool)
    marked[places[order[: points or len(places)]]] = True
    return marked.view_as(cells_RRR)


def _grid(resolution: int) -> torch.Tensor:
    """The centres of all cells of the cube, (R^3, 3) float32."""
    axis = voxel_centres(torch.arange(resolution), resolution)
    return torch.cartesian_prod(axis, axis, axis)
