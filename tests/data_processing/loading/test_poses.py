"""Turned and stretched shapes: how far, the same for what is shown and what is asked, and only in training."""

import numpy as np
import pytest
import torch

from data_processing.loading.network_inputs import InputConfig, observe, pose_of, seen_points
from data_processing.loading.poses import PoseConfig, mirrored_cells, posed_cells, posed_points, poses
from isofield.runtime.counter_random import keys_of
from tests.plain_ways import grid_centres

SIZE = 40
SECTION = PoseConfig(turn=25.0, stretch=0.1)


def inside(points: torch.Tensor) -> torch.Tensor:
    """An ellipsoid off the middle with a quarter cut out: no turn of it is itself."""
    x, y, z = points.unbind(-1)
    body = (x / 0.32) ** 2 + (y / 0.22) ** 2 + ((z - 0.05) / 0.16) ** 2 < 1
    return body & ~((x > 0.05) & (y > 0))


def cells() -> torch.Tensor:
    return inside(grid_centres(SIZE)).view(1, SIZE, SIZE, SIZE).to(torch.uint8)


def packed(count: int = 2) -> dict[str, torch.Tensor]:
    bits = np.packbits(cells().numpy().reshape(1, -1), axis=1).repeat(count, axis=0)
    points = torch.from_numpy(np.random.default_rng(0).integers(-9000, 9000, (count, 300, 3), dtype=np.int16))
    return {f"grid_{SIZE}": torch.from_numpy(bits), "surface_points": points}


def observed_by_cells(section: InputConfig) -> torch.Tensor:
    return posed_cells(cells().expand(8, -1, -1, -1), pose_of(section, keys_of(range(8))))


def test_turned_by_at_most_so_much_and_stretched_along_the_axes_of_the_cube():
    found = poses(SECTION, keys_of(range(300)))
    lengths = torch.linalg.norm(found, dim=1)  # of the images of the axes
    assert 0.9 <= lengths.min() < 0.905 and 1.095 < lengths.max() <= 1.1
    turns = found / lengths[:, None]
    assert torch.allclose(turns @ turns.transpose(1, 2), torch.eye(3).double(), atol=1e-6)
    assert torch.allclose(torch.linalg.det(turns), torch.ones(300).double(), atol=1e-6)
    angles = torch.rad2deg(torch.acos(((turns.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1)))
    assert angles.max() <= 25.001
    assert np.allclose(np.quantile(angles, [0.25, 0.5, 0.75]), [6.25, 12.5, 18.75], atol=2.5)
    everywhere = poses(PoseConfig(turn=180.0), keys_of(range(300)))
    half_turns = torch.rad2deg(torch.acos(((everywhere.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1)))
    assert half_turns.max() > 175 and abs(float(half_turns.median()) - 90) < 15


def test_half_of_the_samples_are_mirrored_along_each_named_axis_and_cells_exactly():
    section = PoseConfig(mirror=("x", "z"))
    found, stored = poses(section, keys_of(range(200))), cells().expand(200, -1, -1, -1)
    signs = found.diagonal(dim1=1, dim2=2)
    assert torch.equal(found, torch.diag_embed(signs)) and torch.equal(signs.abs(), torch.ones_like(signs))
    shares = (signs < 0).double().mean(0)
    assert shares[1] == 0 and abs(shares[0] - 0.5) < 0.1 and abs(shares[2] - 0.5) < 0.1
    assert 0.15 < ((signs[:, 0] < 0) & (signs[:, 2] < 0)).double().mean() < 0.35  # each on its own
    posed = posed_cells(stored, found)
    assert torch.equal(mirrored_cells(stored, found), posed)
    network = InputConfig("solid", SIZE, pose=section)
    assert torch.equal(observe(packed(8), network, keys_of(range(8)))[:, 0].byte(), observed_by_cells(network))
    for shown, sign, mask in zip(posed[:8], signs.tolist(), stored, strict=False):
        assert torch.equal(shown, mask.flip([axis for axis in range(3) if sign[axis] < 0]))
    assert bool(section) and not PoseConfig()


@pytest.mark.parametrize("section", [SECTION, PoseConfig(turn=25.0, stretch=0.1, mirror=("x", "y", "z"))])
def test_cells_are_where_the_points_are(section: PoseConfig):
    keys = keys_of(range(8))
    pose, stored = poses(section, keys), cells().expand(8, -1, -1, -1)
    posed = posed_cells(stored, pose)
    index = ((posed_points(grid_centres(SIZE).expand(8, -1, -1), pose) + 0.5) * SIZE).floor().long()
    within = ((index >= 0) & (index < SIZE)).all(2)
    x, y, z = index.clamp(0, SIZE - 1).unbind(2)
    row, expected = torch.arange(8)[:, None], inside(grid_centres(SIZE))
    wrong, unmoved = ((there[row, x, y, z] != expected)[within].float().mean() for there in (posed, stored))
    assert wrong < 0.004 and unmoved > 3 * wrong  # of the grid: cells of the surface are rounded
    volumes = posed.flatten(1).sum(1) / cells().sum()
    assert torch.allclose(volumes.double(), torch.linalg.det(pose).abs(), rtol=0.02)


def test_a_whole_turn_of_a_quarter_moves_cells_exactly_and_what_leaves_the_grid_is_lost():
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]).double()[None]
    assert torch.equal(posed_cells(cells(), quarter)[0], cells()[0].flip(1).transpose(0, 1))
    assert torch.equal(posed_cells(cells(), torch.eye(3).double()[None]), cells())
    full = torch.ones_like(cells())
    assert torch.equal(posed_cells(full, 1.5 * torch.eye(3).double()[None]), full)
    smaller = posed_cells(full, 0.5 * torch.eye(3).double()[None])
    assert int(smaller.sum()) == (SIZE // 2) ** 3  # nothing is inside beyond the grid


@pytest.mark.parametrize("kind", ["solid", "deformed", "points"])
def test_in_training_what_is_shown_is_posed_and_in_validation_not(kind: str):
    section, keys = InputConfig(kind, SIZE, points=0, pose=SECTION), keys_of([1, 2])
    plain = InputConfig(kind, SIZE, points=0)
    posed, stored = observe(packed(), section, keys), observe(packed(), plain, keys)
    assert torch.equal(observe(packed(), section, keys, fixed=True), stored)
    assert all(not torch.equal(a, b) for a, b in zip(posed, stored, strict=True))
    if kind == "points":
        expected = posed_points(seen_points(packed(), plain, keys)[0], pose_of(section, keys))
        assert torch.equal(seen_points(packed(), section, keys)[0], expected)
    elif kind == "solid":
        assert torch.equal(posed[:, 0], posed_cells(cells().expand(2, -1, -1, -1), pose_of(section, keys)).float())


def test_a_key_means_one_pose_in_any_batch_and_another_key_another():
    keys = keys_of(range(4))
    together = posed_cells(cells().expand(4, -1, -1, -1), poses(SECTION, keys))
    for number in range(4):
        assert torch.equal(posed_cells(cells(), poses(SECTION, keys[number : number + 1]))[0], together[number])
        assert number == 0 or not torch.equal(together[number], together[0])


@pytest.mark.parametrize("wrong", [{"turn": -1.0}, {"turn": 181.0}, {"stretch": 0.6}, {"stretch": float("nan")}])
def test_settings_that_make_no_sense_are_refused(wrong: dict):
    with pytest.raises(ValueError, match=r"data\.input\.pose: turn.*\[0, 180\]"):
        PoseConfig(**wrong)
    with pytest.raises(ValueError, match=r"data\.input\.pose: .*kind: view"):
        InputConfig("view", pose=SECTION)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_poses_as_the_cpu_does():
    keys = keys_of(range(8))
    there, here = poses(SECTION, keys.cuda()), poses(SECTION, keys)
    assert torch.equal(there.cpu(), here)
    masks = cells().expand(8, -1, -1, -1)
    assert torch.equal(posed_cells(masks.cuda(), there).cpu(), posed_cells(masks, here))
