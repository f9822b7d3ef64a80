"""Small data sets shared by tests: boxes of known sizes, in the layout of the published HDF5 files."""

from pathlib import Path

import h5py
import numpy as np
import torch

from data_processing.sampling import max_pool, sample_levels
from data_processing.seeds import numpy_generator


def box_grid(name: str) -> torch.Tensor:
    """A 256^3 grid holding one off-centre box with three different sides, drawn by name."""
    random = numpy_generator("box", name)
    sides, grid = random.integers(40, 150, 3), torch.zeros(256, 256, 256, dtype=torch.uint8)
    low = [int(random.integers(8, 248 - side)) for side in sides]
    grid[tuple(slice(a, a + int(side)) for a, side in zip(low, sides, strict=True))] = 1
    return grid


def write_published(folder: Path, *, train: int, test: int) -> Path:
    """NAME_train.hdf5, NAME_test.hdf5 and their name lists; returns the path of the first."""
    for split, count in (("train", train), ("test", test)):
        names = [f"boxes/{split}{number:02d}" for number in range(count)]
        rows: dict[str, list[np.ndarray]] = {}
        for name in names:
            grid = box_grid(name)
            rows.setdefault("voxels", []).append(max_pool(grid, 64).numpy()[..., None])
            for level, sample in sample_levels(grid, seed=0, name=name).items():
                rows.setdefault(f"points_{level}", []).append(sample.points_P3.numpy())
                rows.setdefault(f"values_{level}", []).append(sample.values_P.numpy()[:, None])
        with h5py.File(folder / f"boxes_{split}.hdf5", "w") as file:
            for key, values in rows.items():
                file.create_dataset(key, data=np.stack(values), compression="gzip")
        (folder / f"boxes_{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return folder / "boxes_train.hdf5"
