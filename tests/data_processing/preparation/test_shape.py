"""One shape, prepared: in the cube as the config says, the levels agree with the grid, and back in the file's frame."""

import nibabel
import numpy as np
import pytest
import torch
import trimesh

from data_processing.formats.mesh_files import write_mesh
from data_processing.geometry.coordinates import transform_points, voxel_centres
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.preparation.config import DataConfig, NormalisationConfig, config_of
from data_processing.preparation.shape import attempt, cube_voxels, prepare_shape, read_shape
from data_processing.preparation.sources import Source, list_sources
from data_processing.store.bits import unpack_array

LOWER, SIDES = np.array([3.0, -20.0, 100.0]), np.array([8.0, 4.0, 2.0])


def write_box(path, lower=LOWER, sides=SIDES):
    box = trimesh.creation.box(bounds=[lower, lower + sides])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mesh(path, TriangleMesh(np.array(box.vertices), np.array(box.faces)))
    return path


def config_for(folder, **options):
    return DataConfig(name="set", input=folder, **options)


def only_source(folder):
    (source,) = list_sources(folder).sources
    return source


def world_box(grid_RRR, to_world):
    """Lower and upper corner of the occupied voxels, in the frame of the file."""
    index = grid_RRR.nonzero()
    half = 0.5 / grid_RRR.shape[0]
    lower = voxel_centres(index.amin(0), grid_RRR.shape[0], torch.float64).numpy() - half
    upper = voxel_centres(index.amax(0), grid_RRR.shape[0], torch.float64).numpy() + half
    return transform_points(np.stack([lower, upper]), to_world)


@pytest.mark.parametrize(
    ("normalisation", "voxel"),
    [
        (NormalisationConfig("longest_edge", 0.9), 8 / 0.9 / 256),
        (NormalisationConfig("diagonal", 1.0), float(np.linalg.norm(SIDES)) / 256),
    ],
)
def test_a_box_is_centred_scaled_and_found_again_in_its_own_frame(tmp_path, normalisation, voxel):
    file = write_box(tmp_path / "box/one.ply")
    shape = read_shape(file, config_for(tmp_path, normalisation=normalisation))
    np.testing.assert_allclose(np.diag(shape.to_world)[:3], 256 * voxel)
    np.testing.assert_allclose(world_box(shape.grid_RRR, shape.to_world), [LOWER, LOWER + SIDES], atol=voxel)
    assert abs(int(shape.grid_RRR.sum()) * voxel**3 / SIDES.prod() - 1) < 0.05


def test_the_row_agrees_with_the_grid(tmp_path):
    write_box(tmp_path / "box/one.ply")
    config, source = config_for(tmp_path), only_source(tmp_path)
    shape = read_shape(tmp_path / source.file, config)
    grid = shape.grid_RRR.numpy()
    row, record = prepare_shape(source, config)
    assert record.status == "done" and record.method == "scan" and record.inside_fraction == round(grid.mean(), 8)
    np.testing.assert_array_equal(row["to_world"], shape.to_world)
    pooled = grid.reshape(64, 4, 64, 4, 64, 4).max(axis=(1, 3, 5))
    np.testing.assert_array_equal(unpack_array(row["voxels"], (64, 64, 64)), pooled)
    for level in (16, 32, 64):
        points, values = row[f"points_{level}"], unpack_array(row[f"values_{level}"], (len(row[f"points_{level}"]),))
        np.testing.assert_array_equal(grid[tuple(points.T)], values)
        assert len(np.unique(points // (256 // level), axis=0)) == len(points)


def test_draws_follow_name_and_seed_alone(tmp_path):
    for name in ("one", "two"):
        write_box(tmp_path / f"box/{name}.ply")
    one, two = list_sources(tmp_path).sources
    rows = [
        prepare_shape(s, config_for(tmp_path, seed=seed))[0] for s, seed in ((one, 0), (one, 0), (two, 0), (one, 1))
    ]
    same = [np.array_equal(rows[0]["points_32"], row["points_32"]) for row in rows]
    assert same == [True, True, False, False]
    assert all(np.array_equal(rows[0]["voxels"], row["voxels"]) for row in rows)


def test_voxels_taken_as_they_are(tmp_path):
    grid = np.zeros((256, 256, 256), np.uint8)
    grid[30:200, 60:90, 100:230] = 1
    (tmp_path / "box").mkdir()
    np.save(tmp_path / "box/one.npy", grid)
    shape = read_shape(tmp_path / "box/one.npy", config_for(tmp_path, normalisation=NormalisationConfig("none")))
    np.testing.assert_array_equal(shape.grid_RRR.numpy(), grid)
    np.testing.assert_allclose(shape.to_world, np.eye(4), atol=1e-12)
    assert shape.method == "voxels"


def test_carving_is_an_option(tmp_path):
    grid = np.zeros((256, 256, 256), np.uint8)
    grid[50:200, 100:200, 50:200] = 1  # an open box, upside down: a cavity below its top
    grid[60:190, 100:190, 60:190] = 0
    (tmp_path / "box").mkdir()
    np.save(tmp_path / "box/one.npy", grid)
    plain, carved = (read_shape(tmp_path / "box/one.npy", config_for(tmp_path, carve=carve)) for carve in (False, True))
    assert carved.method == "voxels+carved" and int(carved.grid_RRR.sum()) > 1.5 * int(plain.grid_RRR.sum())


def test_a_mask_comes_back_in_millimetres(tmp_path):
    mask = np.zeros((30, 40, 20), np.uint8)
    mask[5:25, 10:20, 3:15] = 1
    affine = np.array([[-2.0, 0, 0, 90], [0, 1.5, 0, -60], [0, 0, 4.0, 11], [0, 0, 0, 1]])
    (tmp_path / "organ").mkdir()
    nibabel.save(nibabel.Nifti1Image(mask, affine), tmp_path / "organ/one.nii.gz")
    shape = read_shape(tmp_path / "organ/one.nii.gz", config_for(tmp_path))
    corners = transform_points(np.array([[4.5, 9.5, 2.5], [24.5, 19.5, 14.5]]), affine)
    found = world_box(shape.grid_RRR, shape.to_world)
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(corners, axis=0), atol=48 / 0.9 / 256)


def test_settings_of_a_data_set_make_the_same_config(tmp_path):
    from isofield.runtime.config import to_plain

    config = config_for(tmp_path, carve=True, exclude=("*.obj",))
    assert config_of(to_plain(config)) == config


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("cut.ply", b"ply\nformat binary_little_endian 1.0\nelement vertex 8\n", "corrupt"),
        ("empty.obj", b"", "empty"),
        ("nan.off", b"OFF\n3 1 0\n0 0 nan\n1 0 0\n0 1 0\n3 0 1 2\n", "(?i)nan|finite"),
        ("points.ply", None, "(?i)triangle|points|face"),
        ("text.npy", b"hello", "npy"),
    ],
)
def test_bad_files_become_records_with_a_reason(tmp_path, name, content, reason):
    file = tmp_path / "bad" / name
    file.parent.mkdir()
    if content is None:
        trimesh.PointCloud(np.random.default_rng(0).random((10, 3))).export(file)
    else:
        file.write_bytes(content)
    source = Source(f"bad/{file.stem}", "bad", f"bad/{name}", "voxels" if name.endswith("npy") else "mesh")
    rows, record = attempt(source, config_for(tmp_path))
    assert rows == [] and record.status == "failed" and record.source_digest
    assert record.reason.startswith(f"bad/{name}: ") and np.char.find(record.reason, "\n") < 0
    with pytest.raises(ValueError, match=reason):
        read_shape(file, config_for(tmp_path))


def test_a_missing_file_is_tried_again_later(tmp_path):
    rows, record = attempt(Source("bad/gone", "bad", "bad/gone.ply", "mesh"), config_for(tmp_path))
    assert rows == [] and record.source_digest == "" and record.source_bytes == -1


def test_a_mesh_outside_the_cube_needs_normalising(tmp_path):
    file = write_box(tmp_path / "box/one.ply")
    with pytest.raises(ValueError, match=r"\[-0\.5, 0\.5\]"):
        read_shape(file, config_for(tmp_path, normalisation=NormalisationConfig("none")))


def test_voxels_for_the_encoder_are_a_maximum(tmp_path):
    grid = np.zeros((256, 256, 256), np.uint8)
    grid[7, 130, 255] = 1
    (tmp_path / "dot").mkdir()
    np.save(tmp_path / "dot/one.npy", grid)
    voxels = cube_voxels(
        read_shape(tmp_path / "dot/one.npy", config_for(tmp_path, normalisation=NormalisationConfig("none")))
    )
    assert np.argwhere(voxels).tolist() == [[1, 32, 63]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 128}, "resolution .*256"),
        ({"shard_size": 0}, "shard_size"),
        ({"workers": -1}, "workers"),
    ],
)
def test_configs_that_make_no_sense(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        config_for(tmp_path, **options)
    with pytest.raises(ValueError, match="longest_edge"):
        NormalisationConfig("longest_edge", 1.2)
