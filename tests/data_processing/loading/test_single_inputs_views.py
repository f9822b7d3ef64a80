"""Pictures as inputs: of data sets of ours and of published files, of a user's picture, mesh or voxels."""

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from data_processing.formats.pictures import Picture
from data_processing.loading.batches import BatchPlan, LoadingConfig, ResidentShapes, StreamedShapes, recipe_of
from data_processing.loading.network_inputs import InputConfig, check_fields, observe
from data_processing.loading.single_inputs import FIXED, observe_file, observe_shape
from data_processing.preparation.config import DataConfig, config_of
from data_processing.preparation.contents import RenderingConfig
from data_processing.store.shape_set import ShapeSet, open_shapes
from isofield.runtime.config import build
from isofield.runtime.counter_random import keys_of
from tests.small_sets import write_published, write_viewed

VIEW = InputConfig("view")
SMALL = InputConfig("view", 32, view=2)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> ShapeSet:
    """Three boxes with four views of 40 pixels each."""
    return open_shapes(write_viewed(tmp_path_factory.mktemp("seen"), shapes=3, views=4, size=40))


@pytest.fixture(scope="module")
def config(shapes: ShapeSet) -> DataConfig:
    return config_of(shapes.settings)


def add_pixels(file: Path, rows: int, *, views: int = 24, size: int = 137, seed: int = 0, **options) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, views, size, size), dtype=np.uint8)
    with h5py.File(file, "r+") as content:
        content.create_dataset("pixels", data=pixels, **options)
    return pixels


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, np.ndarray]:
    path = write_published(tmp_path, train=3, test=1)
    chunks = {"chunks": (2, 5, 30, 30), "compression": "gzip"}
    train = add_pixels(path, 3, **chunks)
    return path, np.concatenate([train, add_pixels(path.with_name("boxes_test.hdf5"), 1, seed=1)])


# What a network is shown ----------------------------------------------------------------------------------------------


def test_the_usual_sizes():
    assert (VIEW.resolution, VIEW.view) == (128, 23)
    assert InputConfig().resolution == InputConfig("solid").resolution == 64
    assert InputConfig("view", 96).resolution == 96


def test_the_middle_of_one_view_in_grey(published: tuple[Path, np.ndarray]):
    """128 of 137 pixels from the fourth on, white 1 and black 0; test view 23 where it is fixed."""
    path, pixels = published
    shapes = open_shapes(path)
    for index in (0, 2, 3):
        observed = observe_shape(shapes, index, VIEW, seed=5)
        expected = pixels[index, 23, 4:132, 4:132].astype(np.float32) / 255
        assert observed.inputs.dtype == torch.float32 and observed.inputs.shape == (1, 128, 128)
        assert np.array_equal(observed.inputs[0].numpy(), expected)
        shown = observed.shown()
        assert isinstance(shown, Picture) and np.array_equal(shown.grey_HW, pixels[index, 23, 4:132, 4:132])
    other = observe_shape(shapes, 1, dataclasses.replace(VIEW, view=7), seed=5)
    assert np.array_equal(other.inputs[0].numpy() * 255, pixels[1, 7, 4:132, 4:132])


def test_the_last_view_where_there_are_fewer(shapes: ShapeSet):
    last = observe_shape(shapes, 1, dataclasses.replace(SMALL, view=23), seed=0)
    assert torch.equal(last.inputs, observe_shape(shapes, 1, dataclasses.replace(SMALL, view=3), seed=0).inputs)
    assert not torch.equal(last.inputs, observe_shape(shapes, 1, SMALL, seed=0).inputs)


def test_training_draws_every_view_and_validation_none(published: tuple[Path, np.ndarray]):
    """Over many epochs all 24 are met about as often, never the same for all shapes; in validation always number 23."""
    path, pixels = published
    shapes = open_shapes(path)
    recipe = recipe_of(shapes, 16, LoadingConfig(path, input=VIEW), seed=1)
    source = ResidentShapes(shapes, np.arange(3), recipe, device=torch.device("cpu"))
    streamed = StreamedShapes(shapes, recipe, device=torch.device("cpu"))
    draws = [BatchPlan(np.array([2, 0]), 0, 8, epoch=epoch) for epoch in [*range(240), FIXED]]
    middles = pixels[:, :, 4:132, 4:132]
    met = np.zeros((2, 24), int)
    for number, batch in enumerate(source.batches(draws)):
        assert batch.inputs.shape == (2, 1, 128, 128)
        for row, index in enumerate((2, 0)):
            picture = np.rint(batch.inputs[row, 0].numpy() * 255).astype(np.uint8)
            (view,) = np.flatnonzero((middles[index] == picture).all(axis=(1, 2)))
            if number < 240:
                met[row, view] += 1
            else:
                assert view == 23
    assert met.min() >= 2 and met.max() <= 24 and not np.array_equal(met[0], met[1])
    some = [*draws[:3], draws[-1]]
    for one, other in zip(source.batches(some), streamed.batches(some), strict=True):
        assert torch.equal(one.inputs, other.inputs)


def test_a_view_depends_on_the_shape_and_epoch_alone():
    pixels = torch.arange(5 * 24).view(5, 24, 1, 1).expand(5, 24, 8, 8).to(torch.uint8)
    section, keys = InputConfig("view", 8), keys_of([11, 12, 13, 14, 15])
    whole = observe({"pixels": pixels}, section, keys)
    for row in range(5):
        alone = observe({"pixels": pixels[row : row + 1]}, section, keys[row : row + 1])
        assert torch.equal(alone[0], whole[row])


# Data sets ------------------------------------------------------------------------------------------------------------


def test_published_pixels_are_fields_of_the_rows(published: tuple[Path, np.ndarray]):
    path, pixels = published
    shapes = open_shapes(path)
    assert shapes.layout.pictures == 24 and shapes.layout.picture_size == 137 and not shapes.layout.cameras
    for index in (3, 1, 0, 2):
        assert np.array_equal(shapes.packed_row(index)["pixels"], pixels[index])
        assert np.array_equal(shapes.packed_row(index, ["pixels"])["pixels"], pixels[index])


def test_published_files_without_pixels_in_both_have_none(tmp_path: Path):
    path = write_published(tmp_path, train=2, test=1)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"boxes_train\.hdf5.*pixels.*contents: \{rendering:"):
            observe_shape(open_shapes(path), 0, VIEW, seed=0)
        add_pixels(path, 2) if "pixels" not in h5py.File(path) else None
    assert open_shapes(path).layout.pictures == 0


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((2, 24, 137, 130), "u1", "24 .*130x137"),
        ((2, 137, 137), "u1", "'pixels': .*shape"),
        ((2, 24, 137, 137), "f4", "'pixels': .*uint8"),
        ((1, 24, 137, 137), "u1", "different numbers of rows"),
    ],
)
def test_published_pixels_that_are_not_as_published(tmp_path: Path, shape: tuple, dtype: str, message: str):
    path = write_published(tmp_path, train=2, test=1)
    with h5py.File(path, "r+") as file:
        file.create_dataset("pixels", data=np.zeros(shape, dtype))
    with pytest.raises(ValueError, match=message):
        open_shapes(path)


def test_a_data_set_without_views_says_how_to_render_them(prepared: Path, shapes: ShapeSet):
    with pytest.raises(ValueError, match=r"prepare --config FILE.*contents: \{rendering:"):
        check_fields(VIEW, open_shapes(prepared).layout, prepared)
    with pytest.raises(ValueError, match=r"data\.input.*128 pixels.*40"):
        check_fields(VIEW, shapes.layout, shapes.path)
    check_fields(SMALL, shapes.layout, shapes.path)


@pytest.mark.parametrize("wrong", [{"noise": 0.1}, {"crop": (0.1, 0.2)}, {"view": -1}, {"resolution": 33}])
def test_settings_that_make_no_sense(wrong: dict):
    with pytest.raises(ValueError, match=r"data\.input:"):
        InputConfig(**{"kind": "view", **wrong})


# A user's own file ----------------------------------------------------------------------------------------------------


def photo(path: Path, mode: str = "RGB") -> Path:
    image = Image.new("RGB", (90, 70), (250, 250, 250))
    image.paste((90, 60, 30), (20, 10, 60, 50))
    image.convert(mode).save(path)
    return path


def test_a_users_picture_is_cut_out_as_the_views_are(tmp_path: Path, config: DataConfig):
    observed = observe_file(photo(tmp_path / "x.jpg"), config, SMALL, name="x")
    assert observed.inputs.shape == (1, 32, 32) and observed.cut_out
    assert np.array_equal(observed.to_world, np.eye(4))
    assert _height(observed.inputs) == pytest.approx(RenderingConfig().fill * 40, abs=1.5)
    closer = dataclasses.replace(config, photo=dataclasses.replace(config.photo, fill=0.75))
    observed = observe_file(tmp_path / "x.jpg", closer, SMALL, name="x")
    assert _height(observed.inputs) == pytest.approx(0.75 * 40, abs=1.5)


def _height(inputs: torch.Tensor) -> int:
    """Rows of a picture in which something is seen."""
    return int(np.ptp(np.flatnonzero((inputs[0].numpy() < 0.8).any(axis=1)))) + 1


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".webp", ".bmp", ".tif"])
def test_pictures_of_a_run_whose_data_had_none_are_of_the_usual_size(tmp_path: Path, suffix: str):
    config = build(DataConfig, {"name": "published", "input": "."}, where="test")
    observed = observe_file(photo(tmp_path / f"x{suffix}"), config, VIEW, name="x")
    assert observed.inputs.shape == (1, 128, 128) and 0 < float(observed.inputs.min()) < 0.5


def test_a_users_mesh_is_seen_as_it_was_in_the_data_set(shapes: ShapeSet, config: DataConfig):
    source = shapes.source(2)
    assert source is not None
    observed = observe_file(source, config, SMALL, name=shapes.names[2])
    assert torch.equal(observed.inputs, observe_shape(shapes, 2, SMALL, seed=0).inputs) and observed.cut_out
    assert np.array_equal(observed.to_world, shapes.to_world(2))
    assert config.contents.rendering is not None
    elsewhere = dataclasses.replace(config.contents.rendering, folder=Path("nowhere"))
    contents = dataclasses.replace(config.contents, rendering=elsewhere)
    again = observe_file(source, dataclasses.replace(config, contents=contents), SMALL, name=shapes.names[2])
    assert torch.equal(again.inputs, observed.inputs)


def test_voxels_are_rendered_too(tmp_path: Path, config: DataConfig):
    voxels = np.zeros((20, 24, 28), np.uint8)
    voxels[3:9, 4:20, 5:16] = 1
    np.save(tmp_path / "part.npy", voxels)
    inputs = observe_file(tmp_path / "part.npy", config, SMALL, name="part").inputs
    assert 0.02 < float((inputs < 0.95).float().mean()) < 0.8


@pytest.mark.parametrize(
    ("kind", "shown"), [("voxels", "solids"), ("solid", "solids"), ("points", "points"), ("scan", "points")]
)
def test_a_picture_for_another_run_is_one_clear_error(tmp_path: Path, config: DataConfig, kind: str, shown: str):
    with pytest.raises(ValueError, match=rf"x\.png .*{shown}.*data\.input\.kind: view"):
        observe_file(photo(tmp_path / "x.png"), config, InputConfig(kind), name="x")


def test_a_cloud_for_a_run_on_pictures_is_one_clear_error(tmp_path: Path, config: DataConfig):
    np.save(tmp_path / "cloud.npy", np.random.default_rng(0).normal(size=(50, 3)))
    with pytest.raises(ValueError, match=r"cloud\.npy"):
        observe_file(tmp_path / "cloud.npy", config, SMALL, name="cloud")


@pytest.mark.parametrize("name", ["x.heic", "x.txt", "x.png", "x"])
def test_what_is_no_picture_is_one_clear_error(tmp_path: Path, config: DataConfig, name: str):
    (tmp_path / name).write_bytes(b"nothing to see")
    with pytest.raises(ValueError, match=name):
        observe_file(tmp_path / name, config, SMALL, name="x")
