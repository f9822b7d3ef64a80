"""IM-NET's voxel autoencoder: 64^3 voxels to a code, code and points to a field.

As published 10,003,713 parameters: encoder 6,949,120, decoder 3,054,593.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from data_processing.batch import Batch
from imnet.decoder import LEAK, Decoder
from isofield.ops.chunked import mean_over_shapes


@dataclass(frozen=True)
class Config:
    """Sizes; the defaults are the published ones."""

    latent: int = 256  # width of the code
    encoder_channels: tuple[int, ...] = (32, 64, 128, 256)  # of the four convolutions that halve the voxels
    decoder_widths: tuple[int, ...] = (1024, 1024, 1024, 512, 256, 128)  # of the layers between point and value
    output_clip: Literal["leaky", "hard"] = "leaky"  # leaky: as published in PyTorch; hard: to [0, 1], as in TensorFlow
    initialisation: Literal["published", "kaiming"] = "published"  # of the decoder; kaiming where it is narrower
    shapes_per_chunk: int = 0  # decoded at once; 0: one on a CPU (activations stay in cache), 16 on a GPU

    def __post_init__(self) -> None:
        if self.latent < 1 or self.shapes_per_chunk < 0 or min(self.encoder_channels + self.decoder_widths) < 1:
            raise ValueError(
                "latent, encoder_channels and decoder_widths must be at least 1, shapes_per_chunk at least 0"
            )
        if len(self.encoder_channels) != 4:
            raise ValueError(
                f"encoder_channels: expected 4 widths (64^3 halved four times to 4^3), got {len(self.encoder_channels)}"
            )


class Encoder(nn.Module):
    """Conv3d 4/2/1 without bias, InstanceNorm, LeakyReLU, four times; Conv3d 4 valid with bias; sigmoid."""

    def __init__(self, *, latent: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        # 64 halved four times leaves 4^3 cells, which the last convolution, as wide as they are, turns into the code.
        # The norm subtracts any bias again: the four before it have none.
        sizes = [1, *channels]
        self.convolutions = nn.ModuleList(
            nn.Conv3d(a, b, 4, stride=2, padding=1, bias=False) for a, b in itertools.pairwise(sizes)
        )
        self.last = nn.Conv3d(sizes[-1], latent, 4)
        for layer in [*self.convolutions, self.last]:
            assert isinstance(layer, nn.Conv3d)
            nn.init.xavier_uniform_(layer.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, voxels_B1RRR: torch.Tensor) -> torch.Tensor:
        """(B, 1, 64, 64, 64) voxels to (B, Z) codes in (0, 1)."""
        x = voxels_B1RRR
        for convolution in self.convolutions:
            # In place: the norm's backward pass needs what went into it, not what came out.
            x = F.leaky_relu_(F.instance_norm(convolution(x)), LEAK)
        return torch.sigmoid(self.last(x)).flatten(1)


class Autoencoder(nn.Module):
    """The contract of a model: encode once per shape, decode many points, losses for the training loop to step on."""

    iso_level = 0.5

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(latent=config.latent, channels=config.encoder_channels)
        self.decoder = Decoder(
            latent=config.latent,
            widths=config.decoder_widths,
            output_clip=config.output_clip,
            initialisation=config.initialisation,
        )

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Who is trained by which optimiser: here one."""
        return {"autoencoder": list(self.parameters())}

    def encode(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, 1, 64, 64, 64) voxels 0/1 to (B, Z)."""
        return self.encoder(inputs)

    def decode(self, points_BN3: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """(B, N, 3) cube coordinates to (B, N) values; inside is greater than `iso_level`."""
        return self.decoder(points_BN3, code)

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
        """Mean squared error over points and shapes (Chen and Zhang 2019, equation 1)."""

        def error_of(chunk: slice, code_CZ: torch.Tensor) -> torch.Tensor:
            # Summed over shapes here; `mean_over_shapes` divides by all of them, however many are decoded at once. In
            # float32: sums of thousands of squares would be lost in the 8 bits of a bfloat16 fraction.
            field = self.decode(batch.points_BN3[chunk], code_CZ)
            return (field.float() - batch.values_BN[chunk]).square().mean(1).sum()

        code_BZ = self.encode(batch.inputs)
        shapes_per_chunk = self.config.shapes_per_chunk or (16 if code_BZ.is_cuda else 1)
        parameters = list(self.decoder.parameters())
        loss = mean_over_shapes(error_of, code_BZ, parameters, shapes_per_chunk=shapes_per_chunk)
        yield "autoencoder", {"loss": loss}
