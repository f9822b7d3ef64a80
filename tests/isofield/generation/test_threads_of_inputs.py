"""A small mesh is prepared on one thread, by the command and from Python; its input has the same bits on any number."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

import isofield
from data_processing.loading.network_inputs import InputConfig
from data_processing.loading.single_inputs import observe_file
from data_processing.preparation.config import DataConfig
from isofield import api, registry
from isofield.generation import inputs
from isofield.runtime.compiled import sparing_kernels
from isofield.runtime.threads import threads_for_mesh
from tests.conftest import ROOT
from tests.isofield.tiny_field import TinyConfig, TinyField, ready_run

OPEN, CLOSED = "BlendSwap_CC_0_101_Chair", "KatorLegaz_51_Chair"


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    count = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(count)


@pytest.mark.parametrize("kind", ["voxels", "points"])
@pytest.mark.parametrize("name", [OPEN, CLOSED])
def test_an_input_has_the_same_bits_on_one_thread_and_on_three(tmp_path: Path, name: str, kind: str):
    file, shown = ROOT / "examples" / "chair" / f"{name}.ply", InputConfig(kind, 64, points=3000)
    config = DataConfig(name="mine", input=tmp_path)
    with sparing_kernels():
        on_three = observe_file(file, config, shown, name=name)
        with threads_for_mesh(0):
            on_one = observe_file(file, config, shown, name=name)
    assert on_three.inputs.any() and torch.equal(on_one.inputs, on_three.inputs)
    assert (on_one.to_world == on_three.to_world).all() and on_one.note == on_three.note


def test_both_doors_prepare_a_small_mesh_on_one_thread(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    threads: list[int] = []

    def watched(observe: Callable[..., Any]) -> Callable[..., Any]:
        def observed(*arguments: Any, **options: Any) -> Any:
            threads.append(torch.get_num_threads())
            return observe(*arguments, **options)

        return observed

    monkeypatch.setitem(registry.MODELS, "tiny_field", (TinyConfig, TinyField))
    monkeypatch.setattr(inputs, "observe_file", watched(inputs.observe_file))
    monkeypatch.setattr(api, "observe_in_memory", watched(api.observe_in_memory))
    run = isofield.load(ready_run(prepared, tmp_path, section=InputConfig("solid", 32), model="tiny_field").path)
    box = trimesh.creation.box((1.0, 2.0, 3.0))
    box.export(tmp_path / "box.ply")
    run.encode(tmp_path / "box.ply")  # as generate.py --input
    run.encode(box)
    assert threads == [1, 1] and torch.get_num_threads() == 3
    run.encode(np.ones((8, 8, 8), dtype=bool))
    assert threads == [1, 1, 3]
