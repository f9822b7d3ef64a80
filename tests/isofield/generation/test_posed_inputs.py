"""Poses: which there are, that they are exact, and that what the mean is asked for is what the network was shown."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from data_processing.formats.mesh_files import read_mesh
from data_processing.loading.network_inputs import InputConfig, marked
from data_processing.loading.poses import PoseConfig
from isofield import load
from isofield.commands.generate import main
from isofield.generation.posed_inputs import Pose, averaged_field, encode_poses, poses_of
from isofield.generation.surfaces import points_of
from tests.isofield.ready_runs import Echo, EchoConfig

POINTS = Path("pretrained/points")
CHAIR = "examples/chair/Scopia_62_Chair.ply"
ALL = PoseConfig(turn=90, mirror=("x", "z"))


def section(**others) -> InputConfig:
    return InputConfig("points", 16, offsets=True, **others)


@pytest.mark.parametrize(
    ("pose", "expected"),
    [
        (PoseConfig(), 1),
        (PoseConfig(mirror=("x",)), 2),
        (PoseConfig(mirror=("x", "z")), 4),
        (PoseConfig(turn=60), 1),
        (PoseConfig(turn=90), 3),  # as it stands, a quarter turn to the left, one to the right
        (PoseConfig(turn=180), 4),
        (ALL, 8),
    ],
)
def test_as_many_of_cells_as_training_has_drawn(pose: PoseConfig, expected: int):
    cells = InputConfig("solid", 16, pose=pose)
    poses = poses_of(cells, expected)
    assert len(set(poses)) == expected
    assert poses[0] == Pose((0, 1, 2), (1, 1, 1))
    with pytest.raises(ValueError, match=f"--poses {expected + 1}: this run was trained on .* alone .data.input.pose."):
        poses_of(cells, expected + 1)
    # Up stays up unless it was mirrored too.
    assert all(one.axes[1] == 1 and one.signs[1] == 1 for one in poses)


def test_mirror_images_are_none_where_training_only_turned():
    for pose in poses_of(InputConfig("solid", 16, pose=PoseConfig(turn=180)), 4):
        matrix = pose.points(torch.eye(3)).T
        assert torch.linalg.det(matrix) > 0.5


@pytest.mark.parametrize("count", [0, -1, 65])
def test_a_number_that_is_none(count: int):
    with pytest.raises(ValueError, match="--poses: expected 1 to 64, got"):
        poses_of(section(), count)


def test_a_picture_has_one():
    poses_of(InputConfig("view"), 1)
    with pytest.raises(ValueError, match="--poses 2: a picture is shown as it is"):
        poses_of(InputConfig("view"), 2)


def test_clouds_are_shifted_by_less_than_a_cell_and_differently():
    poses = poses_of(section(pose=ALL), 24)
    shifts = np.array([pose.shift for pose in poses]) * 16
    assert (shifts[0] == 0).all() and (np.abs(shifts) <= 0.5).all()
    assert len(set(poses)) == 24
    assert shifts.std(axis=0).min() > 0.2  # an even spread has 0.29


@pytest.mark.parametrize("pose", poses_of(InputConfig("solid", 4, pose=ALL), 8))
def test_cells_and_points_are_moved_alike(pose: Pose):
    """The cell of a moved point is the moved cell of the point."""
    points = torch.rand(200, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    plain = InputConfig("points", 16)
    seen = torch.ones(1, 200, dtype=torch.bool)
    cells = marked(points[None], seen, plain)[0]
    torch.testing.assert_close(pose.cells(cells), marked(pose.points(points)[None], seen, plain)[0], rtol=0, atol=0)


def test_the_first_pose_of_a_cloud_is_the_input_itself():
    run = load(POINTS, device="cpu")
    observed, _ = run._input(Path(CHAIR), part="", name="")
    points = torch.as_tensor(points_of(observed)).float()[None]
    again = marked(points, torch.ones(points.shape[:2], dtype=torch.bool), run.config.data.input)[0]
    torch.testing.assert_close(again, observed.inputs, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["points", "solid"])
def test_the_mean_of_a_model_that_sees_no_cells_is_its_field(kind: str):
    """A model whose field follows its input wherever that is shown has the same field in every pose."""
    given = InputConfig(kind, 16, pose=ALL)
    points = torch.rand(300, 3, generator=torch.Generator().manual_seed(2)) * 0.4 - 0.1
    inputs = marked(points[None], torch.ones(1, 300, dtype=torch.bool), InputConfig("points", 16))[0]
    model = Echo(EchoConfig())
    poses = poses_of(given, 8)
    if kind == "points":
        poses = [dataclasses.replace(pose, shift=(0.0, 0.0, 0.0)) for pose in poses]
    codes = encode_poses(
        model, inputs, points.numpy() if kind == "points" else None, given, poses, device=torch.device("cpu")
    )
    asked = torch.rand(500, 3, generator=torch.Generator().manual_seed(3)) - 0.5
    alone = model.decode(asked[None], model.encode(inputs[None]))[0]
    torch.testing.assert_close(averaged_field(model, codes, poses)(asked), alone)
    # And not by asking the first pose eight times.
    wrong = averaged_field(model, [codes[0]] * 8, poses)(asked)
    assert (wrong - alone).abs().max() > 0.1


def test_the_command_and_the_three_lines_give_the_same_mesh(tmp_path: Path):
    asked = ["--run", str(POINTS), "--input", CHAIR, "--resolution", "32", "--device", "cpu"]
    assert main([*asked, "--poses", "3", "--out", str(tmp_path / "three")]) == 0
    assert main([*asked, "--out", str(tmp_path / "one")]) == 0
    three, one = (tmp_path / name / "Scopia_62_Chair.ply" for name in ("three", "one"))
    assert three.read_bytes() != one.read_bytes()
    mesh, written = load(POINTS, device="cpu").reconstruct(CHAIR, resolution=32, poses=3), read_mesh(three)
    np.testing.assert_array_equal(mesh.vertices.astype(np.float32), written.vertices.astype(np.float32))
    np.testing.assert_array_equal(mesh.faces, written.faces)
    # Meshes of one pose, made before there were several, stand; those of three are others.
    with_poses, alone = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("three", "one"))
    assert with_poses["poses"] == 3 and "poses" not in alone


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--poses", "0"], "--poses: expected 1 to 64, got 0"),
        (["--poses", "2", "--fit-steps", "3"], "an encoder is fitted to an input as it stands"),
    ],
)
def test_one_error_before_any_work(more: list[str], message: str, tmp_path: Path):
    asked = ["--run", str(POINTS), "--input", CHAIR, "--out", str(tmp_path / "out"), *more]
    with pytest.raises(ValueError, match=message):
        main(asked)
    assert not (tmp_path / "out").exists()


def test_of_a_code_there_are_none():
    run = load(POINTS, device="cpu")
    with pytest.raises(ValueError, match="fit_steps, poses: a code is that of one input"):
        run.reconstruct(run.encode(CHAIR), poses=2, resolution=32)
    with pytest.raises(ValueError, match=r"poses: expected a whole number, got 2\.5"):
        run.reconstruct(CHAIR, poses=2.5, resolution=32)
