"""A small published data set and a tiny model's config, for everything that trains."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from data_processing.loading.batches import LoadingConfig
from isofield.config import OptimConfig, RunConfig, TrainingConfig, TrainingStage, ValidationConfig
from tests.made_once import made_once
from tests.small_sets import write_published

TINY_MODEL = {
    "type": "imnet_autoencoder",
    "latent": 8,
    "encoder_channels": [2, 2, 4, 4],
    "decoder_widths": [16, 16, 8],
}


@pytest.fixture(scope="session")
def boxes() -> Path:
    """A published pair: 5 shapes to train on, 3 to test."""
    folder = made_once("boxes", lambda folder: write_published(folder, train=5, test=3))
    return folder / "boxes_train.hdf5"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As evaluate.py does: threads of torch only wait for each other there."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny_config(boxes: Path, runs: Path, **training: object) -> RunConfig:
    """Two stages of 3 and 2 epochs over 5 shapes in batches of 2: 15 steps, the last batch of each epoch is partial."""
    settings: dict[str, object] = {
        "stages": (TrainingStage(level=16, epochs=3, points=512), TrainingStage(level=64, epochs=2, points=256)),
        "batch_shapes": 2,
        "checkpoint_every": 100,
        "log_every": 1,
        "optim": OptimConfig(learning_rate=1e-3),
        "validation": ValidationConfig(every=0, shapes=3, pictures=0),
    }
    return RunConfig(
        name="tiny",
        model=dict(TINY_MODEL),
        data=LoadingConfig(path=boxes),
        training=TrainingConfig(**{**settings, **training}),
        runs=runs,
        device="cpu",
    )
