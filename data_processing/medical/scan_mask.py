"""The mask of one shape as it was cut from a scan, and its box in the world."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.nifti import ScanGrid


@dataclass(frozen=True, eq=False)
class ScanMask:
    """One shape of a scan: its voxels in canonical RAS order, cropped to their box.

    `index_to_world` takes the index of a voxel's centre in the crop to RAS mm. `mirrored`: the cube shows it left to
    right. `touched`: faces of the field of view that it reaches, beyond which it may go on. `left_out`: voxels of the
    structure in pieces too small or too many to be parts.
    """

    occupancy: NDArray[np.uint8]  # (X, Y, Z) 0/1
    index_to_world: NDArray[np.float64]  # 4x4
    mirrored: bool
    touched: tuple[str, ...]
    scan: ScanGrid
    left_out: int = 0

    @property
    def quality(self) -> str:
        """ok, "partial: touches ...", or "suspect: ..." where left and right cannot be told."""
        if self.touched:
            return "; ".join([f"partial: touches {', '.join(self.touched)}", *filter(None, [self.scan.doubts])])
        return f"suspect: {self.scan.doubts}" if self.scan.doubts else "ok"

    def world_box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Corners (3,), (3,) of the box around the occupied voxels along the world's axes, in mm; exact if oblique."""
        flat = self.occupancy.any(axis=2)
        i, j = np.nonzero(flat)
        first = self.occupancy[i, j].argmax(axis=1)
        last = self.occupancy.shape[2] - 1 - self.occupancy[i, j, ::-1].argmax(axis=1)
        # Along a column of voxels the world coordinates are linear: extremes are at its ends.
        ends = np.concatenate([np.stack([i, j, k], axis=1) for k in (first, last)])
        matrix = self.index_to_world
        places = ends @ matrix[:3, :3].T + matrix[:3, 3]
        reach = np.abs(matrix[:3, :3]).sum(axis=1) / 2  # of one voxel
        return places.min(axis=0) - reach, places.max(axis=0) + reach

    def on_scan(self) -> NDArray[np.uint8]:
        """The mask on the whole grid of its scan, as stored: 0/1, of `scan.shape`."""
        to_scan = np.linalg.inv(self.scan.affine) @ self.index_to_world
        axes = np.rint(to_scan[:3, :3]).astype(int)  # a permutation with signs
        stored = np.abs(axes).argmax(axis=1)  # the axis of the crop along each axis of the scan
        turned = self.occupancy.transpose(stored)
        signs = axes[range(3), stored]
        turned = turned[tuple(slice(None, None, sign) for sign in signs)]
        ends = (
            np.rint(to_scan[:3, 3]).astype(int),
            np.rint(to_scan[:3, 3]).astype(int) + axes @ (np.array(self.occupancy.shape) - 1),
        )
        start = np.minimum(*ends)
        volume = np.zeros(self.scan.shape, dtype=np.uint8)
        volume[tuple(slice(low, low + size) for low, size in zip(start, turned.shape, strict=True))] = turned
        return volume
