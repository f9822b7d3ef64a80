"""A label file of 512 x 512 x 1000 voxels: seconds and memory of reading one organ, taking it to the cube and back.

Run: python -m tests.benchmarks.bench_scan_masks [uint8|int16|int32|float32]. Each step in a process of its own; memory
is what the process gained over its imports at the peak, as a share of the stored (uncompressed) volume.
"""

import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch

from data_processing.medical.masks import inside_mask, mask_on_scan, mask_to_cube, read_structure, write_scan_mask
from data_processing.medical.structures import LabelConfig, StructureConfig
from isofield.runtime.commandline import say
from tests.benchmarks.measuring import Timing, peak_memory

SHAPE = (512, 512, 1000)
SPACING = (0.8, 0.8, 0.7)
SETTINGS = LabelConfig((StructureConfig("kidney", (3,), components=2, mirror="right"),))


def write_body(path: Path, dtype: str) -> None:
    """Fifty ellipsoids as labels, two of them label 3, in a volume that is mostly background."""
    values = np.zeros(SHAPE, dtype=dtype, order="F")
    generator = np.random.default_rng(0)
    for label in range(1, 51):
        _add(values, [*generator.uniform(120, 380, 2).tolist(), generator.uniform(100, 900)], 40, label)
    for x in (150, 350):
        _add(values, [x, 250, 500], 70, 3)
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    image = nibabel.Nifti1Image(values, affine)
    nibabel.save(image, path)


def _add(values: np.ndarray, centre: list[float], radius: int, label: int) -> None:
    lower = [int(c) - radius for c in centre]
    grid = np.ogrid[tuple(slice(low, low + 2 * radius) for low in lower)]
    ball = sum((axis - c) ** 2 for axis, c in zip(grid, centre, strict=True)) < radius**2
    values[tuple(slice(low, low + 2 * radius) for low in lower)][ball] = label


def the_naive_way(path: Path) -> None:
    image: Any = nibabel.load(path)
    image = nibabel.as_closest_canonical(image)
    _ = image.get_fdata() == 3


def read(path: Path) -> None:
    for part in ("kidney/left", "kidney/right"):
        read_structure(path, part, SETTINGS)


def there_and_back(path: Path) -> None:
    mask = read_structure(path, "kidney/left", SETTINGS)
    grid_RRR, to_world = mask_to_cube(mask, 256, by="longest_edge", length=0.9)
    assert float(grid_RRR.max()) == 1

    def field(points: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(inside_mask(mask, to_world, points.numpy())).float()

    back = mask_on_scan(field, iso_level=0.5, to_world=to_world, scan=mask.scan, device="cpu")
    write_scan_mask(path.with_name("back.nii.gz"), back, mask.scan)


def measured(step: Callable[[Path], None], path: Path) -> tuple[Timing, int]:
    """In a process of its own."""
    return peak_memory(lambda: step(path))


def main() -> None:
    dtypes = sys.argv[1:] or ["uint8", "int16", "float32"]
    context = multiprocessing.get_context("spawn")
    for dtype in dtypes:
        stored = int(np.prod(SHAPE)) * np.dtype(dtype).itemsize
        with tempfile.TemporaryDirectory() as folder:
            for suffix in (".nii.gz", ".nii"):
                path = Path(folder) / f"body{suffix}"
                write_body(path, dtype)
                say(f"{dtype}{suffix}: {stored / 1e6:.0f} MB stored, file of {path.stat().st_size / 1e6:.1f} MB")
                for step in (read, there_and_back, the_naive_way):
                    with context.Pool(1) as pool:
                        (wall, cpu, _), peak = pool.apply(measured, (step, path))
                    name = step.__name__.replace("_", " ")
                    say(f"  {name:16} {wall:7.2f} s wall {cpu:7.2f} s CPU   peak {peak / stored:5.2f} x stored")
                path.unlink()


if __name__ == "__main__":
    main()
