"""IM-NET's shape generation: a Wasserstein GAN with gradient penalty on the codes of a trained autoencoder.

Chen and Zhang 2019, section 3.2; the penalty: Gulrajani et al., Improved Training of Wasserstein GANs (2017). B codes,
Z latent width. As in the published program the critic is LOW on real codes. What a batch is here: `inputs` are codes
(B, Z); points and values are not looked at. How codes come out of the autoencoder and into batches stands in
isofield.training. Noise is drawn from the keys of the batch: ranks of one run, and a resumed one, draw what a single
process draws.
"""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from data_processing.batch import Batch
from imnet.autoencoder import Autoencoder
from imnet.autoencoder import Config as AutoencoderConfig
from imnet.decoder import LEAK


@dataclass(frozen=True)
class Config:
    """Sizes; the defaults are the published ones.

    init_from: the autoencoder's run. autoencoder, init_hash: its sizes and the hash of its weights, filled in from that
    run when training starts and kept with the config: a run that changed since has another hash.
    noise: width of the generator's input; 0: as wide as the code. interpolation: where between real and generated codes
    the penalty is asked; "sample" draws a place for each code, "batch" one for all, as published.
    """

    init_from: Path | None = None  # run of the autoencoder
    init_hash: str = ""  # filled in
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)  # filled in
    noise: int = 0  # width of the generator's input; 0: that of the code
    noise_std: float = 0.2  # of that input
    generator_widths: tuple[int, ...] = (2048, 2048)  # of its hidden layers
    critic_widths: tuple[int, ...] = (2048, 2048)  # of its hidden layers
    penalty: float = 10.0  # weight of the gradient penalty
    interpolation: Literal["sample", "batch"] = "sample"  # where the penalty is asked

    def __post_init__(self) -> None:
        if self.noise < 0 or min(self.generator_widths + self.critic_widths, default=1) < 1:
            raise ValueError("noise must not be negative, generator_widths and critic_widths must be at least 1")
        if not self.noise_std > 0 or self.penalty < 0:
            raise ValueError(
                f"noise_std must be positive and penalty not negative, got {self.noise_std} and {self.penalty}"
            )

    @property
    def latent(self) -> int:
        """Width of a code: the autoencoder's."""
        return self.autoencoder.latent

    @property
    def noise_width(self) -> int:
        return self.noise or self.latent


class Layers(nn.Module):
    """Linear layers with LeakyReLU(0.02) between; weights N(0, 0.02), biases 0."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), LEAK)
        return self.layers[-1](x)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Stays as it is: the penalty differentiates the critic twice, which compiled code cannot do."""


class LatentGAN(nn.Module):
    """The contract of a model with two players. `autoencoder` is frozen: encodes shapes, decodes codes, never learns.

    Its weights are part of the state: a checkpoint generates shapes without the autoencoder's run.
    """

    steps_alike = True  # so that a GPU can play a step back: some 400 launches for layers of 50 rows

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.autoencoder = Autoencoder(config.autoencoder).requires_grad_(False)
        self.generator = Layers(config.noise_width, *config.generator_widths, config.latent)
        self.critic = Layers(config.latent, *config.critic_widths, 1)

    @property
    def iso_level(self) -> float:
        return self.autoencoder.iso_level

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Who is trained by which optimiser, in the order of their turns."""
        return {"critic": list(self.critic.parameters()), "generator": list(self.generator.parameters())}

    def encode(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, 1, 64, 64, 64) voxels 0/1 to codes (B, Z) of the frozen autoencoder."""
        return self.frozen_code(inputs)

    def frozen_code(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the GAN learns to imitate: the code that the autoencoder gives of its own input."""
        return self.autoencoder.encode(inputs)

    def decode(self, points_BN3: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """(B, N, 3) cube coordinates to (B, N) values by the frozen autoencoder."""
        return self.autoencoder.decode(points_BN3, code)

    def generate(self, noise_BW: torch.Tensor) -> torch.Tensor:
        """Noise to codes (B, Z) in (0, 1)."""
        return torch.sigmoid(self.generator(noise_BW))

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Codes (n, Z) of n new shapes, on the model's device.

        The first of many are those of few: noise is drawn shape by shape, on the device of `generator`.
        """
        width = self.config.noise_width
        # One draw a shape: one draw for all would be other numbers where another number of shapes is asked for.
        draws = [torch.randn(1, width, device=generator.device, generator=generator) for _ in range(n)]
        noise_NW = torch.cat(draws) * self.config.noise_std
        return self.generate(noise_NW.to(next(self.generator.parameters()).device))

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
        """The critic's turn, then the generator's, each on noise of its own.

        Raises ValueError when the codes of the batch are not as wide as the autoencoder's.
        """
        real_BZ = batch.inputs
        if real_BZ.ndim != 2 or real_BZ.shape[1] != self.config.latent:
            raise ValueError(
                f"latent GAN: expected codes (B, {self.config.latent}) of its autoencoder, got {tuple(real_BZ.shape)}"
            )
        alone = self.config.interpolation == "sample"
        share_B1 = batch.uniforms("share") if alone else batch.shared_uniform("share")
        with _in_float32(real_BZ):
            with torch.no_grad():
                fake_BZ = self.generate(self._noise(batch, "critic"))
            values = self.critic_losses(real_BZ, fake_BZ, share_B1)
        # The critic steps here, before the generator is asked: it is judged by the critic that has just learnt.
        yield "critic", values
        with _in_float32(real_BZ):
            loss = self.generator_loss(self._noise(batch, "generator"))
        yield "generator", {"loss": loss}

    @torch.no_grad()
    def quality(self, batch: Batch) -> torch.Tensor:
        """How far generated codes are from those of the batch, as sets; 0 for the same distribution.

        The energy distance, 2 E|x - y| - E|x - x'| - E|y - y'| (Szekely and Rizzo 2013), with as many generated codes:
        losses of two players say nothing about quality.
        """
        real_BZ, fake_BZ = batch.inputs, self.generate(self._noise(batch, "quality"))
        between = _mean_distance(real_BZ, fake_BZ)
        return 2 * between - _mean_distance(real_BZ, real_BZ) - _mean_distance(fake_BZ, fake_BZ)

    def critic_losses(
        self, real_BZ: torch.Tensor, fake_BZ: torch.Tensor, share_B1: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """mean D(real) - mean D(fake) + penalty * mean((|grad D| - 1)^2), the gradient between real and fake.

        `share`: of the real code there, 0 to 1, (B, 1) or one for all (1, 1). distance: the estimate of
        Wasserstein's distance between real and generated codes, mean D(fake) - mean D(real).
        """
        distance = self.critic(fake_BZ).mean() - self.critic(real_BZ).mean()
        slope_B = self._slopes(torch.lerp(fake_BZ, real_BZ, share_B1))
        penalty = self.config.penalty * (slope_B - 1).square().mean()
        return {
            "loss": penalty - distance,
            "distance": distance.detach(),
            "penalty": penalty.detach(),
            "slope": slope_B.detach().mean(),
        }

    def generator_loss(self, noise_BW: torch.Tensor) -> torch.Tensor:
        """mean D(generated); the critic's weights take no gradient from it."""
        fake_BZ = self.generate(noise_BW)
        # The generator is moved by what the critic says; the critic learns nothing from the generator's turn.
        with _held(self.critic):
            return self.critic(fake_BZ).mean()

    def _slopes(self, between_BZ: torch.Tensor) -> torch.Tensor:
        """|grad D| at each code (B,), itself differentiable where gradients are recorded."""
        recording = torch.is_grad_enabled()
        with torch.enable_grad():  # also in a validation, which records nothing else
            # Gulrajani et al. 2017, equation 3: the critic's slope at places between real and generated codes. The
            # graph of the gradient is kept, as the penalty is differentiated by the critic's weights.
            between_BZ = between_BZ.detach().requires_grad_()
            (gradient_BZ,) = torch.autograd.grad(self.critic(between_BZ).sum(), between_BZ, create_graph=recording)
        return gradient_BZ.norm(dim=1)

    def _noise(self, batch: Batch, purpose: str) -> torch.Tensor:
        """N(0, noise_std^2), (B, W)."""
        return batch.normals(purpose, self.config.noise_width) * self.config.noise_std


def _mean_distance(one_NZ: torch.Tensor, other_MZ: torch.Tensor) -> torch.Tensor:
    return torch.stack([(other_MZ - code_Z).norm(dim=1).mean() for code_Z in one_NZ]).mean()


def _in_float32(like: torch.Tensor) -> contextlib.AbstractContextManager:
    """Whatever the precision of the run: these networks cost little, and the penalty is a small difference."""
    return torch.autocast(like.device.type, enabled=False)


@contextlib.contextmanager
def _held(network: nn.Module) -> Iterator[None]:
    """What is computed inside passes gradients through the network, but leaves none in its weights."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
