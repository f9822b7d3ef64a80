"""Numbers of the published program, from ../shared; tests that ask for them skip where that folder is absent."""

import numpy as np

from isofield.metrics.light_field import Descriptor


class Golden:
    """Stages of all golden meshes, and the matrix of distances."""

    def __init__(self, folder):
        self.folder = folder
        self.stages = np.load(folder / "golden_stages.npz", allow_pickle=False)
        table = np.load(folder / "golden_lfd.npz", allow_pickle=False)
        self.names = [str(name) for name in table["names"]]
        self.matrix, self.cameras, self.rotations = table["matrix"], table["cameras"], table["rotation_perm"]

    def silhouettes(self, name):
        bits = self.stages[f"{name}/silhouette_bits"]
        return np.unpackbits(bits.reshape(100, 256, 32), axis=-1)

    def descriptor(self, name):
        art, fourier = self.stages[f"{name}/art_q8"], self.stages[f"{name}/fd_q8"]
        rest = [self.stages[f"{name}/{part}_q8"][..., None] for part in ("cir", "ecc")]
        return Descriptor(np.concatenate([art, fourier, *rest], axis=-1))
