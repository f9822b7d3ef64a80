"""Scan conversion of many closed meshes at once: the numbers of `scan_conversion.scan_grid`, by the launches of one.

For devices, where a mesh by itself is launches and little work. Faces of all meshes stand side by side, each with the
number of its mesh; memory is bounded by the candidates of a chunk and the grids themselves.

M: meshes; F: faces of all of them.
"""

import math
from collections.abc import Sequence

import torch

from data_processing.occupancy.scan_conversion import FRACTION_BITS, LATTICE_BITS, Projection
from data_processing.occupancy.surface_voxels import CHUNK, expand_ranges
from isofield.runtime.device_tensors import send


def scan_grids(meshes: Sequence[torch.Tensor], resolution: int) -> list[torch.Tensor]:
    """Winding numbers (R, R, R) int16 at the voxel centres of each mesh: triangles (F, 3, 3) in cube coordinates.

    All on one device, which the results are on too. The same integers as of each mesh alone.
    """
    size, device = resolution, meshes[0].device
    faces_M = [len(mesh) for mesh in meshes]
    units_F33 = ((torch.cat(list(meshes)).double() + 0.5) * size - 0.5).contiguous()
    own_M = torch.arange(len(meshes), device=device)
    mesh_F = own_M.repeat_interleave(send(torch.tensor(faces_M), device), output_size=sum(faces_M))
    scale_F = _scales(units_F33, mesh_F, len(meshes), size)[mesh_F]
    flat = Projection((units_F33 * scale_F[:, None, None]).round().long())
    # Candidates are the lines within each face's box; those parallel to the axis cross nothing.
    first_F2 = -(-flat.low[:, :2]).div(scale_F[:, None], rounding_mode="floor")
    last_F2 = flat.high[:, :2].div(scale_F[:, None], rounding_mode="floor")
    first_F2, last_F2 = first_F2.clamp(min=0), last_F2.clamp(max=size - 1)
    rows_F, columns_F = (last_F2 - first_F2 + 1).clamp(min=0).unbind(1)
    change = torch.zeros(len(meshes) * size**3, dtype=torch.int16, device=device)
    candidates_F = torch.where(flat.turn == 0, 0, rows_F * columns_F)
    for row, offset in expand_ranges(candidates_F, chunk=CHUNK * len(meshes)):
        width, scale = columns_F[row], scale_F[row]
        step = offset.div(width, rounding_mode="floor")
        i, j = first_F2[row, 0] + step, first_F2[row, 1] + offset - step * width
        inside, height = flat.heights_of_all(row, i * scale, j * scale)
        # Passing upwards through a face that looks up leaves the solid: one less from here to the end of the line. What
        # misses its face, or lies above the grid, changes nothing: to leave it out would be a wait for the device.
        above = (height / scale).ceil().clamp(min=0, max=size).long()
        counts = inside & (above < size)
        index = ((mesh_F[row] * size + i) * size + j) * size + above.clamp(max=size - 1)
        change.index_add_(0, index, torch.where(counts, -flat.turn[row], 0).to(torch.int16))
    numbers = change.view(len(meshes), size, size, size).cumsum_(3, dtype=torch.int16)
    return list(numbers.unbind(0))


def _scales(units_F33: torch.Tensor, mesh_F: torch.Tensor, meshes: int, resolution: int) -> torch.Tensor:
    """Lattice units (M,) int64 in a voxel, of the finest lattice on which edge functions of a mesh fit into int64."""
    furthest_M = torch.full((meshes,), float(resolution), dtype=torch.float64, device=units_F33.device)
    furthest_M.scatter_reduce_(0, mesh_F, units_F33.abs().amax((1, 2)), "amax")
    # By the host's own logarithm, as for one mesh: a device might round another way right at a power of two.
    bits = (min(FRACTION_BITS, LATTICE_BITS - math.ceil(math.log2(reach + 1))) for reach in furthest_M.tolist())
    return send(torch.tensor([2**bit for bit in bits]), units_F33.device)
