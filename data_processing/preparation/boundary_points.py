"""Labelled points near the surface: surface points plus Gaussian noise (Chibane et al., IF-Net, CVPR 2020).

They are rounded to the fixed point they are stored in before the inside test is asked, so labels are exact for what is
stored: rounding moves a point by 1.5e-5 along an axis at most, a 650th of the finer noise, and no label.

Why they are stored and not drawn anew each epoch (tests/benchmarks/bench_boundary.py; 4 real chairs, 50,000 points
each, one thread of a CPU): two times 100,000 stored points take 1.2 MB a shape and 7 ms a batch. Fresh noise around
stored surface points, with a look-up in resident 256^3 bits, takes 2.3 MB and 55 ms, and 4.2 % of its labels at sigma
0.01 (0.4 % at 0.1) are not those of the inside test.
"""

import numpy as np
import torch

from data_processing.geometry.coordinates import from_fixed, to_fixed
from data_processing.geometry.triangle_mesh import sample_surface
from data_processing.preparation.contents import BoundaryConfig
from data_processing.preparation.cube_shape import CubeShape
from data_processing.store.bits import pack_bits
from data_processing.store.shards import PackedRow
from isofield.runtime.seeds import numpy_generator


def boundary_row(shape: CubeShape, settings: BoundaryConfig, *, seed: int, name: str) -> PackedRow:
    """boundary_points (K*N, 3) int16 and boundary_values (K*N/8,) uint8: N independent draws for each of K sigmas.

    Each sigma has draws of its own, whatever the others are; any prefix of its N is a fair sample. A point beyond
    [-1, 1] is moved to the border (sigma 0.1 leaves 0.5 from the cube: five sigmas).
    """
    mesh = shape.surface()
    fixed = []
    for sigma in settings.sigmas:
        generator = numpy_generator(seed, name, f"boundary-{sigma!r}")
        points_N3, _ = sample_surface(mesh, settings.points, generator)
        fixed.append(to_fixed(points_N3 + generator.normal(scale=sigma, size=points_N3.shape)))
    fixed_N3 = np.concatenate(fixed)
    stored_N3 = from_fixed(torch.from_numpy(fixed_N3), torch.float64).numpy()
    return {"boundary_points": fixed_N3, "boundary_values": pack_bits(shape.inside(stored_N3).astype(np.uint8))}
