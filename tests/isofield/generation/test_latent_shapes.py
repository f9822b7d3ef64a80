"""New shapes and walks, by the command line: files, pictures, what is made again, and what a user may type wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image, ImageSequence

from isofield.commands import generate as generate_command
from tests.commands import status_of
from tests.isofield.ready_runs import make_run
from tests.isofield.training.test_frozen_codes import gan_config, run_training

COARSE = ("--resolution", "32", "--frame", "16", "--device", "cpu")


@pytest.fixture(scope="module")
def gan(boxes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GAN on the octahedra, whose size is the first number of the code."""
    folder = tmp_path_factory.mktemp("gan")
    run_training(gan_config(boxes, folder, make_run(boxes, folder / "initial")))
    return folder / "gan"


def generate(run: Path, *arguments: str | Path) -> int:
    """The exit status of `python generate.py`."""
    return status_of(generate_command.main, "--run", run, *COARSE, *arguments)


def rows_of(folder: Path) -> list[dict]:
    return json.loads((folder / "manifest.json").read_text())["shapes"]


def test_samples_by_seed(gan: Path, tmp_path: Path):
    first, again, more, other = (tmp_path / name for name in ("first", "again", "more", "other"))
    for folder, count, seed in ((first, 3, 5), (again, 3, 5), (more, 5, 5), (other, 3, 6)):
        assert generate(gan, "--samples", str(count), "--seed", str(seed), "--out", folder) == 0
        assert [row["name"] for row in rows_of(folder)] == [f"sample-{n:04d}" for n in range(count)]
    meshes = {folder: [(folder / f"sample-{n:04d}.ply").read_bytes() for n in range(3)] for folder in (first, again)}
    assert meshes[first] == meshes[again] == [(more / f"sample-{n:04d}.ply").read_bytes() for n in range(3)]
    assert len({*meshes[first], (other / "sample-0000.ply").read_bytes()}) == 4  # all differ
    assert trimesh.load_mesh(first / "sample-0001.ply").is_watertight
    with Image.open(more / "sheet.png") as picture:
        assert picture.size == (5 * 192, 192)


def test_another_seed_in_the_same_folder_leaves_nothing_of_the_first_in_the_manifest(gan: Path):
    folder = gan / "meshes" / "samples"
    assert generate(gan, "--samples", "4", "--seed", "1") == 0
    before = {row["name"]: row["origin"] for row in rows_of(folder)}
    assert json.loads((folder / "manifest.json").read_text())["seed"] == 1
    assert generate(gan, "--samples", "2", "--seed", "2") == 0
    after = {row["name"]: row["origin"] for row in rows_of(folder)}
    assert len(before) == 4 and set(after) == {"sample-0000", "sample-0001"}
    assert all(after[name] != before[name] for name in after)


def test_a_walk_goes_from_one_shape_to_the_other(gan: Path, boxes: Path):
    assert generate(gan, "--interpolate", "boxes/train00", "test01", "--steps", "5") == 0
    folder = gan / "meshes" / "train00-to-test01"
    sizes = [np.ptp(trimesh.load_mesh(folder / f"step-{n:03d}.ply").vertices[:, 0]) for n in range(5)]
    assert generate(gan, "--split", "test") == 0
    assert generate(gan, "--split", "train") == 0
    for name, size in (("train/boxes/train00", sizes[0]), ("test/boxes/test01", sizes[-1])):
        assert size == pytest.approx(np.ptp(trimesh.load_mesh(gan / "meshes" / f"{name}.ply").vertices[:, 0]), abs=1e-6)
    steps = np.diff(sizes)
    assert (steps > 0).all() or (steps < 0).all()
    np.testing.assert_allclose(steps, steps.mean(), rtol=0.05)  # the octahedron's size is linear in the code
    with Image.open(folder / "strip.png") as strip, Image.open(folder / "walk.gif") as walk:
        assert strip.size == (5 * 192, 192)
        assert sum(1 for _ in ImageSequence.Iterator(walk)) == 8  # there and back: the ends once


def test_a_walk_between_files(gan: Path, tmp_path: Path):
    box = np.zeros((64, 64, 64), dtype=np.uint8)
    box[10:30, 8:50, 20:40] = 1
    np.save(tmp_path / "one.npy", box)
    assert generate(gan, "--interpolate", str(tmp_path / "one.npy"), "boxes/test00", "--steps", "2") == 0
    assert len(rows_of(gan / "meshes" / "one-to-test00")) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--samples", "0"), "expected at least one, got 0"),
        (("--interpolate", "boxes/trian00", "boxes/test00"), "did you mean 'boxes/train00'"),
        (("--interpolate", "boxes/test00", "tset02"), "did you mean 'boxes/test02'"),
        (("--interpolate", "boxes/test00", "boxes/test01", "--steps", "1"), "expected at least 2"),
        (("--samples", "2", "--split", "test"), "not allowed with"),
    ],
)
def test_one_clear_error(gan: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str):
    assert generate(gan, *arguments) == 1
    errors = capsys.readouterr().err
    assert message in errors and "Traceback" not in errors


def test_a_model_that_makes_no_new_shapes(gan: Path, capsys: pytest.CaptureFixture[str]):
    assert generate(gan.parent / "initial" / "tiny", "--samples", "2") == 1
    assert "makes no new shapes" in capsys.readouterr().err


def test_the_autoencoder_walks_too(gan: Path):
    """A walk needs no GAN: codes that are one vector are enough."""
    run = gan.parent / "initial" / "tiny"
    assert generate(run, "--interpolate", "train00", "train01", "--steps", "3") == 0
    assert len(rows_of(run / "meshes" / "train00-to-train01")) == 3
