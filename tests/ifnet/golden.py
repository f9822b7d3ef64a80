"""What the published networks computed with random weights (tests/golden.py), in our conventions."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch

from data_processing.batch import Batch
from ifnet.model import IFNet
from ifnet.published_weights import SETUPS, convert, key_names
from tests.golden import FOLDER, ifnet_state

FILES = {"voxels_32": "ShapeNet32Vox", "voxels_128": "ShapeNet128Vox", "points_3000": "ShapeNetPoints"}
CHOICES = [
    (setup, padding, align_corners)
    for setup in FILES
    for padding in ("zeros", "replicate")
    for align_corners in (True, False)
    if padding == "zeros" or setup == "points_3000"
]


@dataclass
class Golden:
    """One network, one choice of padding and alignment."""

    model: IFNet
    batch: Batch
    numbers: dict[str, np.ndarray]  # logits, train_logits, train_loss, grad_norms, last_bn_running_mean_after
    names: list[str]  # of our parameters, in the order of grad_norms


def read_golden(setup: str, padding: str, align_corners: bool) -> Golden:
    """The golden points come as `grid_sample` takes them: last array axis first, in [-1, 1]."""
    choices = dataclasses.replace(SETUPS[setup], convolution_padding=padding, align_corners=align_corners)
    config, weights = convert(ifnet_state(FILES[setup]), choices, setup=setup, where="golden")
    model = IFNet(dataclasses.replace(config, points_per_chunk=200))  # 512 points: two chunks and a part
    model.load_state_dict(weights)
    content = np.load(FOLDER / f"ifnet_{FILES[setup]}_io.npz")
    shapes, *sides = content["inputs_shape"]
    inputs = np.unpackbits(content["inputs_packed"]).reshape(shapes, 1, *sides)
    batch = Batch(
        torch.from_numpy(inputs).float(),
        torch.from_numpy(content["points"]).flip(-1) / 2,
        torch.from_numpy(content["occ"]).float(),
        tuple(range(shapes)),
    )
    end = f"_{padding}_ac{int(align_corners)}"
    numbers = {key.removesuffix(end): content[key] for key in content.files if key.endswith(end)}
    return Golden(model, batch, numbers, [key_names(config)[name] for name in content["grad_names"].tolist()])
