"""Numbers of the published program: tests/data/golden/lfd."""

import tarfile
from pathlib import Path

import numpy as np

from isofield.metrics.light_field import Descriptor
from tests.golden import FOLDER


class Golden:
    """Stages of all golden meshes, and the matrix of distances."""

    def __init__(self):
        folder = FOLDER / "lfd"
        self.stages = np.load(folder / "golden_stages.npz", allow_pickle=False)
        table = np.load(folder / "golden_lfd.npz", allow_pickle=False)
        self.names = [str(name) for name in table["names"]]
        self.matrix, self.cameras, self.rotations = table["matrix"], table["cameras"], table["rotation_perm"]

    def mesh_files(self, folder: Path) -> dict[str, Path]:
        """The meshes it was given, unpacked into `folder`, in the order of `names`."""
        with tarfile.open(FOLDER / "lfd" / "meshes.tar.xz") as archive:
            archive.extractall(folder, filter="data")
        return {name: folder / f"{name}.obj" for name in self.names}

    def silhouettes(self, name):
        bits = self.stages[f"{name}/silhouette_bits"]
        return np.unpackbits(bits.reshape(100, 256, 32), axis=-1)

    def descriptor(self, name):
        art, fourier = self.stages[f"{name}/art_q8"], self.stages[f"{name}/fd_q8"]
        rest = [self.stages[f"{name}/{part}_q8"][..., None] for part in ("cir", "ecc")]
        return Descriptor(np.concatenate([art, fourier, *rest], axis=-1))
