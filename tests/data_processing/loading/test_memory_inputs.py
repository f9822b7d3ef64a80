"""What is in memory is read like the file that holds the same."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import trimesh
from PIL import Image

from data_processing.formats.mesh_files import read_mesh
from data_processing.formats.nifti import OpenScan, mask_of_scan, open_scan, read_mask
from data_processing.formats.pictures import read_picture
from data_processing.formats.point_clouds import PointCloud
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.geometry.voxel_grid import VoxelGrid
from data_processing.loading.memory_inputs import content_digest, loaded_input
from data_processing.medical.label_volumes import label_volume, volume_of_scan
from data_processing.medical.scan_grid import scan_mask_image
from tests.data_processing.scan_files import body, save

OBLIQUE = np.array([[0.0, -2, 0.3, 7], [1.5, 0, 0, -3], [0, 0.2, 4, 11], [0, 0, 0, 1]])


def scan_of(image: object) -> OpenScan:
    scan, _ = loaded_input(image)
    assert isinstance(scan, OpenScan)
    return scan


@pytest.mark.parametrize("header", [{}, {"slope": 0.5}, {"slope": 0.3, "inter": 0.1}], ids=str)
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", ">f8", "u1"])
def test_masks_of_images_are_those_of_their_files(tmp_path: Path, header: dict[str, float], dtype: str):
    stored = np.random.default_rng(0).integers(0, 3, (5, 6, 7)).astype(dtype)
    image = nibabel.Nifti1Image(stored.astype(np.dtype(dtype).newbyteorder("=")), OBLIQUE)
    image.header.set_data_dtype(np.dtype(dtype).newbyteorder("="))
    image.header.set_slope_inter(header.get("slope", 1), header.get("inter", 0))
    file = tmp_path / "mask.nii.gz"
    nibabel.save(image, file)
    expected = read_mask(file, threshold=0.35)
    given = mask_of_scan(scan_of(nibabel.load(file)), threshold=0.35)
    np.testing.assert_array_equal(given.occupancy, expected.occupancy)
    np.testing.assert_array_equal(given.index_to_world, expected.index_to_world)


@pytest.mark.parametrize("unit", ["meter", "mm", "micron", "sec"])
def test_units_and_doubts_of_images_are_those_of_their_files(tmp_path: Path, unit: str):
    image = nibabel.Nifti1Image(np.ones((4, 5, 6), np.uint8), OBLIQUE)
    image.header.set_xyzt_units(xyz=unit if unit != "sec" else "unknown")
    image.header.set_sform(OBLIQUE, code=1)
    image.header.set_qform(np.diag([-2.0, 2, 4, 1]), code=1)
    file = tmp_path / "mask.nii"
    nibabel.save(image, file)
    expected, given = open_scan(file).grid, scan_of(image).grid
    np.testing.assert_array_equal(given.affine, expected.affine)
    assert given.doubt == expected.doubt
    image.affine[:3] *= 1e5
    if unit == "sec":
        with pytest.raises(ValueError, match="xyzt_units"):
            scan_of(image)


def test_an_image_of_probabilities_is_refused_as_its_file_is():
    values = np.random.default_rng(0).random((4, 5, 6))
    with pytest.raises(ValueError, match="threshold"):
        mask_of_scan(scan_of(nibabel.Nifti1Image(values, OBLIQUE)))


@pytest.mark.parametrize("order", ["<", ">"])
def test_labels_of_images_are_those_of_their_files(tmp_path: Path, order: str):
    values, affine = body()
    file = save(tmp_path / "labels.nii", values.astype(f"{order}i4"), affine)
    expected = label_volume(file)
    image: Any
    for image in (nibabel.load(file), nibabel.Nifti1Image(values.astype(f"{order}i4"), affine)):
        given = volume_of_scan(scan_of(image))
        assert given.boxes == expected.boxes and given.start == expected.start
        np.testing.assert_array_equal(given.values, expected.values)
    image = nibabel.load(file)
    assert image.get_fdata().max() == values.max()  # nothing was changed in place


def test_an_array_of_an_image_stays_as_it_is():
    values = np.arange(24.0).reshape(2, 3, 4)
    volume_of_scan(scan_of(nibabel.Nifti1Image(values, np.eye(4))))
    np.testing.assert_array_equal(values, np.arange(24.0).reshape(2, 3, 4))


def test_the_affine_of_an_image_counts_whatever_its_header_says(tmp_path: Path):
    file = save(tmp_path / "mask.nii", np.ones((4, 5, 6), np.uint8), OBLIQUE)
    image: Any = nibabel.load(file)
    image.affine[0, 3] += 9
    scan = scan_of(image)
    assert scan.grid.affine[0, 3] == OBLIQUE[0, 3] + 9
    written = scan_mask_image(np.ones((4, 5, 6), np.uint8), scan.grid)
    np.testing.assert_allclose(written.affine, image.affine, atol=1e-6)


def test_images_of_other_formats_have_their_affine():
    image = nibabel.freesurfer.MGHImage(np.ones((4, 5, 6), np.uint8), np.diag([2.0, 3, 4, 1]))
    scan = scan_of(image)
    assert mask_of_scan(scan).occupancy.shape == (4, 5, 6)
    written = scan_mask_image(np.ones((4, 5, 6), np.uint8), scan.grid)
    np.testing.assert_allclose(written.affine, np.diag([2.0, 3, 4, 1]))


def test_meshes_lose_what_files_lose(tmp_path: Path):
    """Faces without area."""
    mesh = trimesh.Trimesh(*box_with_a_needle(), process=False)
    mesh.export(tmp_path / "mesh.ply")
    (given, _), expected = loaded_input(mesh), read_mesh(tmp_path / "mesh.ply")
    assert isinstance(given, TriangleMesh)
    np.testing.assert_array_equal(given.faces, expected.faces)
    np.testing.assert_allclose(given.vertices, expected.vertices)
    assert len(given.faces) == 12
    assert not np.shares_memory(given.vertices, mesh.vertices)


def box_with_a_needle() -> tuple[np.ndarray, np.ndarray]:
    box = trimesh.creation.box()
    return np.asarray(box.vertices), np.vstack([box.faces, [[0, 0, 1]]])


def test_pictures_in_memory(tmp_path: Path):
    generator = np.random.default_rng(0)
    for mode, shape in (("L", (9, 8)), ("RGB", (9, 8, 3)), ("RGBA", (9, 8, 4))):
        image = Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8), mode)
        image.save(tmp_path / f"{mode}.png")
        pixels, _ = loaded_input(image)
        np.testing.assert_array_equal(pixels, read_picture(tmp_path / f"{mode}.png"))


def test_digests_see_every_change():
    vertices, faces = box_with_a_needle()
    one, grid = TriangleMesh(vertices, faces), np.zeros((2, 3, 4), np.uint8)
    others = [
        TriangleMesh(vertices + 1e-9, faces),
        TriangleMesh(vertices, faces[::-1]),
        PointCloud(vertices),
        VoxelGrid(grid, np.eye(4)),
        VoxelGrid(grid, 2 * np.eye(4)),
        VoxelGrid(grid.reshape(4, 3, 2), np.eye(4)),
        grid,
    ]
    assert len({content_digest(item) for item in [one, *others]}) == 8
    assert content_digest(TriangleMesh(vertices.copy(), faces.copy())) == content_digest(one)
