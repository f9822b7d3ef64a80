"""The kernels that meshes are prepared with, compiled: imported for that, by the process that starts workers.

Workers are forked from it and find the kernels there; without forks they read what was compiled from disk. Nothing is
computed here by torch, whose threads do not survive a fork.
"""

import contextlib

import numpy as np

from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.occupancy import scan_conversion, surface_voxels, winding_number
from isofield.runtime.jit import compile_once
from isofield.runtime.kernel_folder import PREPARATION

TRIANGLES_F33 = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 0, 0], [1, 0, 0], [0, 0, 1]]]) / 4
NO_CELLS = np.empty(0, np.bool_)
POINTS_N3 = np.random.default_rng(0).random((64, 3)) / 4


def call_kernels() -> None:
    """Each kernel once, with the types that preparation calls it with."""
    assert TriangleMesh(TRIANGLES_F33.reshape(-1, 3), np.arange(6).reshape(2, 3)).edge_pairs is not None
    winding_number.winding_grid(TRIANGLES_F33, 8)
    winding_number.winding_values(TRIANGLES_F33, POINTS_N3)
    if (kernels := surface_voxels.compiled_kernels()) is not None:
        kernels.mark_touched(TRIANGLES_F33.reshape(2, 9), TRIANGLES_F33[:, 0], 8, NO_CELLS, np.zeros(8**3, np.bool_))
    if (kernels := scan_conversion.crossing_kernels()) is not None:
        few = np.empty((4, 2), np.int64), np.empty(4), np.empty(4, np.int64), np.empty(4, np.int64)
        kernels.list_crossings(np.zeros((1, 9), np.int64), np.zeros((1, 4), np.int64), 1, 0, 1, *few)
    scan_conversion.scan_points(TRIANGLES_F33, POINTS_N3, device="cpu")


# What is wrong shows in the worker that needs the kernel, with the name of its shape.
with contextlib.suppress(Exception):
    compile_once(PREPARATION, call_kernels)
