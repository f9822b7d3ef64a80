"""IM-NET's single-view reconstruction: a picture to the code of a trained autoencoder, whose decoder makes the shape.

Chen and Zhang 2019, section 3.3. B shapes, Z latent width; pictures are (B, 1, 128, 128), grey in [0, 1] on white. As
published 17,462,976 parameters learn; the autoencoder is frozen. How its codes come into batches stands in
isofield.training.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from data_processing.batch import Batch
from imnet.autoencoder import Autoencoder
from imnet.autoencoder import Config as AutoencoderConfig
from imnet.decoder import LEAK
from isofield.ops.batch_statistics import batch_norm

SIZE = 128  # pixels along each edge: halved to 4, then one convolution sees all that is left
BLOCKS_PER_WIDTH = 2


@dataclass(frozen=True)
class Config:
    """Sizes; the defaults are the published ones.

    init_from: the autoencoder's run. autoencoder, init_hash: its sizes and the hash of its weights, filled in from that
    run when training starts and kept with the config: a run that changed since has another hash. voxel_encoder: false
    where the autoencoder's encoder is not known, as in published weights of this model: shapes can be made, not learnt.
    """

    init_from: Path | None = None  # run of the autoencoder
    init_hash: str = ""  # filled in
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)  # filled in
    voxel_encoder: bool = True  # false: of published weights that lack it
    channels: tuple[int, ...] = (64, 128, 256, 512)  # two residual blocks of each

    def __post_init__(self) -> None:
        if len(self.channels) != 4 or min(self.channels) < 1:
            raise ValueError(
                f"channels: expected 4 widths of at least 1 (64^2 halved three times to 8^2), got {list(self.channels)}"
            )

    @property
    def latent(self) -> int:
        """Width of a code: the autoencoder's."""
        return self.autoencoder.latent


class Norm(nn.BatchNorm2d):
    """Batch normalisation with the statistics of all ranks' shapes in training, the running ones otherwise."""

    def forward(self, x_BCHW: torch.Tensor, is_padding: bool = False) -> torch.Tensor:
        return batch_norm(x_BCHW[:, :, None], self, training=self.training, is_padding=is_padding)[:, :, 0]


class Block(nn.Module):
    """Two convolutions 3x3 beside a shortcut; the first of a width halves the picture (He et al. 2016)."""

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.first_norm = Norm(after)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.second_norm = Norm(after)
        self.shortcut = nn.Conv2d(before, after, 1, stride=stride, bias=False) if stride == 2 else None
        self.shortcut_norm = Norm(after) if stride == 2 else None

    def forward(self, x_BCHW: torch.Tensor, *, is_padding: bool) -> torch.Tensor:
        """(B, C, H, W) to (B, C', H, W) or (B, C', H/2, W/2)."""
        y = F.leaky_relu_(self.first_norm(self.first(x_BCHW), is_padding), LEAK)
        y = self.second_norm(self.second(y), is_padding)
        if self.shortcut is not None and self.shortcut_norm is not None:
            x_BCHW = self.shortcut_norm(self.shortcut(x_BCHW), is_padding)
        return F.leaky_relu(y + x_BCHW, LEAK)


class ImageEncoder(nn.Module):
    """Convolution 7x7, eight residual blocks, convolutions 4x4 to a code in (0, 1); no pooling."""

    def __init__(self, *, latent: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels[0], 7, stride=2, padding=3, bias=False)  # 128 > 64
        self.first_norm = Norm(channels[0])
        widths = [channels[0], *(width for width in channels for _ in range(BLOCKS_PER_WIDTH))]
        strides = [1] * BLOCKS_PER_WIDTH + ([2] + [1] * (BLOCKS_PER_WIDTH - 1)) * (len(channels) - 1)  # 64 > 8
        self.blocks = nn.ModuleList(
            Block(a, b, stride=stride) for (a, b), stride in zip(itertools.pairwise(widths), strides, strict=True)
        )
        self.narrowing = nn.Conv2d(channels[-1], channels[-1], 4, stride=2, padding=1, bias=False)  # 8 > 4
        self.narrowing_norm = Norm(channels[-1])
        self.last = nn.Conv2d(channels[-1], latent, 4)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, views_B1HW: torch.Tensor, *, is_padding: bool = False) -> torch.Tensor:
        """(B, 1, 128, 128) grey on white to (B, Z). `is_padding`: they only keep other ranks company."""
        # Turned round: white, which is nothing, becomes 0, as are the convolution's own borders.
        x = F.leaky_relu_(self.first_norm(self.first(1 - views_B1HW), is_padding), LEAK)
        for block in self.blocks:
            x = block(x, is_padding=is_padding)
        x = F.leaky_relu_(self.narrowing_norm(self.narrowing(x), is_padding), LEAK)
        return torch.sigmoid(self.last(x)).flatten(1)


class UnknownEncoder(nn.Module):
    """In the place of a voxel encoder that nobody gave."""

    def forward(self, voxels_B1RRR: torch.Tensor) -> torch.Tensor:
        raise ValueError(
            "this run has no voxel encoder (published single-view weights hold none): it makes shapes of pictures, but "
            "gives no codes of voxels to learn from; import it again with --autoencoder FILE"
        )


class SingleView(nn.Module):
    """The contract of a model. `autoencoder` is frozen: gives the codes to learn, decodes codes, never learns.

    Its weights are part of the state: a checkpoint reconstructs shapes without the autoencoder's run.
    """

    iso_level = Autoencoder.iso_level

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.autoencoder = Autoencoder(config.autoencoder)
        # The sizes of an encoder that nobody gave would be made up: it has no weights in the state.
        if not config.voxel_encoder:
            self.autoencoder.register_module("encoder", UnknownEncoder())
        # Codes to learn stay the same from step to step, and may be kept (isofield/training/frozen_codes.py).
        self.autoencoder.requires_grad_(False)
        self.encoder = ImageEncoder(latent=config.latent, channels=config.channels)

    def train(self, mode: bool = True) -> "SingleView":
        """The image encoder's mode; the frozen autoencoder stays in evaluation mode."""
        # `train` reaches all modules inside: the frozen ones are set back.
        super().train(mode)
        self.autoencoder.eval()
        return self

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Who is trained by which optimiser: the image encoder alone."""
        return {"encoder": list(self.encoder.parameters())}

    def encode(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, 1, 128, 128) pictures to codes (B, Z). ValueError for another size."""
        return self._code(inputs, is_padding=False)

    def frozen_code(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the image encoder learns: the autoencoder's code of its own input, (B, 1, 64, 64, 64) voxels 0/1."""
        return self.autoencoder.encode(inputs)

    def decode(self, points_BN3: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """(B, N, 3) cube coordinates to (B, N) values by the frozen autoencoder."""
        return self.autoencoder.decode(points_BN3, code)

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
        """Mean squared error of the codes (Chen and Zhang 2019, section 3.3); `batch.values_BN` holds those to learn.

        Raises ValueError when they are not as wide as the autoencoder's.
        """
        target_BZ = batch.values_BN
        if target_BZ.ndim != 2 or target_BZ.shape[1] != self.config.latent:
            raise ValueError(
                f"single view: expected codes (B, {self.config.latent}) of its autoencoder to learn, got "
                f"{tuple(target_BZ.shape)}: its stages are of level codes"
            )
        code_BZ = self._code(batch.inputs, is_padding=batch.is_padding)
        yield "encoder", {"loss": (code_BZ.float() - target_BZ).square().mean()}

    def _code(self, views_B1HW: torch.Tensor, *, is_padding: bool) -> torch.Tensor:
        if tuple(views_B1HW.shape[1:]) != (1, SIZE, SIZE):
            got = " x ".join(map(str, views_B1HW.shape[1:]))
            raise ValueError(
                f"this model takes pictures of B x 1 x {SIZE} x {SIZE} (data.input: {{kind: view}}), got B x {got}"
            )
        return self.encoder(views_B1HW, is_padding=is_padding)
