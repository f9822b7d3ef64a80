"""Small data sets shared by tests: boxes of known sizes, as published HDF5 files, or prepared from meshes."""

from pathlib import Path

import h5py
import numpy as np
import torch
import trimesh

from data_processing.preparation.config import DataConfig
from data_processing.preparation.job import prepare_folder
from data_processing.preparation.level_points import max_pool, sample_levels
from isofield.runtime.config import build
from isofield.runtime.seeds import numpy_generator


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


def box_corners(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corner of a box with three different sides far from the origin, drawn by name."""
    random = numpy_generator("corners", name)
    lower = random.uniform(-50, 50, 3)
    return lower, lower + np.array([2.0, 3.0, 4.0]) * random.uniform(0.8, 1.2, 3)


def write_boxes(folder: Path, shapes: int) -> Path:
    """Meshes box0 and so on in folder/raw/boxes; returns folder/raw."""
    raw = folder / "raw" / "boxes"
    raw.mkdir(parents=True)
    for number in range(shapes):
        name = f"box{number}"
        trimesh.creation.box(bounds=box_corners(name)).export(raw / f"{name}.ply")
    return raw.parent


def write_viewed(folder: Path, *, shapes: int, views: int, size: int) -> Path:
    """A data set of boxes with voxels, levels, and views of so many pixels."""
    contents = {"voxels": 64, "levels": True, "rendering": {"views": views, "size": size}}
    raw = write_boxes(folder, shapes)
    settings = {"name": "seen", "input": raw, "output": folder / "set", "workers": 1, "contents": contents}
    assert prepare_folder(build(DataConfig, settings, where="test")) == 0
    return folder / "set"


CONTENTS = {
    "voxels": 0,
    "levels": False,
    "grids": [16, 32],
    "boundary": {"sigmas": [0.1, 0.01], "points": 2000},
    "surface": {"points": 1024, "views": 8},
}


def write_prepared(folder: Path, *, shapes: int = 5) -> Path:
    """A data set of ours with grids, points near the surface and surface points, of boxes as meshes in folder/raw."""
    raw = write_boxes(folder, shapes)
    settings = {"name": "boxes", "input": raw, "output": folder / "set", "workers": 1, "contents": CONTENTS}
    config = build(DataConfig, {**settings, "splits": {"rule": "published"}}, where="test")
    assert prepare_folder(config) == 0
    return config.folder
