"""Chamfer terms of many pairs of point clouds: for every point of one the nearest of the other, both ways.

Always by direct differences. The expanded form |x|^2 + |y|^2 - 2 x.y errs by as much as a good Chamfer distance; a
difference of two float32 coordinates errs by one rounding, so a squared distance is within 1e-6 of itself.
"""

import torch


def chamfer_of_pairs(x_PN3: torch.Tensor, y_PM3: torch.Tensor) -> torch.Tensor:
    """Sum of both directions' mean squared distance to the nearest point, for P pairs of clouds: (P,) float64.

    Plain operators on any device, with two buffers of P * N * M float32. On a CPU cloud_distance_kernels.py does the
    same without the buffers.
    """
    squared_PNM = squared_distances(x_PN3, y_PM3)
    return squared_PNM.amin(2).double().mean(1) + squared_PNM.amin(1).double().mean(1)


def squared_distances(x_PN3: torch.Tensor, y_PM3: torch.Tensor) -> torch.Tensor:
    """All squared distances of P pairs of clouds, by direct differences: (P, N, M)."""
    # Axis by axis: a difference of all three at once would be a buffer three times as large.
    squared_PNM = (x_PN3[:, :, None, 0] - y_PM3[:, None, :, 0]).square_()
    for axis in (1, 2):
        difference_PNM = x_PN3[:, :, None, axis] - y_PM3[:, None, :, axis]
        squared_PNM.addcmul_(difference_PNM, difference_PNM)
    return squared_PNM
