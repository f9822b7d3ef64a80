"""What the network is shown: marking, one-sided scans, noise, cropping, deformation; what decides about it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from data_processing.geometry.coordinates import from_fixed, to_fixed
from data_processing.loading.mask_deformation import DeformationConfig, deform
from data_processing.loading.network_inputs import (
    InputConfig,
    check_fields,
    fields_of,
    mark,
    mark_offsets,
    observe,
    plain_input,
    seen_points,
)
from data_processing.store.shards import Layout
from isofield.runtime.counter_random import keys_of
from isofield.runtime.seeds import seed_of

SHAPES, STORED, VIEWS, GRID = 6, 400, 16, 16


def keys(epoch: int = 0, count: int = SHAPES) -> torch.Tensor:
    return keys_of(seed_of(0, f"shape {number}", "input", epoch) for number in range(count))


def packed() -> dict[str, torch.Tensor]:
    """Rows with noise in every field, but for the grid: off-centre boxes."""
    random = np.random.default_rng(0)
    grids = np.zeros((SHAPES, GRID, GRID, GRID), np.uint8)
    for number in range(SHAPES):
        grids[number, 2 : 9 + number, 3:11, 5 : 8 + number // 2] = 1
    return {
        "grid_16": torch.from_numpy(np.packbits(grids.reshape(SHAPES, -1), axis=1)),
        "surface_points": torch.from_numpy(to_fixed(random.uniform(-0.45, 0.45, (SHAPES, STORED, 3)))),
        "surface_visible": torch.from_numpy(random.integers(0, 256, (SHAPES, STORED, VIEWS // 8), dtype=np.uint8)),
    }


def grids() -> torch.Tensor:
    bits = np.unpackbits(packed()["grid_16"].numpy(), axis=1)
    return torch.from_numpy(bits.reshape(SHAPES, 1, GRID, GRID, GRID)).float()


def one_side(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether a plane parts two sets of points (N, 3)."""
    rows = np.vstack([np.hstack([a, np.ones((len(a), 1))]), -np.hstack([b, np.ones((len(b), 1))])])
    return linprog(np.zeros(4), A_ub=rows, b_ub=-np.ones(len(rows)), bounds=(None, None)).status == 0


@pytest.mark.parametrize("resolution", [7, 10])
def test_a_point_marks_the_cell_that_holds_it(resolution: int):
    """Three different coordinates, an odd grid, anywhere in the cell: the index says itself where the centre lies."""
    cell = torch.tensor([[5, 1, 3], [0, 6, 2]])
    centre = (cell + 0.5) / resolution - 0.5
    for offset in (-0.49, 0.0, 0.49):
        marked = mark(centre[:, None] + offset / resolution, torch.ones(2, 1, dtype=torch.bool), resolution)
        assert marked.shape == (2, 1, *[resolution] * 3) and marked.dtype == torch.float32
        assert torch.equal(marked.nonzero()[:, [0, 2, 3, 4]], torch.cat([torch.arange(2)[:, None], cell], 1))
        assert marked.sum() == 2


def test_points_at_and_beyond_the_border_mark_its_cells():
    points = torch.tensor([[[0.5, -0.5, 0.499], [0.7, -0.8, 0.0]]])
    marked = mark(points, torch.ones(1, 2, dtype=torch.bool), 8)
    assert marked.nonzero().tolist() == [[0, 0, 7, 0, 4], [0, 0, 7, 0, 7]]


def test_what_is_not_seen_marks_nothing():
    points = torch.tensor([[[0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [-0.3, 0.0, 0.4]]])
    marked = mark(points, torch.tensor([[False, True, False]]), 8)
    assert marked.sum() == 1 and marked[0, 0, 4, 5, 6] == 1


def test_offsets_are_the_mean_places_of_points_in_their_cells():
    """By a plain loop over points; what is not seen counts for nothing, and the order of points does not matter."""
    random, resolution = np.random.default_rng(3), 6
    points = torch.from_numpy(random.uniform(-0.55, 0.55, (2, 300, 3))).float()
    seen = torch.from_numpy(random.random((2, 300)) < 0.7)
    offsets = mark_offsets(points, seen, resolution)
    assert offsets.shape == (2, 3, *[resolution] * 3) and offsets.dtype == torch.float32
    expected, counts = np.zeros((2, 3, *[resolution] * 3)), np.zeros((2, *[resolution] * 3))
    for shape, row in enumerate(points.double().numpy()):
        for point in row[seen[shape].numpy()]:
            cell = tuple(np.clip(np.floor((point + 0.5) * resolution), 0, resolution - 1).astype(int))
            centre = (np.array(cell) + 0.5) / resolution - 0.5
            expected[(shape, slice(None), *cell)] += np.clip((point - centre) * 2 * resolution, -1, 1)
            counts[(shape, *cell)] += 1
    expected /= np.maximum(counts, 1)[:, None]
    np.testing.assert_allclose(offsets, expected, atol=1 / 1024)
    assert counts.max() > 2 and (counts == 0).any()
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mark_offsets(points[:, order], seen[:, order], resolution), offsets)


def test_offsets_follow_the_marks():
    section, plain = InputConfig("points", 16, points=50, offsets=True), InputConfig("points", 16, points=50)
    inputs = observe(packed(), section, keys())
    assert inputs.shape == (SHAPES, 4, 16, 16, 16)
    assert torch.equal(inputs[:, :1], observe(packed(), plain, keys()))
    assert torch.equal(inputs[:, 1:], mark_offsets(*seen_points(packed(), section, keys()), 16))
    with pytest.raises(ValueError, match="offsets are those of points"):
        InputConfig("solid", 16, offsets=True)
    # Fingerprints of inputs that were there before offsets stay as they are.
    assert "offsets" not in plain_input(plain) and plain_input(section)["offsets"]


def test_a_solid_is_its_grid():
    assert torch.equal(observe(packed(), InputConfig("solid", GRID), keys()), grids())


@pytest.mark.parametrize("wanted", [0, 30, STORED])
def test_points_are_different_stored_ones(wanted: int):
    points, seen = seen_points(packed(), InputConfig("points", 32, points=wanted), keys())
    assert points.shape == (SHAPES, wanted or STORED, 3) and seen.all()
    stored = from_fixed(packed()["surface_points"])
    for row, all_of_them in zip(points.tolist(), stored.tolist(), strict=True):
        drawn = {tuple(point) for point in row}
        assert len(drawn) == (wanted or STORED) and drawn <= {tuple(point) for point in all_of_them}


@pytest.mark.parametrize("wanted", [0, 60, STORED])
def test_a_scan_is_what_one_camera_sees(wanted: int):
    """Without a limit on points the marks are those of the points that one camera sees, all of them, and no other."""
    visible = np.unpackbits(packed()["surface_visible"].numpy(), axis=2).astype(bool)
    stored = from_fixed(packed()["surface_points"])
    used = set()
    for epoch in range(40):
        section = InputConfig("scan", 32, points=wanted)
        points, seen = seen_points(packed(), section, keys(epoch))
        for shape in range(SHAPES):
            row = {tuple(point) for point in points[shape][seen[shape]].tolist()}
            by_camera = [{tuple(p) for p in stored[shape][visible[shape, :, v]].tolist()} for v in range(VIEWS)]
            cameras = [v for v in range(VIEWS) if row <= by_camera[v]]
            assert len(cameras) == 1
            used.add(cameras[0])
            expected = len(by_camera[cameras[0]])
            assert len(row) == (min(wanted, expected) if wanted else expected)
        assert torch.equal(observe(packed(), section, keys(epoch)), mark(points, seen, 32))
    assert used == set(range(VIEWS))


def test_clouds_show_from_the_fewest_to_all_of_their_points():
    """Small numbers more often than large ones, anew in each epoch, and some of those that are shown without it."""
    section, full = InputConfig("points", 32, points=400, fewest=30), InputConfig("points", 32, points=400)
    counts = []
    for epoch in range(200):
        points, seen = seen_points(packed(), section, keys(epoch))
        assert torch.equal(points, seen_points(packed(), full, keys(epoch))[0])
        counts += seen.sum(1).tolist()
    counts_N = np.array(counts)
    assert counts_N.min() >= 30 and counts_N.max() <= 400
    # The square of a uniform number u: a mean of a third of the range, and half of the numbers below a quarter.
    assert abs(counts_N.mean() - (30 + 370 / 3)) < 15 and abs((counts_N < 30 + 370 / 4).mean() - 0.5) < 0.06
    assert counts_N.min() < 32 and counts_N.max() > 390
    # Validation and generation show as many as they are told.
    assert seen_points(packed(), section, keys(), fixed=True)[1].sum(1).tolist() == [400] * SHAPES
    assert observe(packed(), section, keys())[0].sum() < observe(packed(), section, keys(), fixed=True)[0].sum()


def test_noise_moves_points_by_its_sigma():
    still, _ = seen_points(packed(), InputConfig("points", 32, points=0), keys())
    moved, _ = seen_points(packed(), InputConfig("points", 32, points=0, noise=0.02), keys())
    step = (moved - still).flatten() / 0.02
    assert abs(float(step.mean())) < 0.06 and abs(float(step.std()) - 1) < 0.05
    other, _ = seen_points(packed(), InputConfig("points", 32, points=0, noise=0.02), keys(1))
    assert not torch.equal(moved, other)


def test_some_clouds_are_noisy_each_by_a_sigma_of_its_own():
    """A share of training's clouds, up to the noise that is named; validation and generation show none."""
    many = {"surface_points": packed()["surface_points"][:1].expand(300, -1, -1)}
    section = InputConfig("points", 32, points=0, noise=0.02, noisy=0.25)
    still, _ = seen_points(many, InputConfig("points", 32, points=0), keys(count=300))
    moved, _ = seen_points(many, section, keys(count=300))
    sigma_S = (moved - still).flatten(1).std(dim=1) / 0.02
    noisy = sigma_S > 0
    assert abs(float(noisy.float().mean()) - 0.25) < 0.08
    assert float(sigma_S[noisy].min()) < 0.2 and 0.9 < float(sigma_S[noisy].max()) < 1.05
    assert abs(float(sigma_S[noisy].mean()) - 0.5) < 0.1
    assert torch.equal(seen_points(many, section, keys(count=300), fixed=True)[0], still)


def test_noise_flips_its_share_of_cells():
    noisy = observe(packed(), InputConfig("solid", GRID, noise=0.1), keys())
    share = (noisy != grids()).flatten(1).float().mean(1)
    assert ((share - 0.1).abs() < 5 * (0.09 / GRID**3) ** 0.5).all() and ((noisy == 0) | (noisy == 1)).all()


def test_cropping_a_cloud_takes_what_lies_beyond_a_plane():
    section = InputConfig("points", 32, points=0, crop=(0.2, 0.6))
    points, seen = seen_points(packed(), section, keys())
    whole, _ = seen_points(packed(), InputConfig("points", 32, points=0), keys())
    assert torch.equal(points, whole) and not seen.all(1).any() and seen.any(1).all()
    for shape in range(SHAPES):
        assert one_side(points[shape][seen[shape]].numpy(), points[shape][~seen[shape]].numpy())


def test_cropping_a_solid_takes_what_lies_beyond_a_plane_and_nothing_else():
    cropped = observe(packed(), InputConfig("solid", GRID, crop=(0.3, 0.3)), keys())
    assert (cropped <= grids()).all()
    for after, before in zip(cropped[:, 0], grids()[:, 0], strict=True):
        kept, gone = after.nonzero().numpy(), (before - after).nonzero().numpy()
        assert len(kept) and len(gone) and one_side(kept, gone)


def test_the_cropped_share_is_of_the_extent():
    """Of a ball that loses 0.3 of its diameter, a cap of 0.216 of its volume goes, whatever the direction."""
    axis = (torch.arange(32) + 0.5) / 32 - 0.5
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    ball = ((x - 0.05).square() + y.square() + (z + 0.02).square() < 0.4**2).numpy()
    bits = torch.from_numpy(np.packbits(ball.reshape(1, -1), axis=1)).expand(40, -1)
    cropped = observe({"grid_32": bits}, InputConfig("solid", 32, crop=(0.3, 0.3)), keys(count=40))
    lost = 1 - cropped.flatten(1).sum(1) / ball.sum()
    assert ((lost - 0.216).abs() < 0.02).all() and lost.std() > 1e-4  # directions differ
    shares = observe({"grid_32": bits}, InputConfig("solid", 32, crop=(0.0, 0.5)), keys(count=40))
    lost = 1 - shares.flatten(1).sum(1) / ball.sum()
    assert lost.min() < 0.03 and 0.3 < lost.max() < 0.52


def test_noise_beyond_the_plane_is_cropped_too():
    """The plane is that of the shape without noise; beyond it nothing is left."""
    clean = observe(packed(), InputConfig("solid", GRID, crop=(0.4, 0.4)), keys())
    noisy = observe(packed(), InputConfig("solid", GRID, crop=(0.4, 0.4), noise=0.3), keys())
    for after, cropped, before in zip(noisy[:, 0], clean[:, 0], grids()[:, 0], strict=True):
        gone = (before - cropped).nonzero().numpy()
        assert one_side(after.nonzero().numpy(), gone)


def test_a_deformed_input_is_a_deformed_grid():
    section = InputConfig(
        "deformed", GRID, deform=DeformationConfig(modes=("add",), add_margin=2, threshold=(0.5, 0.6))
    )
    shown = observe(packed(), section, keys())
    assert (shown >= grids()).all() and not torch.equal(shown, grids())
    assert torch.equal(shown, observe(packed(), section, keys()))
    none = InputConfig("deformed", GRID, deform=DeformationConfig(modes=("none",)))
    assert torch.equal(observe(packed(), none, keys()), grids())
    other = DeformationConfig(modes=("add",), add_margin=2, threshold=(0.9, 0.9))
    assert deform(grids()[:, 0].byte(), other, keys()).sum() < shown.sum()  # the section's own settings count


def test_shares_of_finer_cells_are_shown():
    cells = grids()[:, 0]
    for kind in ("solid", "deformed"):
        deform_off = DeformationConfig(modes=("none",))
        shown = observe(packed(), InputConfig(kind, GRID // 2, finer=2, deform=deform_off), keys())
        assert torch.equal(shown, torch.nn.functional.avg_pool3d(cells[:, None], 2))
    assert ((shown > 0) & (shown < 1)).any()
    section = InputConfig("deformed", GRID // 2, finer=2, noise=0.01, crop=(0.1, 0.5))
    fine = InputConfig("deformed", GRID, noise=0.01, crop=(0.1, 0.5))
    pooled = torch.nn.functional.avg_pool3d(observe(packed(), fine, keys()), 2)
    assert torch.equal(observe(packed(), section, keys()), pooled)  # all that is done to it is done to the finer grid
    for wrong in ({"finer": 0}, {"kind": "points", "finer": 2}):
        with pytest.raises(ValueError, match=r"data\.input:"):
            InputConfig(**wrong)


SECTIONS = {
    "points": InputConfig("points", 32, points=50, noise=0.01, crop=(0.1, 0.5)),
    "some points": InputConfig("points", 32, points=50, fewest=10),
    "some noisy": InputConfig("points", 32, points=50, noise=0.01, noisy=0.5),
    "scan": InputConfig("scan", 32, points=50, noise=0.01, crop=(0.1, 0.5)),
    "solid": InputConfig("solid", GRID, noise=0.01, crop=(0.1, 0.5)),
    "deformed": InputConfig("deformed", GRID, noise=0.01, crop=(0.1, 0.5)),
}


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_a_key_shows_the_same_in_any_batch_and_another_epoch_another(section: InputConfig):
    whole = observe(packed(), section, keys())
    assert whole.shape == (SHAPES, 1, *[section.resolution] * 3) and whole.dtype == torch.float32
    for shape in range(SHAPES):
        alone = {key: value[shape : shape + 1] for key, value in packed().items()}
        assert torch.equal(observe(alone, section, keys()[shape : shape + 1])[0], whole[shape])
    later = observe(packed(), section, keys(1))
    assert all(not torch.equal(a, b) for a, b in zip(whole, later, strict=True))


def test_each_kind_names_its_fields():
    names = {kind: fields_of(InputConfig(kind, 32)) for kind in ("solid", "deformed", "points", "scan")}
    assert names == {
        "solid": ("grid_32",),
        "deformed": ("grid_32",),
        "points": ("surface_points",),
        "scan": ("surface_points", "surface_visible"),
    }
    assert fields_of(InputConfig()) == ("voxels",)
    assert fields_of(InputConfig("solid", 32, finer=2)) == ("grid_64",)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (InputConfig("solid", 128), "grid_128.*grid_16"),
        (InputConfig("scan", 32), "surface_visible"),
        (
            InputConfig("voxels", 32),
            r"32\^3, .*64\^3; .*kind: solid",
        ),
        (InputConfig("points", 32, points=2001), "2001 points, 2000 "),
    ],
)
def test_what_a_data_set_does_not_hold_is_named(section: InputConfig, message: str):
    with pytest.raises(ValueError, match=message):
        check_fields(section, Layout(grids=(16,), surface_points=2000), Path("set"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"resolution": 7}, "resolution"),
        ({"resolution": -2}, "resolution"),
        ({"points": -1}, "points"),
        ({"noise": -0.1}, "noise"),
        ({"noise": float("nan")}, "noise"),
        ({"noise": 1.0}, "noise"),
        ({"kind": "points", "noise": 0.01, "noisy": 0.0}, "noisy is a share above 0"),
        ({"kind": "points", "noise": 0.01, "noisy": 1.5}, "noisy is a share above 0"),
        ({"kind": "points", "noisy": 0.5}, "noisy .* 0.5 with noise 0.0"),
        ({"noise": 0.1, "noisy": 0.5}, "noisy .* of kind solid"),
        ({"crop": (0.5, 0.2)}, r"crop .*\[0, 1\)"),
        ({"crop": (0.0, 1.0)}, "crop"),
        ({"fewest": 100}, "fewest is for points and scan"),
        ({"kind": "points", "points": 300, "fewest": 301}, "fewest .* 301 of 300"),
        ({"kind": "points", "fewest": -1}, "fewest"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict, message: str):
    with pytest.raises(ValueError, match=message):
        InputConfig(**{"kind": "solid", **wrong})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_a_gpu_shows_what_the_cpu_shows(section: InputConfig):
    there = {key: value.cuda() for key, value in packed().items()}
    assert torch.equal(observe(there, section, keys().cuda()).cpu(), observe(packed(), section, keys()))
