"""IM-NET's implicit decoder (Chen and Zhang 2019, section 3.1; sizes of the improved version).

Z latent width, N points, B shapes.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from isofield.ops.linear_leaky import linear_leaky

LEAK = 0.02
CACHED_POINTS = 4096
POINT_STD = 2.0  # of the points' columns in `kaiming`: makes features of unit variance out of the cube


class Decoder(nn.Module):
    """Field value of points given codes: 259 > 1024 > 1024 > 1024 > 512 > 256 > 128 > 1 as published.

    The first layer takes cat(point, code). It is computed as a product with the point (3 columns, every point) plus a
    product with the code (Z columns, once per shape): exact, and 256 of 259 columns a point are saved.
    """

    def __init__(self, *, latent: int, widths: tuple[int, ...], output_clip: str, initialisation: str) -> None:
        super().__init__()
        sizes = [3 + latent, *widths, 1]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.output_clip = output_clip
        self.reset_parameters(initialisation)

    def reset_parameters(self, kind: str) -> None:
        """`published`: weights N(0, 0.02), the last layer N(1e-5, 0.02), biases 0.

        `kaiming`: He et al. 2015 for the leaky rectifier, and fields that start in the middle, at 0.5. The published
        numbers fit a width of 1024; in narrower layers the signal fades and training sticks to "all outside".
        """
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            last = layer is self.layers[-1]
            if kind == "published" or last:
                nn.init.normal_(layer.weight, mean=1e-5 if last else 0.0, std=0.02)
            else:
                nn.init.kaiming_normal_(layer.weight, a=LEAK, nonlinearity="leaky_relu")
            nn.init.constant_(layer.bias, 0.5 if last and kind == "kaiming" else 0.0)
        if kind == "kaiming":  # three coordinates would drown in a code: give them as much weight as all of it
            first = self.layers[0]
            assert isinstance(first, nn.Linear)
            with torch.no_grad():
                first.weight[:, :3].normal_(std=POINT_STD)

    def forward(self, points_BN3: torch.Tensor, code_BZ: torch.Tensor) -> torch.Tensor:
        """(B, N, 3) cube coordinates and (B, Z) codes to (B, N) field values, inside above 0.5."""
        if torch.is_grad_enabled() or points_BN3.device.type != "cpu":
            return self._values(points_BN3, code_BZ)
        # The features of so few points stay in a processor's cache from layer to layer: a quarter less time, same bits.
        return torch.cat([self._values(part_BP3, code_BZ) for part_BP3 in points_BN3.split(CACHED_POINTS, 1)], 1)

    def _values(self, points_BN3: torch.Tensor, code_BZ: torch.Tensor) -> torch.Tensor:
        first = self.layers[0]
        assert isinstance(first, nn.Linear)
        # A layer of (point, code) is a sum of two: the code's part once a shape, the points' part for each of them.
        of_shape = F.linear(code_BZ, first.weight[:, 3:], first.bias)
        of_point = first.weight[:, :3]
        if len(code_BZ) == 1 and not torch.is_grad_enabled():  # one shape: its part is a bias, and one pass does it all
            h = linear_leaky(points_BN3, of_point.contiguous(), of_shape[0], slope=LEAK)
        else:
            h = F.leaky_relu_(F.linear(points_BN3, of_point).add_(of_shape[:, None]), LEAK)
        for layer in self.layers[1:-1]:
            assert isinstance(layer, nn.Linear)
            h = linear_leaky(h, layer.weight, layer.bias, slope=LEAK)
        h = self.layers[-1](h)
        return clip(h.squeeze(-1), self.output_clip)


def clip(h: torch.Tensor, kind: str) -> torch.Tensor:
    """`leaky`: max(min(h, 0.01 h + 0.99), 0.01 h), as published in PyTorch. `hard`: clamp to [0, 1] (TensorFlow)."""
    if kind == "hard":
        return h.clamp(0, 1)
    return torch.maximum(torch.minimum(h, h * 0.01 + 0.99), h * 0.01)


def plain_forward(decoder: Decoder, points_BN3: torch.Tensor, code_BZ: torch.Tensor) -> torch.Tensor:
    """What the published code does: the code concatenated to every point. Reference for tests and benchmarks."""
    repeated = code_BZ[:, None].expand(-1, points_BN3.shape[1], -1)
    h = torch.cat([points_BN3, repeated], dim=2)
    for layer in decoder.layers[:-1]:
        h = F.leaky_relu(layer(h), LEAK)
    return clip(decoder.layers[-1](h).squeeze(-1), decoder.output_clip)
