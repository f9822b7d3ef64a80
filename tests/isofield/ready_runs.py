"""Runs with weights set by hand: what they generate is known without training."""

import dataclasses
from pathlib import Path

import torch
from torch import nn

from data_processing.geometry.coordinates import voxel_index
from data_processing.loading.batches import LoadingConfig
from data_processing.store.shape_set import open_shapes
from isofield.config import RunConfig, TrainingConfig, TrainingStage
from isofield.registry import build_model, resolve
from isofield.run_dir import RunDir, create_run
from isofield.runtime.config import to_yaml
from isofield.runtime.distributed import Group
from isofield.training.state import initial_state, save
from tests.isofield.conftest import tiny_config

RADII = (0.25, 0.35, 0.15)  # of the octahedron along x, y, z, before the code makes it up to a fifth larger
ALONE = Group(0, 1, torch.device("cpu"))


@dataclasses.dataclass(frozen=True)
class EchoConfig:
    """The echo has nothing to configure."""


class Echo(nn.Module):
    """The perfect autoencoder: its code is the voxels, its field looks them up."""

    iso_level = 0.5

    def __init__(self, config: EchoConfig) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def players(self) -> dict[str, list[nn.Parameter]]:
        return {"echo": list(self.parameters())}

    def encode(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs[:, 0]

    def decode(self, points_BN3: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        x, y, z = voxel_index(points_BN3, code.shape[-1]).unbind(-1)
        return code[torch.arange(len(code))[:, None], x, y, z] * self.scale


def octahedron_weights(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """IM-NET's decoder set to 0.5 + (1 + code_0 / 5 - |x|/a - |y|/b - |z|/c) / 2, its encoder left as it is."""
    sizes = {name: torch.zeros_like(value) for name, value in weights.items() if name.startswith("decoder")}
    first, second, third, last = (sizes[f"decoder.layers.{i}.weight"] for i in range(4))
    for axis in range(3):
        first[2 * axis, axis], first[2 * axis + 1, axis] = 1, -1  # leaky ReLUs of x and -x sum to 0.98 |x|
        second[axis, 2 * axis] = second[axis, 2 * axis + 1] = 1 / 0.98
        third[axis, axis], last[0, axis] = 1, -0.5 / RADII[axis]
    first[6, 3] = second[3, 6] = third[3, 3] = 1
    last[0, 3] = 0.1
    sizes["decoder.layers.3.bias"][0] = 1.0
    return {**weights, **sizes}


def bare_run(data: Path, runs: Path) -> RunDir:
    """runs/tiny with a config and no checkpoint: whose meshes a test lays there itself."""
    training = TrainingConfig(stages=(TrainingStage(level=16, epochs=1),))
    config = RunConfig("tiny", {"type": "imnet_autoencoder"}, LoadingConfig(path=data), training, runs=runs)
    run = RunDir(config.run_path)
    run.path.mkdir(parents=True)
    run.config_file.write_text(to_yaml(config))
    return run


def make_run(data: Path, runs: Path, *, model: dict[str, object] | None = None) -> RunDir:
    """runs/tiny with `last` and `best`; octahedra unless another model is given."""
    config = tiny_config(data, runs)
    config = resolve(dataclasses.replace(config, model=model or config.model), where="test")
    run = RunDir(config.run_path)
    create_run(run, config=to_yaml(config), preparation=open_shapes(data).settings, resume=False)
    torch.manual_seed(0)
    state = initial_state(build_model(config.model, where="test"), config)
    if model is None:
        state.model.load_state_dict(octahedron_weights(state.model.state_dict()))
    for which in ("last", "best"):
        save(state, config, run, which=which, group=ALONE)
    return run
