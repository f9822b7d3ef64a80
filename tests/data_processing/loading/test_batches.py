"""From a data set to batches: bits, points that wrap around, resident or streamed, categories."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from data_processing.loading.batches import (
    BatchPlan,
    LoadingConfig,
    Recipe,
    ResidentShapes,
    StreamedShapes,
    assemble,
    open_source,
    recipe_of,
    select_shapes,
    stack_rows,
    unpack_bits,
)
from data_processing.store.shape_set import ShapeSet, open_shapes

CPU = torch.device("cpu")
LEVELS = {16: 4096, 32: 4096, 64: 16384}
NAMES = {"train": ["chair/a", "chair/b", "table/a", "chair/c"], "test": ["table/b", "chair/d"]}
DRAWS = [BatchPlan(np.array(shapes), first, 700) for shapes, first in (([0, 3], 0), ([2], 3800), ([1, 0, 2], 100))] * 3


def published(split: str) -> dict[str, np.ndarray]:
    """Noise in the layout of the published files."""
    random, rows = np.random.default_rng(len(split)), len(NAMES[split])
    arrays = {"voxels": random.integers(0, 2, (rows, 64, 64, 64, 1), dtype=np.uint8)}
    for level, points in LEVELS.items():
        arrays[f"points_{level}"] = random.integers(0, 256, (rows, points, 3), dtype=np.uint8)
        arrays[f"values_{level}"] = random.integers(0, 2, (rows, points, 1), dtype=np.uint8)
    return arrays


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> ShapeSet:
    folder = tmp_path_factory.mktemp("noise")
    for split, names in NAMES.items():
        with h5py.File(folder / f"noise_{split}.hdf5", "w") as file:
            for key, values in published(split).items():
                file[key] = values
        (folder / f"noise_{split}.txt").write_text("\n".join(names))
    return open_shapes(folder)


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (2, 3, 4)])
def test_bits_unpack_as_numpy_does(shape: tuple[int, ...]):
    packed = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    ours = unpack_bits(torch.from_numpy(packed))
    assert ours.dtype == torch.uint8
    assert np.array_equal(ours.numpy(), np.unpackbits(packed, axis=-1))


def test_a_batch_is_what_the_files_hold(shapes: ShapeSet):
    indices = np.array([3, 1])
    (batch,) = ResidentShapes(shapes, np.arange(4), recipe_of(shapes, 32), device=CPU).batches(
        [BatchPlan(indices, 5, 100)]
    )
    raw = published("train")
    assert batch.inputs.shape == (2, 1, 64, 64, 64) and batch.inputs.dtype == torch.float32
    assert np.array_equal(batch.inputs[:, 0].numpy(), raw["voxels"][indices, ..., 0])
    assert np.array_equal(batch.values_BN.numpy(), raw["values_32"][indices, 5:105, 0])
    centres = (raw["points_32"][indices, 5:105].astype(np.float64) + 0.5) / 256 - 0.5
    assert np.allclose(batch.points_BN3.numpy(), centres, rtol=0, atol=1e-7)
    assert batch.shapes == (3, 1) and len(batch) == 2


def test_points_wrap_around_the_end(shapes: ShapeSet):
    raw = published("train")
    (batch,) = ResidentShapes(shapes, np.arange(4), recipe_of(shapes, 16), device=CPU).batches(
        [BatchPlan(np.array([2]), 4090, 10)]
    )
    assert np.array_equal(batch.values_BN[0].numpy(), raw["values_16"][2, [*range(4090, 4096), 0, 1, 2, 3], 0])
    packed = stack_rows(shapes, [2], ("voxels", "points_16", "values_16"))
    recipe = Recipe(shapes.names, shapes.layout, 16, LoadingConfig(Path("x")), seed=0)
    whole = assemble(packed, BatchPlan(np.array([2]), 0, 4096), recipe)
    assert torch.equal(batch.points_BN3[0, :6], whole.points_BN3[0, 4090:])
    assert torch.equal(batch.points_BN3[0, 6:], whole.points_BN3[0, :4])


def test_streamed_equals_resident(shapes: ShapeSet):
    resident = list(ResidentShapes(shapes, np.arange(4), recipe_of(shapes, 64), device=CPU).batches(DRAWS))
    streamed = list(StreamedShapes(shapes, recipe_of(shapes, 64), device=CPU).batches(iter(DRAWS)))
    assert len(resident) == len(streamed) == len(DRAWS)
    for a, b, draw in zip(resident, streamed, DRAWS, strict=True):
        assert a.shapes == b.shapes == tuple(draw.shapes)
        assert torch.equal(a.inputs, b.inputs) and torch.equal(a.values_BN, b.values_BN)
        assert torch.equal(a.points_BN3, b.points_BN3)


def test_a_stream_that_is_left_early_ends(shapes: ShapeSet):
    batches = StreamedShapes(shapes, recipe_of(shapes, 16), device=CPU).batches(iter(DRAWS))
    assert next(batches).shapes == (0, 3)
    batches.close()  # type: ignore[attr-defined]


def test_an_error_while_streaming_is_raised(shapes: ShapeSet):
    draws = [DRAWS[0], BatchPlan(np.array([99]), 0, 10)]
    with pytest.raises(IndexError, match="shape 99"):
        list(StreamedShapes(shapes, recipe_of(shapes, 16), device=CPU).batches(draws))


def test_residency_follows_the_budget(shapes: ShapeSet):
    need = 4 * recipe_of(shapes, 64).bytes_per_shape
    assert recipe_of(shapes, 64).bytes_per_shape == 32768 + 16384 * 3 + 2048
    kinds = {}
    for budget in (need / 1e9, (need - 1) / 1e9):
        section = LoadingConfig(Path("x"), memory_gb=budget)
        source, line = open_source(shapes, np.arange(4), level=64, device=CPU, section=section)
        kinds[budget] = type(source)
        assert ("resident on cpu" in line) == isinstance(source, ResidentShapes)
        assert ("streamed" in line) == isinstance(source, StreamedShapes)
    assert list(kinds.values()) == [ResidentShapes, StreamedShapes]


@pytest.mark.parametrize(
    ("resident", "memory_gb", "kind"),
    [("yes", 1e-9, ResidentShapes), ("no", 1.0, StreamedShapes), ("auto", None, ResidentShapes)],
)
def test_residency_can_be_told(shapes: ShapeSet, resident: str, memory_gb: float | None, kind: type):
    section = LoadingConfig(Path("x"), resident=resident, memory_gb=memory_gb)
    source, _ = open_source(shapes, np.arange(4), level=16, device=CPU, section=section)
    assert isinstance(source, kind)


def test_a_level_that_is_not_there_is_named(shapes: ShapeSet):
    with pytest.raises(ValueError, match=r"points.*128.*\[16, 32, 64\]"):
        open_source(shapes, np.arange(4), level=128, device=CPU, section=LoadingConfig(Path("x")))


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan")])
def test_a_budget_must_be_positive(budget: float):
    with pytest.raises(ValueError, match="memory_gb"):
        LoadingConfig(Path("x"), memory_gb=budget)


def test_categories_choose_shapes_of_a_split(shapes: ShapeSet):
    assert select_shapes(shapes, "train").tolist() == [0, 1, 2, 3]
    assert select_shapes(shapes, "train", ["table"]).tolist() == [2]
    assert select_shapes(shapes, "test", ["chair"]).tolist() == [5]
    assert select_shapes(shapes, "test", ["table", "chair"]).tolist() == [4, 5]
    with pytest.raises(ValueError, match=r"noise.*lamp.*chair, table"):
        select_shapes(shapes, "train", ["chair", "lamp"])
    with pytest.raises(ValueError, match="'val'"):
        select_shapes(shapes, "val")
