"""Scan conversion of many meshes at once: each has the numbers that it has alone, whatever the others are."""

import numpy as np
import torch

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry.coordinates import normalising_to_world
from data_processing.occupancy import scan_batches
from data_processing.occupancy.mesh_parts import MeshParts
from data_processing.occupancy.scan_batches import scan_grids
from data_processing.occupancy.scan_conversion import scan_grid
from tests.data_processing.solids import ball, box, joined, turned, turned_inside_out


def in_cube(mesh):
    to_world = normalising_to_world(*mesh.bounds(), by="longest_edge", length=0.9)
    return MeshParts(mesh.transform(np.linalg.inv(to_world))).closed


def same_as_alone(triangles, resolution):
    meshes = [torch.from_numpy(corners) for corners in triangles]
    together = scan_grids(meshes, resolution)
    assert len(together) == len(meshes)
    for mesh, grid in zip(meshes, together, strict=True):
        alone = scan_grid(mesh, resolution)
        assert grid.dtype == alone.dtype and torch.equal(grid, alone)
    return together


def test_real_meshes_of_all_sizes_have_the_numbers_that_they_have_alone(examples):
    files = sorted(examples.glob("*/*.ply"))[::23]
    parts = [in_cube(read_mesh(file)) for file in files]
    grids = same_as_alone(parts, 64)
    sizes = {len(part) for part in parts}
    assert len(sizes) > 3 and any((grid != 0).any() for grid in grids)


def test_an_empty_one_one_beyond_the_cube_and_one_on_the_centres():
    solids = [
        box((-0.3, -0.2, -0.1), (0.25, 0.15, 0.3)),  # faces right on centres of the grid of 20^3
        turned(
            box((-4000.0, -5000.0, -3000.0), (0.25, 0.7, 0.3))
        ),  # sticks out: its lattice is coarser than the others'
        turned_inside_out(ball(0.4, subdivisions=2)),
        joined(turned(ball(0.3, subdivisions=2)), ball(0.2, (0.1, 0.0, 0.0), subdivisions=2)),
    ]
    triangles = [solid.triangles() for solid in solids]
    triangles.insert(1, np.empty((0, 3, 3)))
    grids = same_as_alone(triangles, 20)
    assert not grids[1].any() and int(grids[3].min()) == -1 and int(grids[4].max()) == 2
    same_as_alone([np.empty((0, 3, 3))] * 2, 8)


def test_candidates_in_many_chunks(monkeypatch):
    monkeypatch.setattr(scan_batches, "CHUNK", 50)
    same_as_alone([ball(0.4, subdivisions=2).triangles(), turned(box((-0.3,) * 3, (0.2,) * 3)).triangles()], 24)
