"""What is named after a preparation can be trained on it."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from data_processing.preparation.config import DataConfig
from data_processing.preparation.next_step import train_command
from isofield.runtime.config import build, read_yaml
from isofield.runtime.shipped import find_config


def config_of(text: str) -> DataConfig:
    return build(DataConfig, {"input": "raw", **yaml.safe_load(text)}, where="test")


def shipped(name: str) -> DataConfig:
    return build(DataConfig, read_yaml(name), where=name)


@pytest.mark.parametrize(
    ("data", "train"), [("data/demo", "demo"), ("data/demo_organs", "demo_organs"), ("data/meshes", "imnet/small")]
)
def test_a_shipped_data_config_goes_with_a_shipped_training(data: str, train: str):
    assert train_command(shipped(data)) == f"isofield train --config {train}"


ORGANS = "kind: labels, labels: {structures: [{name: a, labels: [1]}]}"
BOUNDARY = "boundary: {sigmas: [0.1, 0.01], points: 1000}"


@pytest.mark.parametrize(
    ("text", "train"),
    [
        ("{name: mine}", "imnet/small"),
        (f"{{name: mine, contents: {{levels: false, surface: {{}}, {BOUNDARY}}}}}", "ifnet/small_points_3000"),
        (f"{{name: mine, contents: {{levels: false, grids: [32], {BOUNDARY}}}}}", "ifnet/small_voxels_32"),
        (f"{{name: mine, {ORGANS}, contents: {{levels: false, grids: [64], {BOUNDARY}}}}}", "ifnet/small_organs"),
    ],
)
def test_others_are_trained_by_their_contents(text: str, train: str):
    words = shlex.split(train_command(config_of(text)))
    assert words == ["isofield", "train", "--config", train, "--set", "name=mine", "data.path=datasets/mine"]
    data: dict[str, Any] = read_yaml(find_config(train))
    assert "init_from" not in data["model"]


@pytest.mark.parametrize("contents", ["{levels: false, voxels: 64}", "{levels: true, voxels: 0}"])
def test_contents_that_no_config_trains_on_name_none(contents: str):
    assert train_command(config_of(f"{{name: mine, contents: {contents}}}")).endswith("isofield configs")


def test_a_folder_with_blanks_is_quoted():
    config = config_of("{name: mine, output: my data/set}")
    assert "'data.path=my data/set'" in train_command(config) and config.folder == Path("my data/set")
