"""A tiny model with an encoder, BatchNorm and a local decoder, registered nowhere: the seam must serve it unchanged."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from data_processing.batch import Batch
from data_processing.loading.batches import LoadingConfig
from data_processing.loading.network_inputs import InputConfig
from data_processing.store.shape_set import open_shapes
from isofield.config import OptimConfig, RunConfig, TrainingConfig, TrainingStage, ValidationConfig
from isofield.registry import build_model, resolve
from isofield.run_dir import RunDir, create_run
from isofield.runtime.config import to_yaml
from isofield.training.state import initial_state, save
from tests.isofield.ready_runs import ALONE


@dataclasses.dataclass(frozen=True)
class TinyConfig:
    """Channels of the one volume."""

    channels: int = 4


class TinyField(nn.Module):
    """A convolution with BatchNorm; its volume is sampled at the points and read by two layers. One logit."""

    iso_level = 0.0

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv3d(1, config.channels, 5, padding=2), nn.ReLU(), nn.BatchNorm3d(config.channels)
        )
        self.decoder = nn.Sequential(nn.Linear(config.channels + 1, 16), nn.ReLU(), nn.Linear(16, 1))

    def players(self) -> dict[str, list[nn.Parameter]]:
        return {"tiny": list(self.parameters())}

    def encoder_parameters(self) -> list[nn.Parameter]:
        return list(self.encoder.parameters())

    def encode(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat([inputs, self.encoder(inputs)], 1)

    def decode(self, points_BN3: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        places = 2 * points_BN3.flip(-1)[:, :, None, None]
        features = F.grid_sample(code, places, align_corners=False, padding_mode="border")[..., 0, 0]
        return self.decoder(features.transpose(1, 2))[..., 0]

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
        field = self.decode(batch.points_BN3, self.encode(batch.inputs))
        loss = F.binary_cross_entropy_with_logits(field, batch.values_BN, reduction="sum") / len(batch)
        yield "tiny", {"loss": loss}


def field_config(data: Path, runs: Path, *, section: InputConfig, **training: object) -> RunConfig:
    """Two stages near the surface over four shapes in batches of 3: 14 steps, every other batch of one shape."""
    settings: dict[str, object] = {
        "stages": (
            TrainingStage(level="boundary", epochs=3, points=300),
            TrainingStage(level="boundary", epochs=4, points=200),
        ),
        "batch_shapes": 3,
        "checkpoint_every": 100,
        "log_every": 1,
        "optim": OptimConfig(learning_rate=1e-3),
        "validation": ValidationConfig(every=0, split="test", shapes=3, pictures=0),
    }
    return RunConfig(
        name="tiny",
        model={"type": "tiny_field"},
        data=LoadingConfig(path=data, input=section),
        training=TrainingConfig(**{**settings, **training}),
        runs=runs,
        device="cpu",
    )


def ready_run(data: Path, runs: Path, *, section: InputConfig, model: str) -> RunDir:
    """runs/tiny with `best`, of a model registered by the test under that name, with weights by chance."""
    config = dataclasses.replace(field_config(data, runs, section=section), model={"type": model})
    config, run = resolve(config, where="test"), RunDir(config.run_path)
    create_run(run, config=to_yaml(config), preparation=open_shapes(data).settings, resume=False)
    torch.manual_seed(0)
    save(initial_state(build_model(config.model, where="test"), config), config, run, which="best", group=ALONE)
    return run
