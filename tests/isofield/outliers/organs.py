"""Real masks for the tests: structures of the six donors shipped with the project, in the cube."""

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_processing.medical.masks import read_structure
from data_processing.preparation.config import DataConfig
from isofield.outliers.scoring.cube_masks import CubeMask, cube_mask
from isofield.runtime.config import build
from tests.conftest import ROOT

DONORS = tuple(sorted(path.name for path in (ROOT / "examples" / "brain").glob("*.nii.gz")))
NAMES = ("hippocampus", "caudate", "putamen", "thalamus proper")


@functools.cache
def brain_config(output: Path = Path("unused"), names: tuple[str, ...] = ("hippocampus",)) -> DataConfig:
    """How these masks come into the cube: both sides, the right ones mirrored, 80 mm along the cube."""
    structures = [
        {"name": name, "labels": [f"{side} {name}"], "side": side, "mirror": "right" if side == "right" else "never"}
        for name in names
        for side in ("left", "right")
    ]
    table = ROOT / "examples" / "brain" / "atlas-desikankilliany.csv"
    settings = {
        "name": "brain",
        "input": ROOT / "examples" / "brain",
        "output": output,
        "kind": "labels",
        "workers": 1,
        "labels": {"table": str(table), "structures": structures},
        "normalisation": {"by": "fixed", "length": 80},
        "contents": {"voxels": 0, "levels": False, "grids": [32, 128], "boundary": {"sigmas": [0.1], "points": 800}},
        "splits": {
            "rule": "ratios",
            "ratios": {"train": 0.66, "val": 0.17, "test": 0.17},
            "subject": r"donor_\d+",
        },
    }
    return build(DataConfig, settings, where="test")


@functools.cache
def brain_mask(donor: int = 0, side: str = "left", name: str = "hippocampus") -> CubeMask:
    """One structure of one donor."""
    config = brain_config(names=(name,))
    assert config.labels is not None
    return cube_mask(read_structure(config.input / DONORS[donor], f"{name}/{side}", config.labels), config)


def ellipsoid(radii: tuple[float, float, float], size: int = 48, shift: float = 0.0) -> NDArray[np.bool_]:
    """Cells whose centres lie in an ellipsoid in the middle of a cubic grid."""
    axes = [((np.arange(size) - (size - 1) / 2 - shift) / radius) ** 2 for radius in radii]
    return axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None] < 1
