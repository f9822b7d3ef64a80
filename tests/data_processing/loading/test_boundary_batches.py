"""Batches of points near the surface: labels, shares, and what decides about what is drawn."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from data_processing.batch import Batch
from data_processing.geometry.coordinates import from_fixed, transform_points
from data_processing.loading.batches import (
    BatchPlan,
    LoadingConfig,
    ResidentShapes,
    StreamedShapes,
    check_contents,
    open_source,
    recipe_of,
    shared_out,
)
from data_processing.loading.network_inputs import InputConfig, pose_of
from data_processing.loading.poses import PoseConfig, posed_cells, posed_points
from data_processing.store.shape_set import ShapeSet, open_shapes
from tests.small_sets import box_corners, write_published

CPU = torch.device("cpu")
STORED = 2000  # points of each of the two sigmas
CLOUD = InputConfig("points", 32, points=100, noise=0.01)


@pytest.fixture(scope="module")
def shapes(prepared: Path) -> ShapeSet:
    return open_shapes(prepared)


def section(**settings: object) -> LoadingConfig:
    return LoadingConfig(Path("x"), **{"input": CLOUD, **settings})


def batch_of(shapes: ShapeSet, draw: BatchPlan, *, seed: int = 0, **settings: object) -> Batch:
    recipe = recipe_of(shapes, "boundary", section(**settings), seed=seed)
    source = ResidentShapes(shapes, np.arange(len(shapes)), recipe, device=CPU)
    (batch,) = source.batches([draw])
    return batch


def equal(a: Batch, b: Batch) -> bool:
    same = [torch.equal(getattr(a, key), getattr(b, key)) for key in ("inputs", "points_BN3", "values_BN")]
    return all(same) and a.shapes == b.shapes and a.is_padding == b.is_padding


def test_labels_are_those_of_the_box_and_both_sides_are_seen(shapes: ShapeSet):
    """Held against the corners of the meshes themselves, in their own frame."""
    order = np.array([3, 0, 4])
    batch = batch_of(shapes, BatchPlan(order, 0, 3000))
    assert batch.points_BN3.dtype == batch.values_BN.dtype == torch.float32 and batch.shapes == (3, 0, 4)
    for index, points, values in zip(order, batch.points_BN3.numpy(), batch.values_BN.numpy(), strict=True):
        lower, upper = box_corners(shapes.names[index].split("/")[1])
        world = transform_points(points, shapes.to_world(index))
        clearance = np.minimum(world - lower, upper - world).min(1)
        sure = np.abs(clearance) > 1e-6
        assert np.array_equal(clearance[sure] > 0, values[sure] > 0.5) and sure.mean() > 0.99
        assert 0.2 < values.mean() < 0.8


@pytest.mark.parametrize(("shares", "expected"), [((), [0.5, 0.5]), ((1, 3), [0.25, 0.75]), ((0, 2), [0, 1])])
def test_each_sigma_gives_its_share(shapes: ShapeSet, shares: tuple[float, ...], expected: list[float]):
    stored = from_fixed(torch.from_numpy(shapes.packed_row(1)["boundary_points"])).numpy()
    wide = {tuple(point) for point in stored[:STORED].tolist()}
    batch = batch_of(shapes, BatchPlan(np.array([1]), 0, 1000), shares=shares)
    drawn = [tuple(point) for point in batch.points_BN3[0].tolist()]
    assert set(drawn) <= {tuple(point) for point in stored.tolist()}
    assert sum(point in wide for point in drawn) == expected[0] * 1000
    assert len(set(drawn)) > 700  # with replacement: few twice, none never


def test_points_are_posed_with_what_is_shown_but_not_in_validation(shapes: ShapeSet):
    posed = InputConfig("solid", 32, pose=PoseConfig(turn=30.0, stretch=0.1))
    plain, draw = InputConfig("solid", 32), BatchPlan(np.arange(4), 0, 2000)
    batch, stored = (batch_of(shapes, draw, input=each) for each in (posed, plain))
    assert torch.equal(batch.values_BN, stored.values_BN)
    pose = pose_of(posed, recipe_of(shapes, "boundary", section(input=posed)).keys(draw, "input", CPU))
    assert torch.equal(batch.points_BN3, posed_points(stored.points_BN3, pose))
    assert torch.equal(batch.inputs[:, 0].byte(), posed_cells(stored.inputs[:, 0].byte(), pose))
    assert (batch.points_BN3 - stored.points_BN3).abs().amax((1, 2)).min() > 0.01
    validation = dataclasses.replace(draw, epoch=-1)
    assert equal(batch_of(shapes, validation, input=posed), batch_of(shapes, validation, input=plain))


def test_any_number_of_points_can_be_drawn_and_all_are_reached(shapes: ShapeSet):
    batch = batch_of(shapes, BatchPlan(np.array([2]), 0, 50_000))
    assert batch.points_BN3.shape == (1, 50_000, 3)
    assert len({tuple(point) for point in batch.points_BN3[0].tolist()}) > 0.995 * 2 * STORED


def test_what_is_drawn_depends_on_seed_shape_and_epoch_alone(shapes: ShapeSet):
    draw = BatchPlan(np.array([4, 1, 2]), 0, 300, epoch=5)
    batch = batch_of(shapes, draw)
    for place, index in enumerate(draw.shapes):
        alone = batch_of(shapes, BatchPlan(np.array([index]), 0, 300, epoch=5))
        for key in ("inputs", "points_BN3", "values_BN"):
            assert torch.equal(getattr(alone, key)[0], getattr(batch, key)[place])
    for other in (batch_of(shapes, dataclasses.replace(draw, epoch=6)), batch_of(shapes, draw, seed=1)):
        for place in range(3):
            assert not torch.equal(other.points_BN3[place], batch.points_BN3[place])
            assert not torch.equal(other.inputs[place], batch.inputs[place])
    assert equal(batch, batch_of(shapes, draw))


@pytest.mark.parametrize("kind", ["points", "scan", "solid", "deformed"])
def test_streamed_equals_resident(shapes: ShapeSet, kind: str):
    data = section(input=InputConfig(kind, 16, points=100, noise=0.01, crop=(0.1, 0.3)))
    draws = [BatchPlan(np.array(order), 0, 200, epoch) for epoch in range(3) for order in ([0, 3], [2], [4, 1])]
    indices = np.array([4, 0, 2, 3, 1])
    resident = ResidentShapes(shapes, indices, recipe_of(shapes, "boundary", data, seed=3), device=CPU).batches(draws)
    streamed = StreamedShapes(shapes, recipe_of(shapes, "boundary", data, seed=3), device=CPU).batches(draws)
    assert all(equal(a, b) for a, b in zip(resident, streamed, strict=True))


def test_a_batch_of_padding_says_so(shapes: ShapeSet):
    assert not batch_of(shapes, BatchPlan(np.array([0]), 0, 8)).is_padding
    assert batch_of(shapes, BatchPlan(np.array([0]), 0, 8, is_padding=True)).is_padding


def test_bytes_of_a_shape_are_those_of_its_fields(shapes: ShapeSet):
    boundary = 2 * STORED * 3 * 2 + 2 * STORED // 8
    assert (
        recipe_of(shapes, "boundary", section(input=InputConfig("solid", 32))).bytes_per_shape == 32**3 // 8 + boundary
    )
    assert (
        recipe_of(shapes, "boundary", section(input=InputConfig("scan", 32))).bytes_per_shape
        == 1024 * 6 + 1024 + boundary
    )
    source, line = open_source(
        shapes, np.arange(5), level="boundary", device=CPU, section=section(resident="no"), seed=0
    )
    assert isinstance(source, StreamedShapes) and line.startswith("level boundary: 5 shapes")


@pytest.mark.parametrize(
    ("level", "settings", "message"),
    [
        (16, {}, r"level 16.*\[\]"),
        ("boundary", {"input": InputConfig("solid", 64)}, "grid_64"),
        ("boundary", {"input": InputConfig()}, "voxels"),
        ("boundary", {"shares": (1.0,)}, r"\[0.1, 0.01\], .*\[1.0\]"),
    ],
)
def test_what_the_data_set_lacks_is_named(shapes: ShapeSet, level, settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        check_contents(shapes, level, section(**settings))


def test_a_published_set_has_no_points_near_the_surface(tmp_path: Path):
    published = open_shapes(write_published(tmp_path, train=1, test=1))
    with pytest.raises(ValueError, match=r"\[16, 32, 64\]"):
        check_contents(published, "boundary", LoadingConfig(Path("x")))


@pytest.mark.parametrize("shares", [(-1.0, 2.0), (0.0, 0.0), (float("nan"), 1.0), (float("inf"), 1.0)])
def test_shares_that_make_no_sense_are_refused(shares: tuple[float, ...]):
    with pytest.raises(ValueError, match=r"data\.shares"):
        LoadingConfig(Path("x"), shares=shares)


@pytest.mark.parametrize("total", [0, 1, 7, 50_000])
@pytest.mark.parametrize("shares", [(1, 1), (1, 2, 3), (0.5, 0.0, 0.5), (1e-9, 1)])
def test_shares_add_up(total: int, shares: tuple[float, ...]):
    counts = shared_out(total, shares)
    assert sum(counts) == total and min(counts) >= 0
    assert all(abs(count - total * share / sum(shares)) < 1 for count, share in zip(counts, shares, strict=True))
