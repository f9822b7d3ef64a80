"""Labelled scans: an item for each structure and part, meshes in millimetres, masks on the scan's own grid."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from data_processing.formats.mesh_files import read_mesh
from data_processing.loading.network_inputs import InputConfig
from data_processing.preparation.config import DataConfig
from data_processing.preparation.job import prepare_folder
from isofield import registry
from isofield.commands import generate
from isofield.run_dir import RunDir
from isofield.runtime.config import build
from tests.commands import call
from tests.data_processing.scan_files import body, save
from tests.isofield.ready_runs import Echo, EchoConfig
from tests.isofield.tiny_field import ready_run

ORGANS = {"liver/{}": 5, "kidney/{}-left": 2, "kidney/{}-right": 2}
STRUCTURES = [{"name": "liver", "labels": [5]}, {"name": "kidney", "labels": [2], "components": 2, "mirror": "right"}]


@pytest.fixture
def organs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A run on the parts of two scans, whose model gives back the cells it was shown."""
    values, affine = body()
    for name in ("one", "two"):
        save(tmp_path / "raw" / f"{name}.nii.gz", values, affine)
    settings = {
        "name": "organs",
        "input": tmp_path / "raw",
        "output": tmp_path / "set",
        "kind": "labels",
        "labels": {"structures": STRUCTURES, "keep_partial": True},
        "contents": {"voxels": 0, "levels": False, "grids": [64], "boundary": {"points": 80}},
        "splits": {"rule": "ratios", "ratios": {"train": 1.0, "val": 0.0, "test": 0.0}},
        "workers": 1,
    }
    assert prepare_folder(build(DataConfig, settings, where="test")) == 0
    monkeypatch.setitem(registry.MODELS, "echo", (EchoConfig, Echo))
    section = InputConfig("deformed", 64)
    return ready_run(tmp_path / "set", tmp_path / "runs", section=section, model="echo")


def run_command(run: RunDir, *arguments: object) -> int:
    return call(generate.main, "--run", run.path, "--device", "cpu", "--resolution", 64, *arguments)


def rows(folder: Path) -> dict[str, dict]:
    return {row["name"]: row for row in json.loads((folder / "manifest.json").read_text())["shapes"]}


def expected_of(name: str) -> np.ndarray:
    """The voxels of a part in the scan: x grows towards the right in RAS."""
    values, affine = body()
    mask = values == (5 if name.startswith("liver") else 2)
    x = (np.arange(values.shape[0]) * affine[0, 0] + affine[0, 3])[:, None, None]
    if name.startswith("kidney"):
        mask = mask & ((x > 0) if name.endswith("right") else (x < 0))
    return mask


def check(folder: Path, stem: str) -> None:
    """Each part came back: its mask on the grid of the scan, its mesh in millimetres around the same place."""
    _, affine = body()
    found = rows(folder)
    for pattern in ORGANS:
        row = found[name := pattern.format(stem)]
        image: Any = nibabel.load(folder / row["mask_file"])
        mask, expected = np.asanyarray(image.dataobj) > 0, expected_of(name)
        assert row["mask_file"] == f"{name}_recon.nii.gz"
        assert mask.shape == expected.shape and np.allclose(image.affine, affine)
        assert 2 * (mask & expected).sum() / (mask.sum() + expected.sum()) > 0.95, name
        corners = np.argwhere(expected) @ affine[:3, :3].T + affine[:3, 3]
        lower, upper = read_mesh(folder / row["file"]).bounds()
        assert np.abs(lower - corners.min(0)).max() < 2.5 and np.abs(upper - corners.max(0)).max() < 2.5


def test_a_users_scan_is_an_item_for_each_part(organs: RunDir, tmp_path: Path):
    values, affine = body()
    scan = save(tmp_path / "mine" / "case.nii.gz", values, affine)
    assert run_command(organs, "--input", scan) == 0
    folder = organs.meshes("input")
    assert set(rows(folder)) == {pattern.format("case") for pattern in ORGANS}
    check(folder, "case")


def test_a_missing_structure_is_a_row_and_the_others_are_made(organs: RunDir, tmp_path: Path):
    values, affine = body()
    scan = save(tmp_path / "mine" / "case.nii.gz", np.where(values == 5, 0, values).astype(np.uint8), affine)
    (tmp_path / "mine" / "cut.nii.gz").write_bytes(scan.read_bytes()[:300])
    assert run_command(organs, "--input", scan, tmp_path / "mine" / "cut.nii.gz") == 2
    found = rows(organs.meshes("input"))
    done = {name for name, row in found.items() if row["status"] == "done"}
    assert done == {"kidney/case-left", "kidney/case-right"} and len(found) == 6
    assert "case.nii.gz" in found["liver/case"]["reason"] and "cut.nii.gz" in found["liver/cut"]["reason"]


def test_parts_of_a_split_come_back_on_the_grids_of_their_scans(organs: RunDir):
    config = organs.config_file.read_text()
    organs.config_file.write_text(config.replace("kind: deformed", "kind: solid"))
    assert run_command(organs, "--split", "train") == 0
    assert len(rows(organs.meshes("train"))) == 6
    check(organs.meshes("train"), "two")


def test_a_split_whose_scans_are_gone_still_gives_meshes(organs: RunDir, tmp_path: Path):
    for file in (tmp_path / "raw").iterdir():
        file.unlink()
    assert run_command(organs, "--split", "train") == 0
    assert all("mask_file" not in row and row["status"] == "done" for row in rows(organs.meshes("train")).values())
