"""A run whose prior gives back what it is shown, on real structures of the donors shipped with the project."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from data_processing.loading.batches import LoadingConfig
from data_processing.loading.network_inputs import InputConfig
from data_processing.preparation.job import prepare_folder
from data_processing.store.shape_set import open_shapes
from isofield import checkpoint, registry
from isofield.config import RunConfig, TrainingConfig, TrainingStage
from isofield.registry import build_model, resolve
from isofield.run_dir import RunDir, create_run
from isofield.runtime.config import to_yaml
from isofield.runtime.distributed import Group
from isofield.training.state import initial_state, save
from tests.isofield.outliers.organs import brain_config
from tests.isofield.ready_runs import Echo, EchoConfig
from tests.made_once import made_once

ALONE = Group(0, 1, torch.device("cpu"))


@pytest.fixture(scope="session")
def brain_set() -> Path:
    """Twelve hippocampi of six donors: four donors train, one calibrates, one tests."""
    return made_once("brain", _prepare_brains) / "set"


def _prepare_brains(folder: Path) -> None:
    assert prepare_folder(brain_config(folder / "set")) == 0


@pytest.fixture(scope="session")
def echo() -> Iterator[None]:
    """The prior that repeats."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.MODELS, "echo", (EchoConfig, Echo))
        yield


@pytest.fixture(scope="session")
def brain_run(brain_set: Path, echo: None, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """runs/hippocampus, shown solids of 32^3."""
    return write_run(brain_set, tmp_path_factory.mktemp("runs"))


def write_run(data: Path, runs: Path, *, scale: float = 1.0) -> RunDir:
    """A run of the repeating prior; its field is 0 or `scale`."""
    config = RunConfig(
        name="hippocampus",
        model={"type": "echo"},
        data=LoadingConfig(path=data, input=InputConfig(kind="solid", resolution=32)),
        training=TrainingConfig(stages=(TrainingStage(level="boundary", epochs=1),)),
        runs=runs,
    )
    config = resolve(config, where="test")
    run = RunDir(config.run_path)
    create_run(run, config=to_yaml(config), preparation=open_shapes(data).settings, resume=False)
    save_model(run, config, scale=scale)
    return run


def mark_unfinished(run: RunDir, *, step: int, planned: int) -> None:
    """As if its training had ended after so many of the planned steps."""
    file = run.checkpoint_file("best")
    checkpoint.save(file, {**checkpoint.load(file), "step": step, "planned": planned})


def save_model(run: RunDir, config: RunConfig, *, scale: float) -> None:
    """The checkpoint `best`."""
    state = initial_state(build_model(config.model, where="test"), config)
    with torch.no_grad():
        for parameter in state.model.parameters():
            parameter.fill_(scale)
    state.average = None
    save(state, config, run, which="best", group=ALONE)
