"""IF-Net (Chibane, Alldieck and Pons-Moll, CVPR 2020): a volume to a pyramid of features, and these to a logit.

One class; the published set-ups are configuration (configs/ifnet). B shapes, N points, R grid resolution.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from data_processing.batch import Batch
from ifnet.encoder import Encoder, Padding
from isofield.ops.chunked import shapes_at_once, sum_over_points
from isofield.ops.feature_sampling import PLACES, Sampling, sampled_linear
from isofield.ops.linear_leaky import linear_leaky

POINTS_PER_CHUNK = 1 << 16  # where the config leaves it to us; the features of these never lie in memory all at once


@dataclass(frozen=True)
class Config:
    """Sizes and choices; the defaults are those of the published `voxels_128`."""

    resolution: int = 128  # of the input
    offsets: bool = False  # the input also says where in their cells its points lie: as `data.input.offsets` has it
    stages: tuple[tuple[int, ...], ...] = ((16,), (32, 32), (64, 64), (128, 128), (128, 128))  # channels
    decoder_widths: tuple[int, ...] = (256, 256, 256)  # of the layers between features and logit
    displacement: float = 0.0722  # of the six places around a point, in [-1, 1] units
    convolution_padding: Padding = "zeros"  # beyond the edge of the volume
    sampling_padding: Literal["zeros", "border"] = "zeros"  # what a place outside the volume sees
    align_corners: bool = False  # True: as the original weights were trained; shapes then lie a cell's half off
    append_point: bool = False  # the point itself, after its features
    dropout: float = 0.0  # after the first two layers of the decoder
    points_per_chunk: int = 0  # of a shape, decoded at once; 0: chosen for us

    def __post_init__(self) -> None:
        if not self.stages or not all(self.stages) or not self.decoder_widths:
            raise ValueError("stages and decoder_widths: expected at least one width in each")
        if min(*itertools.chain(*self.stages), *self.decoder_widths) < 1 or self.points_per_chunk < 0:
            raise ValueError("stages and decoder_widths must be at least 1, points_per_chunk at least 0")
        halved = 1 << (len(self.stages) - 1)
        if self.resolution % halved or self.resolution < 2 * halved:
            raise ValueError(
                f"resolution {self.resolution}: {len(self.stages)} stages halve it {len(self.stages) - 1} times, down "
                f"to at least 2: expected a multiple of {halved}, at least {2 * halved}"
            )
        if not 0 <= self.displacement < 1 or not 0 <= self.dropout < 1:
            raise ValueError("displacement and dropout must be in [0, 1)")

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the sampled volumes; the first is the input."""
        return (4 if self.offsets else 1, *(stage[-1] for stage in self.stages))


class Decoder(nn.Module):
    """Features at seven places of every volume, a few layers, one logit.

    The columns of the first layer follow `sample_features`, [scale][place][channel]; then, where it is appended, the
    point as 2 (x, y, z).
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.features = PLACES * sum(config.channels)
        first = self.features + 3 * config.append_point
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise([first, *config.decoder_widths, 1]))

    def forward(self, points_BN3: torch.Tensor, volumes: Sequence[torch.Tensor]) -> torch.Tensor:
        """(B, N, 3) cube coordinates and the pyramid to (B, N) logits, inside above 0."""
        config = self.config
        first, *middle, last = (layer for layer in self.layers if isinstance(layer, nn.Linear))
        sampling = Sampling(config.displacement, config.sampling_padding, config.align_corners)
        h = sampled_linear(volumes, points_BN3, first.weight[:, : self.features], first.bias, sampling)
        # The columns of the point are apart: the features' ones go to an operator that never holds the features of all
        # points.
        if config.append_point:
            h = h + F.linear(2 * points_BN3, first.weight[:, self.features :])
        h = F.dropout(F.relu_(h), config.dropout, self.training)
        for number, layer in enumerate(middle):
            h = linear_leaky(h, layer.weight, layer.bias, slope=0.0)
            if number == 0:
                h = F.dropout(h, config.dropout, self.training)
        return last(h).squeeze(-1)


class IFNet(nn.Module):
    """The contract of a model; its code is the pyramid of volumes."""

    iso_level = 0.0

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(
            resolution=config.resolution,
            channels=config.channels[0],
            stages=config.stages,
            padding=config.convolution_padding,
        )
        self.decoder = Decoder(config)

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Who is trained by which optimiser: here one."""
        return {"ifnet": list(self.parameters())}

    def encoder_parameters(self) -> list[nn.Parameter]:
        """What may be fitted to one input at test time, the decoder frozen."""
        return list(self.encoder.parameters())

    def encode(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """(B, 1, R, R, R), with offsets (B, 4, R, R, R), to the input and its feature volumes.

        ValueError when R or the channels are not the config's.
        """
        return self.encoder(inputs)

    def decode(self, points_BN3: torch.Tensor, code: Sequence[torch.Tensor]) -> torch.Tensor:
        """(B, N, 3) cube coordinates to (B, N) logits; inside is greater than `iso_level`."""
        chunks = points_BN3.split(self._points_per_chunk, dim=1)
        return torch.cat([self.decoder(chunk, code) for chunk in chunks], dim=1)

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
        """Binary cross-entropy of the logits, summed over points, mean over shapes (Chibane et al. 2020, section 3.3).

        With it the mean over points, and the share of points on the right side.
        """
        shapes, points = batch.values_BN.shape
        right = torch.zeros((), device=batch.values_BN.device)

        def error_of(some: slice, chunk: slice, code: Sequence[torch.Tensor]) -> torch.Tensor:
            logits = self.decode(batch.points_BN3[some, chunk], code).to(batch.values_BN.dtype)
            values = batch.values_BN[some, chunk]
            right.add_(((logits.detach() > self.iso_level) == (values > 0.5)).sum())
            return F.binary_cross_entropy_with_logits(logits, values, reduction="sum") / shapes

        code = self.encoder(batch.inputs, is_padding=batch.is_padding)
        parameters = list(self.decoder.parameters())
        # Features and hidden layers of a shape, in float32, with their gradients.
        held = 2 * 4 * points * (self.decoder.features + sum(self.config.decoder_widths))
        loss = sum_over_points(
            error_of,
            code,
            parameters,
            points=points,
            points_per_chunk=self._points_per_chunk,
            shapes_per_chunk=shapes_at_once(batch.values_BN.device, held),
        )
        # The sum is the paper's loss; the mean is what runs with another number of points can be compared by.
        means = {"loss_per_point": loss.detach() / points, "accuracy": right / (shapes * points)}
        yield "ifnet", {"loss": loss, **means}

    @property
    def _points_per_chunk(self) -> int:
        return self.config.points_per_chunk or POINTS_PER_CHUNK
