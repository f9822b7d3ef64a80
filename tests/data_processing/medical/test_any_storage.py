"""Random affines and orders of storage through every way a mask is read: the same volume, Dice and distances."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_processing.formats.nifti import ScanGrid
from data_processing.formats.scans import read_scan_mask
from data_processing.medical.crops import Crop, mask_crop
from data_processing.medical.masks import read_structure
from data_processing.medical.scan_grid import write_scan_mask
from data_processing.medical.structures import LabelConfig, StructureConfig
from isofield.evaluation.mask_pairs import compare_crops
from isofield.evaluation.protocols import MaskProtocol
from isofield.outliers.comparison.maps import NamedSegment, write_map, write_segments
from tests.data_processing.formats.test_images import write_image
from tests.data_processing.scan_files import random_affine, save, turned

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ORGAN = LabelConfig((StructureConfig("organ", (4,)),))


@st.composite
def storages(draw):
    """Axes in another order and direction, a part of the scan, and a suffix."""
    axes = draw(st.permutations(range(3)))
    flips = [draw(st.integers(0, 1)) for _ in range(3)]
    margins = [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(3)]
    return tuple(axes), flips, margins, draw(st.sampled_from(SUFFIXES))


@st.composite
def affines(draw):
    """Anisotropic, oblique by any angle or along the axes, mirrored or not, sheared where the format can hold it."""
    spacing = tuple(draw(st.floats(0.3, 4.0)) for _ in range(3))
    seed, mirrored = draw(st.integers(0, 1 << 20)), draw(st.booleans())
    affine = random_affine(np.random.default_rng(seed), spacing, mirrored=mirrored)
    if draw(st.booleans()):
        affine = np.diag([*(edge * draw(st.sampled_from([-1, 1])) for edge in spacing), 1.0])
    affine[:3, 3] = [draw(st.floats(-200, 200)) for _ in range(3)]
    return affine


def masks(seed):
    """Two solids without symmetry that overlap, away from the border."""
    generator = np.random.default_rng(seed)
    true = np.zeros((15, 13, 14), np.uint8)
    low = generator.integers(2, 4, 3)
    high = low + generator.integers(4, 7, 3)
    true[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = 4
    true[low[0], low[1], high[2]] = 4
    return np.roll(true, generator.integers(0, 2, 3), axis=(0, 1, 2)), true


def stored(path: Path, values, affine, storage) -> Path:
    axes, flips, margins, suffix = storage
    cut = tuple(slice(low, size - high) for (low, high), size in zip(margins, values.shape, strict=True))
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [low for low, _ in margins]
    part, placed = turned(values[cut], moved, axes, flips)
    file = path.with_name(f"{path.name}{suffix}")
    write = save if suffix.startswith(".nii") else write_image
    return write(file, np.ascontiguousarray(part), placed)


def metrics_of(predicted: Crop, true: Crop):
    return compare_crops(predicted, true, MaskProtocol(1.0))[0]


@FEW
@given(affine=affines(), one=storages(), other=storages(), seed=st.integers(0, 1 << 20))
def test_metrics_do_not_depend_on_storage(tmp_path, affine, one, other, seed):
    predicted, true = masks(seed)
    expected = metrics_of(
        mask_crop(save(tmp_path / "plain_p.nii.gz", predicted, affine)),
        mask_crop(save(tmp_path / "plain_t.nii.gz", true, affine)),
    )
    found = metrics_of(
        mask_crop(stored(tmp_path / "p", predicted, affine, one)),
        mask_crop(stored(tmp_path / "t", true, affine, other)),
    )
    assert found == pytest.approx(expected, rel=1e-4)
    assert found["dice"] == expected["dice"]
    voxel = abs(np.linalg.det(affine[:3, :3])) / 1000
    assert found["volume"] == pytest.approx((true > 0).sum() * voxel, rel=1e-4)


@FEW
@given(affine=affines(), storage=storages(), seed=st.integers(0, 1 << 20))
def test_a_shape_is_where_it_was_by_every_reader_and_back(tmp_path, affine, storage, seed):
    _, true = masks(seed)
    file = stored(tmp_path / "scan", true, affine, storage)
    shape, crop, grid = read_structure(file, "organ", ORGAN), mask_crop(file), read_scan_mask(file)
    places = np.argwhere(true) @ affine[:3, :3].T + affine[:3, 3]
    for occupancy, matrix in (
        (shape.occupancy, shape.index_to_world),
        (crop.occupancy, crop.index_to_world),
        (grid.occupancy, grid.index_to_world),
    ):
        found = np.argwhere(occupancy) @ matrix[:3, :3].T + matrix[:3, 3]
        assert len(found) == len(places)
        np.testing.assert_allclose(sorted_rows(found), sorted_rows(places), atol=2e-3)
    write_scan_mask(tmp_path / "back.nii.gz", shape.on_scan(), shape.scan)
    assert metrics_of(mask_crop(tmp_path / "back.nii.gz"), crop)["hd"] == 0
    write_map(tmp_path / "map.nii.gz", crop.occupancy, crop)
    write_segments(tmp_path / "map.seg.nrrd", crop.occupancy, crop, [NamedSegment(1, "organ", (1, 0, 0))])
    for name in ("map.nii.gz", "map.seg.nrrd"):
        assert metrics_of(mask_crop(tmp_path / name), crop)["dice"] == 1


def sorted_rows(places):
    """In an order that rounding cannot change."""
    return places[np.lexsort(np.rint(places * 100).T)]


def test_a_grid_of_our_own_goes_through_both(tmp_path):
    grid = ScanGrid((5, 6, 7), np.diag([1.0, 2, 3, 1]))
    values = np.zeros(grid.shape, np.uint8)
    values[1:4, 2:5, 3:6] = 1
    write_scan_mask(tmp_path / "a.nii.gz", values, grid)
    assert mask_crop(tmp_path / "a.nii.gz").occupancy.sum() == 27
