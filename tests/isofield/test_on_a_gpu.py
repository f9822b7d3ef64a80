"""What only a GPU can show: steps without a wait, a resumed run, meshes, insides, a whole command on one.

`python -m pytest -m gpu tests` runs these and the others marked so; without CUDA each is skipped.
"""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from data_processing.batch import Batch
from data_processing.occupancy.inside_outside import InsideConfig, inside_points, occupancy_grid
from data_processing.preparation.config import DataConfig
from data_processing.preparation.contents import BoundaryConfig, Contents
from data_processing.preparation.job import prepare_folder
from data_processing.store.shape_set import open_shapes
from isofield.commands import generate, train
from isofield.config import OptimConfig, RunConfig, ValidationConfig
from isofield.extraction.isosurface import extract
from isofield.registry import build_model, load_run, resolve
from isofield.run_dir import RunDir, create_run
from isofield.runtime.config import to_yaml
from isofield.runtime.distributed import Group
from isofield.training.loop import take_turns, train_step
from isofield.training.loop import train as train_loop
from isofield.training.state import State, initial_state, restore, save
from isofield.training.static_step import played_steps
from tests.commands import call
from tests.conftest import ROOT
from tests.data_processing.box_folders import write_boxes
from tests.data_processing.preparation.test_job import same_as
from tests.data_processing.solids import ball, box, joined, turned, without_faces
from tests.isofield.conftest import TINY_MODEL, tiny_config

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CUDA = torch.device("cuda", 0)
SMALL = {key: value for key, value in TINY_MODEL.items() if key != "type"}
MODELS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {  # the model's section, the size of an input
    "imnet_autoencoder": (SMALL, (1, 64, 64, 64)),
    "imnet_latent_gan": ({"autoencoder": SMALL, "generator_widths": [16], "critic_widths": [16]}, (8,)),
    "imnet_single_view": ({"autoencoder": SMALL, "channels": [4, 4, 4, 4]}, (1, 128, 128)),
    "ifnet": ({"resolution": 32}, (1, 32, 32, 32)),
}


@contextmanager
def no_wait() -> Iterator[None]:
    """RuntimeError where the host waits for the device."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def random_batch(name: str, device: torch.device, shapes: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(shapes, *MODELS[name][1], generator=generator)
    points = torch.rand(shapes, 200, 3, generator=generator) - 0.5
    values = torch.rand(shapes, 8 if name == "imnet_single_view" else 200, generator=generator)
    keys, values = torch.arange(shapes).to(device), (values > 0.5).float()
    drawn = {"keys_B": keys, "key_1": keys[:1]}
    return Batch(inputs.to(device), points.to(device), values.to(device), tuple(range(shapes)), **drawn)


def step(state: State, batch: Batch, device: torch.device, precision: str) -> dict[str, torch.Tensor]:
    section = SimpleNamespace(precision=precision, optim=OptimConfig(clip_norm=1.0))
    job: Any = SimpleNamespace(config=SimpleNamespace(training=section), group=Group(0, 1, device))
    return train_step(state, batch, job, weight=1.0, rate=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", MODELS)
def test_a_step_waits_for_nothing_and_is_the_cpu_s(name: str, precision: str, tmp_path: Path):
    config = dataclasses.replace(tiny_config(tmp_path, tmp_path), model={"type": name, **MODELS[name][0]})
    losses = []
    for device in (torch.device("cpu"), CUDA):
        torch.manual_seed(0)
        state = initial_state(build_model(config.model, where="test").to(device), config)
        batch = random_batch(name, device)
        first = step(state, batch, device, precision)  # compiles what is compiled once
        losses.append({key: float(value) for key, value in first.items()})
        with no_wait():
            step(state, batch, device, precision)
    for key, value in losses[0].items():
        assert losses[1][key] == pytest.approx(value, rel=0.05 if precision == "bfloat16" else 5e-3, abs=1e-3)


def on_gpu(boxes: Path, runs: Path, **training: object) -> RunConfig:
    optim = OptimConfig(learning_rate=1e-3, ema_decay=0.9)
    validation = ValidationConfig(every=6, shapes=3, pictures=1, resolution=16)
    config = tiny_config(boxes, runs, optim=optim, validation=validation, **training)
    return dataclasses.replace(resolve(config, where="test"), device="cuda")


def run_training(config: RunConfig, *, resume: bool = False) -> State:
    torch.manual_seed(0)
    model = build_model(config.model, where="test")
    group = Group(0, 1, CUDA)
    return train_loop(model, open_shapes(config.data.path), config, RunDir(config.run_path), group, resume=resume)


def test_a_resumed_run_ends_where_the_unbroken_one_does(boxes: Path, tmp_path: Path):
    whole = run_training(on_gpu(boxes, tmp_path / "whole"))
    run_training(on_gpu(boxes, tmp_path / "parts", max_steps=7))
    resumed = run_training(on_gpu(boxes, tmp_path / "parts"), resume=True)
    assert resumed.step == whole.step == 15
    for optimiser in resumed.optimisers.values():
        assert optimiser.param_groups[0]["fused"]
        assert all(moments["step"].is_cuda for moments in optimiser.state.values())
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=1e-3, atol=1e-5)
    batch = random_batch("imnet_autoencoder", CUDA)
    with no_wait():
        step(resumed, batch, CUDA, "float32")


def test_steps_of_the_latent_gan_played_back_are_the_plain_ones(tmp_path: Path):
    """As one CUDA graph, a smaller batch and a resumed run among them; and nothing waits once it is recorded."""
    section, sizes = dict(MODELS["imnet_latent_gan"][0], type="imnet_latent_gan"), [3] * 5 + [2] + [3] * 6

    def trained(part: slice, name: str, *, played: bool, resume: bool = False) -> State:
        training: dict[str, Any] = {"optim": OptimConfig(learning_rate=1e-3), "record_steps": played}
        config = dataclasses.replace(tiny_config(tmp_path, tmp_path / name, **training), model=section)
        torch.manual_seed(0)
        state = initial_state(build_model(config.model, where="test").to(CUDA), config)
        run = RunDir(config.run_path)
        if resume:
            restore(state, config, run, device=CUDA)
        job: Any = SimpleNamespace(config=config, group=Group(0, 1, CUDA), tell=lambda line: None)
        steps = played_steps(state, job, lambda *given: take_turns(state, job, *given))
        assert (steps is not None) == played
        for count in sizes[part]:
            batch = random_batch("imnet_latent_gan", CUDA, shapes=count)
            with no_wait() if steps and steps.recorded else nullcontext():
                train_step(state, batch, job, weight=1.0, rate=1e-3, played=steps)
        assert not played or steps.recorded
        create_run(run, config=to_yaml(config), preparation={}, resume=resume)
        save(state, config, run, which="last", group=job.group)
        return state

    whole = trained(slice(None), "plain", played=False)
    unbroken = trained(slice(None), "whole", played=True)
    trained(slice(5), "parts", played=True)
    resumed = trained(slice(5, None), "parts", played=True, resume=True)
    for state in (unbroken, resumed):
        for name, value in whole.model.state_dict().items():
            torch.testing.assert_close(state.model.state_dict()[name], value, rtol=1e-4, atol=1e-6)


def test_a_mesh_of_a_gpu_is_the_cpu_s():
    def field(points_N3: torch.Tensor) -> torch.Tensor:
        x, y, z = points_N3.unbind(1)
        return 1.2 - (x - 0.03).abs() / 0.3 - (y + 0.02).abs() / 0.2 - (z - 0.01).abs() / 0.4

    here, there = (extract(field, iso_level=0.3, resolution=(64, 80, 96), device=device) for device in ("cpu", "cuda"))
    assert here.evaluations == there.evaluations
    np.testing.assert_array_equal(here.mesh.faces, there.mesh.faces)
    np.testing.assert_allclose(here.mesh.vertices, there.mesh.vertices, atol=1e-6)


@pytest.mark.parametrize("kind", ["closed", "holes", "thin"])
def test_insides_of_a_gpu_are_the_cpu_s(kind: str):
    solid = turned(box((-0.3, -0.2, -0.1), (0.25, 0.15, 0.3)))
    mesh = {
        "closed": solid,
        "holes": without_faces(ball(0.4, subdivisions=3), 60),
        "thin": joined(solid, turned(box((-0.4, 0, 0), (0.4, 1e-3, 1e-3)))),
    }[kind]
    settings = InsideConfig(lookup_resolution=32, decision_resolution=24)
    here, there = (occupancy_grid(mesh, 64, settings, device=device) for device in ("cpu", "cuda"))
    assert torch.equal(here.grid_RRR, there.grid_RRR.cpu()) and here.method == there.method
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (1000, 3))
    first, second = (inside_points(mesh, points, settings, device=device) for device in ("cpu", "cuda"))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_a_small_run_from_data_to_meshes(boxes: Path, tmp_path: Path, compiled: bool):
    """The commands themselves, on the device that `auto` takes; `training.compile` keeps the operators."""
    config = dataclasses.replace(on_gpu(boxes, tmp_path, compile=compiled, precision="tf32"), device="auto")
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(config))
    assert call(train.main, "--config", file) == 0
    assert call(generate.main, "--run", config.run_path, "--split", "test", "--resolution", 32) in (0, 2)
    assert load_run(RunDir(config.run_path), which="last").step == 15


def test_two_ranks_on_one_gpu_are_refused_by_name(boxes: Path, tmp_path: Path):
    config = dataclasses.replace(on_gpu(boxes, tmp_path), device="cuda:0")
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(config))
    words = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        ROOT / "train.py",
        "--config",
        file,
    ]
    ended = subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode != 0
    assert "device 'cuda:0': all 2 ranks" in ended.stderr


def test_a_data_set_of_a_gpu_is_the_cpu_s(tmp_path: Path):
    """Shapes side by side in one process; a file that holds no shape among them."""
    raw = write_boxes(tmp_path / "raw", bad=True)
    contents = Contents(levels=True, grids=(32, 128), boundary=BoundaryConfig(points=504))
    folders = {"cpu": tmp_path / "cpu", "cuda": tmp_path / "cuda"}
    for device, output in folders.items():
        assert prepare_folder(DataConfig(name="x", input=raw, output=output, contents=contents, device=device)) == 2
    same_as(folders["cpu"], folders["cuda"])
