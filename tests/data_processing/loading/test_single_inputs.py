"""One shape as the network sees it: of a data set as in validation, of a user's file as the data set was prepared."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from data_processing.formats.point_clouds import PointCloud, write_cloud
from data_processing.geometry.coordinates import transform_points, voxel_index
from data_processing.geometry.triangle_mesh import TriangleMesh, is_watertight
from data_processing.loading.batches import BatchPlan, LoadingConfig, ResidentShapes, recipe_of
from data_processing.loading.mask_deformation import DeformationConfig
from data_processing.loading.network_inputs import InputConfig
from data_processing.loading.single_inputs import (
    FIXED,
    as_given,
    cell_boxes,
    observe_file,
    observe_in_memory,
    observe_shape,
)
from data_processing.preparation.config import DataConfig, config_of
from data_processing.store.shape_set import ShapeSet, open_shapes
from isofield.runtime.config import build
from tests.data_processing.solids import box
from tests.small_sets import box_corners

SECTIONS = {
    "solid": InputConfig("solid", 16, noise=0.02),
    "deformed": InputConfig("deformed", 16, deform=DeformationConfig(add_margin=3, threshold=(0.5, 0.5))),
    "points": InputConfig("points", 32, points=100, noise=0.02),
    "scan": InputConfig("scan", 32, points=100, crop=(0.1, 0.3)),
}


@pytest.fixture(scope="module")
def shapes(prepared: Path) -> ShapeSet:
    return open_shapes(prepared)


@pytest.fixture(scope="module")
def config(shapes: ShapeSet) -> DataConfig:
    return config_of(shapes.settings)


def mesh_file(shapes: ShapeSet, index: int) -> Path:
    source = shapes.source(index)
    assert source is not None
    return source


def plain_config(**settings: object) -> DataConfig:
    return build(DataConfig, {"name": "x", "input": "x", **settings}, where="test")


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_a_stored_shape_is_shown_as_validation_sees_it(shapes: ShapeSet, section: InputConfig):
    data = LoadingConfig(Path("x"), input=section)
    source = ResidentShapes(
        shapes, np.arange(5), recipe_of(shapes, "boundary", data, seed=9), device=torch.device("cpu")
    )
    (batch,) = source.batches([BatchPlan(np.array([3, 1]), 0, 8, epoch=FIXED)])
    observed = observe_shape(shapes, 3, section, seed=9)
    assert torch.equal(observed.inputs, batch.inputs[0])
    assert np.array_equal(observed.to_world, shapes.to_world(3)) and observed.scan is None
    assert not torch.equal(observe_shape(shapes, 3, section, seed=8).inputs, batch.inputs[0])


@pytest.mark.parametrize("kind", SECTIONS)
def test_a_users_mesh_is_shown_as_it_was_when_it_was_in_the_data_set(shapes: ShapeSet, config: DataConfig, kind: str):
    section = dataclasses.replace(SECTIONS[kind], points=0)
    observed = observe_file(mesh_file(shapes, 2), config, section, name=shapes.names[2])
    assert np.array_equal(observed.to_world, shapes.to_world(2))
    if kind != "scan":
        assert torch.equal(observed.inputs, observe_shape(shapes, 2, as_given(section), seed=0).inputs)
    else:  # which camera depends on the seeds of the data and of the training
        whole = observe_shape(shapes, 2, InputConfig("points", 32, points=0), seed=0).inputs
        assert (observed.inputs <= whole).all() and 0.2 < observed.inputs.sum() / whole.sum() < 0.8


def test_where_points_are_shown_nobody_asks_what_is_inside(tmp_path: Path):
    """A mesh without an inside, by the config's own test: solids of it are refused, its surface is shown."""
    config = plain_config(inside={"method": "scan"})
    whole = box((1, 2, 3), (2, 4, 6))
    open_mesh = TriangleMesh(whole.vertices, whole.faces[1:])
    file = tmp_path / "open.ply"
    trimesh.Trimesh(open_mesh.vertices, open_mesh.faces, process=False).export(file)
    points, solid = InputConfig("points", 16, points=0), InputConfig("solid", 16)
    with pytest.raises(ValueError, match="open parts"):
        observe_file(file, config, solid, name="open")
    shown = observe_file(file, config, points, name="open")
    assert shown.note == "" and np.diag(shown.to_world).tolist() == pytest.approx([3 / 0.9] * 3 + [1])
    given = observe_in_memory(open_mesh, config, points, name="open", where="a mesh")
    assert torch.equal(given.inputs, shown.inputs) and shown.inputs.sum() > 100
    # What the config carves first, or has in the cube already, is held to that.
    with pytest.raises(ValueError, match="open parts"):
        observe_file(file, plain_config(inside={"method": "scan"}, carve=True), points, name="open")
    with pytest.raises(ValueError, match=r"open\.ply: reaches .*normalisation\.by=longest_edge"):
        observe_file(file, plain_config(normalisation={"by": "none"}), points, name="open")


def test_nothing_random_is_done_to_a_users_file():
    given = as_given(InputConfig("deformed", 32, noise=0.1, crop=(0.1, 0.2), points=7))
    assert (given.kind, given.noise, given.crop, given.points, given.resolution) == ("solid", 0.0, (0.0, 0.0), 7, 32)
    assert [as_given(InputConfig(kind)).kind for kind in ("voxels", "points", "scan")] == ["voxels", "points", "scan"]


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_what_is_shown_is_what_the_network_gets(shapes: ShapeSet, section: InputConfig):
    """The mesh or cloud marks exactly the cells of the input, in cube coordinates."""
    observed = observe_shape(shapes, 1, section, seed=0)
    shown = observed.shown()
    cells = observed.inputs[0]
    if isinstance(shown, PointCloud):
        assert section.kind in ("points", "scan") and len(shown.points_N3) <= 100
        x, y, z = voxel_index(torch.from_numpy(shown.points_N3).float(), len(cells)).T
        marked = torch.zeros_like(cells)
        marked[x, y, z] = 1
        assert torch.equal(marked, cells)
    else:
        triangles = shown.triangles()
        volume = np.einsum("ni,ni->", triangles[:, 0], np.cross(triangles[:, 1], triangles[:, 2])) / 6
        assert volume == pytest.approx(float(cells.sum()) / len(cells) ** 3)


def test_cells_as_boxes():
    """Two off-centre boxes of cells that touch along an edge, and one at the border of the grid."""
    cells = np.zeros((8, 8, 8), bool)
    cells[1:4, 2:7, 3:5] = True
    cells[7, 0, 0] = True
    mesh = cell_boxes(cells)
    assert is_watertight(mesh) and len(mesh.faces) == 2 * (2 * (3 * 5 + 3 * 2 + 5 * 2) + 6)
    lower, upper = cell_boxes(np.where(np.arange(8)[:, None, None] == 7, False, cells)).bounds()
    assert np.allclose(lower, np.array([1, 2, 3]) / 8 - 0.5) and np.allclose(upper, np.array([4, 7, 5]) / 8 - 0.5)
    assert trimesh.Trimesh(mesh.vertices, mesh.faces).volume == pytest.approx((30 + 1) / 8**3)
    assert len(np.unique(mesh.vertices, axis=0)) == len(mesh.vertices)
    touching = np.zeros((4, 4, 4), bool)
    touching[1, 1, 1] = touching[2, 2, 1] = True
    assert trimesh.Trimesh(*_parts(cell_boxes(touching))).volume == pytest.approx(2 / 64)
    assert len(cell_boxes(np.zeros((4, 4, 4), bool)).faces) == 0


def _parts(mesh: TriangleMesh) -> tuple[np.ndarray, np.ndarray]:
    return mesh.vertices, mesh.faces


@pytest.mark.parametrize("suffix", [".ply", ".npy", ".xyz"])
def test_a_users_cloud_is_normalised_as_the_data_were(tmp_path: Path, config: DataConfig, suffix: str):
    """Box and cloud of the same corners lie alike; all points are shown where there are few."""
    lower, upper = box_corners("cloud")
    random = np.random.default_rng(0)
    points = random.uniform(lower, upper, (80, 3))
    points[:2] = lower, upper
    file = tmp_path / f"mine{suffix}"
    if suffix == ".ply":
        write_cloud(file, PointCloud(points))
    elif suffix == ".npy":
        np.save(file, points)
    else:
        np.savetxt(file, points)
    observed = observe_file(file, config, InputConfig("points", 32, points=100), name="mine")
    assert observed.note == "80 points, fewer than the 100 that the network knows"
    for enough in (InputConfig("points", 32, points=100, fewest=80), InputConfig("points", 32, points=0)):
        assert observe_file(file, config, enough, name="mine").note == ""
    trimesh.creation.box(bounds=[lower, upper]).export(tmp_path / "box.stl")
    box = observe_file(tmp_path / "box.stl", config, InputConfig("solid", 32), name="box")
    assert np.allclose(observed.to_world, box.to_world, atol=1e-4)
    inside_cube = transform_points(points, np.linalg.inv(observed.to_world))
    expected = torch.zeros(32, 32, 32)
    expected[tuple(voxel_index(torch.from_numpy(inside_cube).float(), 32).T)] = 1
    changed = int((observed.inputs[0] != expected).sum())
    assert changed == 0 if suffix != ".ply" else changed <= 2  # .ply keeps float32
    shown = observed.shown()
    assert isinstance(shown, PointCloud) and len(shown.points_N3) == 80
    assert np.allclose(transform_points(shown.points_N3, observed.to_world), points, atol=1e-4)


def test_of_many_points_as_many_are_shown_as_in_training(tmp_path: Path, config: DataConfig):
    points = np.random.default_rng(0).normal(size=(5000, 3))
    np.save(tmp_path / "many.npy", points)
    section = InputConfig("scan", 64, points=300)
    observed = observe_file(tmp_path / "many.npy", config, section, name="many")
    shown = observed.shown()
    assert isinstance(shown, PointCloud) and len({tuple(p) for p in shown.points_N3.tolist()}) == 300
    again = observe_file(tmp_path / "many.npy", config, section, name="many")
    assert torch.equal(again.inputs, observed.inputs)
    assert (
        observe_file(tmp_path / "many.npy", config, dataclasses.replace(section, points=0), name="x").inputs.sum()
        > 2000
    )


def test_noise_that_a_run_does_not_know_is_told_and_taken_out_where_asked(tmp_path: Path):
    """A run that learned from noise is shown the file as it is, and so is one that nobody told to smooth."""
    random = np.random.default_rng(0)
    sphere = random.normal(size=(4000, 3))
    sphere *= 900 / np.linalg.norm(sphere, axis=1, keepdims=True)
    write_cloud(tmp_path / "clean.ply", PointCloud(sphere))
    write_cloud(tmp_path / "noisy.ply", PointCloud(sphere + random.normal(0, 18, sphere.shape)))  # 1 % of the edge
    section, settings = InputConfig("points", 32, points=3000), {"normalisation": {"by": "longest_edge", "length": 0.9}}
    keeps, config = plain_config(**settings), plain_config(**settings, cloud={"noise": "smooth"})

    def shown(name: str, config: DataConfig, section: InputConfig = section) -> tuple[np.ndarray, str]:
        observed = observe_file(tmp_path / f"{name}.ply", config, section, name="sphere")
        cloud = observed.shown()
        assert isinstance(cloud, PointCloud) and len(cloud.points_N3) == 3000
        return cloud.points_N3, observed.note

    moved, note = shown("noisy", config)
    kept, told = shown("noisy", keeps)
    assert note == "noise of some 0.9% of the longest edge: points were moved onto planes of their neighbours"
    assert told.startswith("noise of some 0.9% of the longest edge, or ") and "--set cloud.noise=smooth" in told
    assert np.abs(moved - kept).max() > 0.01
    off_moved, off_kept = (np.linalg.norm(points, axis=1).std() for points in (moved, kept))
    assert off_moved < 0.65 * off_kept
    learned, nothing = shown("noisy", config, dataclasses.replace(section, noise=0.01))
    assert nothing == "" and np.array_equal(learned, kept)
    clean, nothing = shown("clean", config)
    assert nothing == "" and np.array_equal(clean, shown("clean", keeps)[0])


def test_voxels_serve_where_points_are_shown(tmp_path: Path, config: DataConfig):
    """An off-centre box of voxels: its surface is sampled, on all sides."""
    voxels = np.zeros((20, 24, 28), np.uint8)
    voxels[3:9, 4:20, 5:16] = 1
    np.save(tmp_path / "part.npy", voxels)
    observed = observe_file(tmp_path / "part.npy", config, InputConfig("points", 32, points=1000), name="part")
    shown = observed.shown()
    assert isinstance(shown, PointCloud)
    extent = np.ptp(shown.points_N3, axis=0)
    assert np.allclose(extent / extent[1], np.array([6, 16, 11]) / 16, atol=0.03)


@pytest.mark.parametrize("kind", ["solid", "voxels", "deformed"])
def test_a_cloud_for_a_run_on_solids_is_one_clear_error(tmp_path: Path, config: DataConfig, kind: str):
    np.save(tmp_path / "cloud.npy", np.random.default_rng(0).normal(size=(50, 3)))
    with pytest.raises(ValueError, match=r"cloud\.npy .*solids"):
        observe_file(tmp_path / "cloud.npy", config, InputConfig(kind, 64), name="cloud")


def test_clouds_that_were_to_be_normalised_before(tmp_path: Path):
    config = plain_config(normalisation={"by": "none"})
    points = np.random.default_rng(0).uniform(-0.4, 0.3, (50, 3))
    np.save(tmp_path / "in.npy", points)
    np.save(tmp_path / "out.npy", points * 2)
    section = InputConfig("points", 16, points=0)
    assert np.array_equal(observe_file(tmp_path / "in.npy", config, section, name="in").to_world, np.eye(4))
    with pytest.raises(ValueError, match=r"out\.npy:.*\[-0\.5, 0\.5\]"):
        observe_file(tmp_path / "out.npy", config, section, name="out")


@pytest.mark.parametrize("name", ["empty.npy", "one.npy", "nan.npy", "flat.npy", "none.npy", "word.txt"])
def test_clouds_that_cannot_be_meant(tmp_path: Path, config: DataConfig, name: str):
    np.save(tmp_path / "empty.npy", np.empty((0, 3)))
    np.save(tmp_path / "one.npy", np.ones((1, 3)))
    np.save(tmp_path / "nan.npy", np.full((9, 3), np.nan))
    np.save(tmp_path / "flat.npy", np.ones((9, 2)))
    (tmp_path / "word.txt").write_text("hello")
    with pytest.raises((ValueError, FileNotFoundError), match=name):
        observe_file(tmp_path / name, config, InputConfig("points", 16), name="x")
