"""The worked example of "Add a model" keeps the contract, learns, and makes a mesh; the page shows its very lines."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from data_processing.batch import Batch
from isofield.commands import generate, train
from isofield.extraction.isosurface import extract
from isofield.registry import MODELS, build_model
from tests.commands import call
from tests.conftest import ROOT

FILE = ROOT / "docs" / "how-to" / "tiny_occupancy.py"
CONFIG, PAGE = FILE.with_suffix(".yaml"), FILE.parent / "add-a-model.md"


@pytest.fixture
def tiny() -> Iterator[ModuleType]:
    """The file, imported as Python imports a script; the registry is left as it was."""
    before = dict(MODELS)
    spec = importlib.util.spec_from_file_location("tiny_occupancy", FILE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    MODELS.clear()
    MODELS.update(before)


def test_the_page_shows_the_files_as_they_are():
    text = PAGE.read_text(encoding="utf-8")
    for kind, file in (("python", FILE), ("yaml", CONFIG)):
        assert f"```{kind}\n{file.read_text(encoding='utf-8')}```\n" in text


def test_it_learns_a_box(tiny: ModuleType):
    """An off-centre box with three different sides: the loss falls far, and the mesh has its extent."""
    torch.manual_seed(0)
    low, high = torch.tensor([-0.3, -0.2, -0.4]), torch.tensor([0.1, 0.3, 0.35])
    points = torch.rand(1, 4096, 3) - 0.5
    values = ((points > low) & (points < high)).all(2).float()
    voxels = torch.zeros(1, 1, 64, 64, 64)
    voxels[..., 13:38, 19:51, 6:54] = 1
    batch = Batch(voxels, points, values, (0,))
    model = build_model({"type": "tiny_occupancy", "width": 32}, where="test")
    (parameters,) = model.players().values()
    assert {id(p) for p in parameters} == {id(p) for p in model.parameters()}
    optimiser = torch.optim.Adam(parameters, 5e-3)
    for step in range(400):
        ((_, logged),) = model.losses(batch)
        optimiser.zero_grad()
        logged["loss"].backward()
        assert step or all(p.grad is not None and p.grad.abs().sum() > 0 for p in parameters)
        optimiser.step()
    assert logged["loss"].item() < 0.1
    with torch.no_grad():
        code = model.encode(voxels)
        mesh = extract(
            lambda points: model.decode(points[None], code)[0], resolution=64, iso_level=model.iso_level, device="cpu"
        ).mesh
    assert torch.allclose(torch.from_numpy(mesh.vertices.min(0)).float(), low, atol=0.06)
    assert torch.allclose(torch.from_numpy(mesh.vertices.max(0)).float(), high, atol=0.06)


def test_its_config_goes_through_the_commands(tiny: ModuleType, boxes: Path, tmp_path: Path):
    settings = [
        f"data.path={boxes}",
        f"runs={tmp_path}",
        "device=cpu",
        "training.max_steps=2",
        "training.batch_shapes=2",
    ]
    settings.append("training.validation={pictures: 0}")
    assert call(train.main, "--config", CONFIG, "--set", *settings) == 0
    words = ("--run", tmp_path / "tiny_occupancy", "--split", "test", "--resolution", 16, "--device", "cpu")
    assert call(generate.main, *words) in (0, 2)  # two steps may draw nothing, and say so
    assert (tmp_path / "tiny_occupancy" / "meshes" / "test" / "manifest.json").is_file()
