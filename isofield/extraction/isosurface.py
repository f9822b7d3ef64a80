"""From a field to a closed mesh, coarse to fine: only what can hold the surface is evaluated, and every point once.

1. A frame: about `frame` samples along the longest axis, spread evenly.
2. Octree: cells of the frame that cross the level are halved, and again, until their side is about `stride` samples;
   on each level the crossing cells grow across faces that cross the level, until the surface closes.
3. Every coarse edge that crosses the level is bisected to a fine edge; the fine cell at its low end is a seed.
4. Tracking: fine cells grow across crossing faces until the surface closes. Every cell reached this way crosses the
   level, so this step costs the corners of crossing cells and nothing else.

Guarantee: a component of the surface is found, whole and with all that is attached to it, however thin, when an edge of
the frame crosses it an odd number of times and crosses no other component. So it is with parts, holes and cavities that
hold a sample of the frame and lie a cell of the frame apart. Where all components are found the mesh equals that of
dense evaluation, vertex for vertex. A detached part or a cavity that slips between the samples of the frame (thinner
than a cell: 1/32 of the cube by default) may be lost. A larger frame finds it; frame >= max(R) is dense evaluation.

The border counts as outside: shapes that touch it are closed there by a flat cap on the face of the cube. Nothing
crosses the level: a mesh of no vertices and no faces; the caller decides whether that is a failure.

Memory: 5 bytes a sample of the padded lattice (0.68 GB at 512^3) and arrays in proportion to the surface.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from data_processing.geometry.marching_cubes import case_table, cell_cases, marching_cubes, pad_outside, strides
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.extraction.lattice import (
    BATCH_POINTS,
    Field,
    Lattice,
    Resolution,
    Samples,
    axis_centres,
    coarse_lattice,
    evaluate_field,
    fine_lattice,
    halve,
)
from isofield.extraction.refinement import refine_vertices
from isofield.runtime.device_tensors import constant

BLOCK_CELLS = 1 << 18  # cells looked at in one go: bounds the memory of a dense frame
UNSEEN = 255  # of a cell: no face that it was reached across
MAX_MOVE = 0.5  # voxels a vertex may move in refinement


@dataclass(frozen=True)
class Extraction:
    """A mesh in cube coordinates and what it cost."""

    mesh: TriangleMesh
    evaluations: int  # points of the lattice at which the field was evaluated, each once
    frame: int
    resolution: Resolution
    refinement_evaluations: int = 0  # values and gradients, counted as one each, at vertices


def extract(
    field: Field,
    *,
    iso_level: float,
    resolution: int | Resolution,
    frame: int = 32,
    stride: int = 4,
    batch_points: int = BATCH_POINTS,
    refine_steps: int = 0,
    device: torch.device | str,
) -> Extraction:
    """The surface where `field` (inside is greater) crosses `iso_level`, as a closed, outwards oriented mesh.

    `field` maps (N, 3) float32 cube coordinates on `device` to (N,) values; N <= batch_points. It runs in inference
    mode. With `refine_steps` > 0 it is also differentiated by its points: what it holds (a code, say) must then have
    been made outside inference mode (no_grad is fine). Raises ValueError on a bad setting and on values that are not
    finite.
    """
    # The frame finds the components, the octree brings them near, bisection to single voxels, and tracking walks along
    # the surface: each step evaluates only what the one before leads to.
    shape = _checked(resolution, frame=frame, stride=stride, batch_points=batch_points)
    with torch.inference_mode():
        samples = Samples(field, shape, batch_points=batch_points, device=device)
        coarse, cells = _octree(samples, shape, iso_level=iso_level, frame=frame, stride=stride)
        lattice = fine_lattice(shape, device)
        seeds = _seeds(samples, coarse, cells, iso_level)
        cells = _track(samples, lattice, seeds, iso_level).sort().values
        samples.refuse_bad()
        index_V3, faces_F3 = marching_cubes(samples.values.view(samples.shape), iso_level=iso_level, cells=cells)
    mesh, cost = _finished(field, index_V3, faces_F3, shape, iso_level, refine_steps, batch_points)
    return Extraction(mesh, samples.evaluations, frame, shape, cost)


def extract_dense(
    field: Field,
    *,
    iso_level: float,
    resolution: int | Resolution,
    batch_points: int = BATCH_POINTS,
    refine_steps: int = 0,
    device: torch.device | str,
) -> Extraction:
    """The plain twin of `extract`: every sample is evaluated. Arguments, result and errors are the same."""
    shape = _checked(resolution, frame=1, stride=1, batch_points=batch_points)
    x, y, z = (axis_centres(shape, axis, device) for axis in range(3))
    values_XYZ = torch.empty(shape, device=device)
    with torch.inference_mode():
        for i in range(shape[0]):
            points = torch.cartesian_prod(x[i : i + 1], y, z)
            values_XYZ[i] = evaluate_field(field, points, batch_points=batch_points).view(shape[1:])
        index_V3, faces_F3 = marching_cubes(pad_outside(values_XYZ), iso_level=iso_level)
    mesh, cost = _finished(field, index_V3, faces_F3, shape, iso_level, refine_steps, batch_points)
    return Extraction(mesh, math.prod(shape), max(shape), shape, cost)


def _checked(resolution: int | Resolution, **settings: int) -> Resolution:
    shape = (resolution,) * 3 if isinstance(resolution, int) else tuple(resolution)
    if len(shape) != 3 or min(shape) < 2:
        raise ValueError(f"resolution {resolution}: one number or three, each at least 2, expected")
    for name, value in settings.items():
        if value < 1:
            raise ValueError(f"{name} {value}: at least 1 expected")
    return shape


def _octree(
    samples: Samples, resolution: Resolution, *, iso_level: float, frame: int, stride: int
) -> tuple[Lattice, torch.Tensor]:
    """The coarse lattice with cells of about `stride` samples, and its cells that cross the level."""
    device = samples.values.device
    lattice = coarse_lattice(resolution, frame, device)
    every = torch.cartesian_prod(*(torch.arange(length - 1, device=device) for length in lattice.shape))
    cells = _track(samples, lattice, _flat(every, lattice), iso_level)
    samples.refuse_bad()  # most fields that are not finite show it here, before much is asked of them
    # Bisection takes over where halving would cost more samples than it saves: at cells of `stride` samples.
    spacing = max(resolution) / min(frame, max(resolution))
    # Each level halves the cells that cross, until they hold about `stride` samples along an edge.
    for _ in range(round(math.log2(max(spacing / stride, 1)))):
        finer, places = halve(lattice, resolution)
        cells = _track(samples, finer, _children(cells, lattice, finer, places), iso_level)
        lattice = finer
    return lattice, cells


def _flat(index_C3: torch.Tensor, lattice: Lattice) -> torch.Tensor:
    x_stride, y_stride, _ = strides(lattice.shape)
    return index_C3[:, 0] * x_stride + index_C3[:, 1] * y_stride + index_C3[:, 2]


def _children(cells: torch.Tensor, lattice: Lattice, finer: Lattice, places: list[torch.Tensor]) -> torch.Tensor:
    """The cells of the halved lattice that fill `cells` of the old one (an interval of length 1 was not split)."""
    x_stride, y_stride, _ = strides(lattice.shape)
    index = (cells // x_stride, cells // y_stride % lattice.shape[1], cells % y_stride)
    low_C3 = torch.stack([place[i] for place, i in zip(places, index, strict=True)], 1)
    pieces_C3 = torch.stack([place[i + 1] for place, i in zip(places, index, strict=True)], 1) - low_C3
    octants_83 = torch.cartesian_prod(*[torch.arange(2, device=cells.device)] * 3)
    # Along an axis that was not split there is one piece: octants with a 1 there do not exist.
    exists_C8 = (octants_83 < pieces_C3[:, None]).all(2)
    return _flat((low_C3[:, None] + octants_83)[exists_C8], finer)


def _track(samples: Samples, lattice: Lattice, seeds: torch.Tensor, iso_level: float) -> torch.Tensor:
    """Cells of `lattice` that cross the level, grown from distinct `seeds` across crossing faces until nothing is new.

    A front is a list of cells, so a round costs its cells and not the volume. Within one direction of growth cells stay
    distinct, so that marking them as seen needs no sorting. The border is OUTSIDE: growth cannot leave the lattice. A
    round waits for the device twice: to learn how many samples it takes, and how many cells are next.
    """
    device = seeds.device
    seen = torch.full((math.prod(lattice.shape),), UNSEEN, dtype=torch.uint8, device=device)
    seen.index_fill_(0, seeds, 0)
    steps = [side * step for step in strides(lattice.shape) for side in (-1, 1)]  # in the order of crossed_faces_256_6
    # Where a cell of each case is left for: across a face that crosses, or not at all.
    step_6_256 = (case_table(device).crossed_faces_256_6 * constant(steps, device)).t().contiguous()
    face_61 = constant(range(len(steps)), device, torch.uint8)[:, None]
    cells, cases = [seeds[:0]], [seen[:0]]
    while len(seeds):
        front = []
        for block in seeds.split(BLOCK_CELLS):
            corners_8C = lattice.corners(block)
            samples.sample(samples.claim(corners_8C))
            cells.append(block)
            cases.append(cell_cases(samples.values, corners_8C, iso_level))
            # Neighbours not seen before: of one that is reached from several sides the first has it.
            neighbour_6C = block + step_6_256[:, cases[-1].long()]
            new_6C = seen[neighbour_6C] == UNSEEN
            seen.scatter_reduce_(0, neighbour_6C.flatten(), face_61.expand_as(neighbour_6C).flatten(), "amin")
            front.append(neighbour_6C[new_6C & (seen[neighbour_6C] == face_61)])
        seeds = front[0] if len(front) == 1 else torch.cat(front)
    # Seeds need not cross: only cells with both signs are the surface's.
    all_cases = torch.cat(cases)
    return torch.cat(cells)[(all_cases > 0) & (all_cases < 255)]


def _seeds(samples: Samples, lattice: Lattice, cells: torch.Tensor, iso_level: float) -> torch.Tensor:
    """Distinct fine cells, each at a fine edge that bisection of a crossing edge of the coarse `cells` ends at.

    A crossing edge is looked at from the cell at its low end only: that cell crosses too, and growth has found it.
    """
    steps_3 = constant(strides(samples.shape), cells.device)
    low_C = lattice.fine(cells)
    high_3C = lattice.fine(cells + constant(strides(lattice.shape), cells.device)[:, None])
    crosses_3C = (samples.values[low_C] > iso_level) != (samples.values[high_3C] > iso_level)
    axis, cell = crosses_3C.nonzero().unbind(1)
    low, step = low_C[cell], steps_3[axis]
    return _bisected(samples, low, step, (high_3C[axis, cell] - low) // step, iso_level).unique()


def _bisected(
    samples: Samples, low: torch.Tensor, step: torch.Tensor, length: torch.Tensor, iso_level: float
) -> torch.Tensor:
    """Low ends of fine edges that cross the level, one inside each of the distinct coarse edges."""
    longest = int(length.max()) if len(length) else 1
    inside = samples.values[low] > iso_level
    for _ in range((longest - 1).bit_length()):
        half = length // 2
        middle = low + half * step
        samples.sample(samples.claim(middle[None]))
        # The half with a change of sign is kept. Lengths differ, and an edge of length 1 asks for its own low end,
        # which is sampled.
        same = (samples.values[middle] > iso_level) == inside
        low = torch.where(same, middle, low)
        length = torch.where(same, length - half, half)
    return low


def _finished(
    field: Field,
    index_V3: torch.Tensor,
    faces_F3: torch.Tensor,
    resolution: Resolution,
    iso_level: float,
    refine_steps: int,
    batch_points: int,
) -> tuple[TriangleMesh, int]:
    """The mesh in cube coordinates, refined if asked for, and the evaluations that cost."""
    mesh = _mesh(index_V3, faces_F3, resolution)
    if not refine_steps or not len(mesh.faces):
        return mesh, 0
    # Vertices on the caps stay: the field does not cross its level there, the cube ends.
    refined = refine_vertices(
        torch.from_numpy(mesh.vertices).to(index_V3.device),
        torch.from_numpy(mesh.faces).to(index_V3.device),
        field,
        iso_level,
        refine_steps,
        MAX_MOVE / max(resolution),
        batch_points=batch_points,
        fixed=torch.from_numpy(_on_caps(mesh.vertices, resolution)).to(index_V3.device),
    )
    return TriangleMesh(refined.vertices_V3.cpu().numpy(), mesh.faces), refined.evaluations


def _mesh(index_V3: torch.Tensor, faces_F3: torch.Tensor, resolution: Resolution) -> TriangleMesh:
    """From indices of the padded lattice to cube coordinates."""
    vertices = index_V3.cpu().numpy() - 0.5 - np.array(resolution) / 2
    return TriangleMesh(vertices / max(resolution), faces_F3.cpu().numpy())


def _on_caps(vertices: np.ndarray, resolution: Resolution) -> np.ndarray:
    """Vertices on the faces of the volume, which close the shape there and lie on no level of the field: (V,) bool."""
    half = np.array(resolution) / max(resolution) / 2
    return (np.abs(vertices) > half - 0.25 / max(resolution)).any(1)
