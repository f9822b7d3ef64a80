"""A model of your own: a tiny occupancy network (Mescheder et al., CVPR 2019), without their batch normalisation.

`python tiny_occupancy.py train --config tiny_occupancy.yaml`, then `generate` and `evaluate` as with any other run.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from data_processing.batch import Batch
from isofield.__main__ import main
from isofield.registry import MODELS


@dataclass(frozen=True)
class Config:
    """The section `model:` of the YAML file. B shapes, N points, W width."""

    width: int = 64  # of the code and of every layer

    def __post_init__(self) -> None:
        if self.width < 8 or self.width % 8:
            raise ValueError(f"width: expected a multiple of 8, got {self.width}")


class TinyOccupancy(nn.Module):
    """Three convolutions to a code; a point, the code added, through three residual layers to a logit."""

    iso_level = 0.0  # of a logit; whatever is greater is inside

    def __init__(self, config: Config) -> None:
        super().__init__()
        widths = (1, config.width // 4, config.width // 2, config.width)
        self.encoder = nn.ModuleList(nn.Conv3d(a, b, 4, stride=3, padding=1) for a, b in itertools.pairwise(widths))
        self.first = nn.Linear(3, config.width)
        self.layers = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(3))
        self.last = nn.Linear(config.width, 1)

    def players(self) -> dict[str, list[nn.Parameter]]:
        """One optimiser for all of it."""
        return {"tiny": list(self.parameters())}

    def encode(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, 1, R, R, R) voxels 0/1 to codes (B, W): once for each shape."""
        for convolution in self.encoder:
            inputs = F.relu(convolution(inputs))
        return inputs.amax((2, 3, 4))

    def decode(self, points_BN3: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """(B, N, 3) places in the cube [-0.5, 0.5]^3 to logits (B, N)."""
        h = self.first(4 * points_BN3) + code[:, None]
        for layer in self.layers:
            h = h + F.relu(layer(h))
        return self.last(h).squeeze(-1)

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
        """Binary cross-entropy, mean over points and shapes (their equation 3)."""
        logits_BN = self.decode(batch.points_BN3, self.encode(batch.inputs))
        yield "tiny", {"loss": F.binary_cross_entropy_with_logits(logits_BN, batch.values_BN)}


MODELS["tiny_occupancy"] = (Config, TinyOccupancy)  # in a checkout: this line stands in isofield/registry.py

if __name__ == "__main__":
    main()
