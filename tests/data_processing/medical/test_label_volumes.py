"""Labels out of files: any type that holds whole numbers, little memory, and what is refused."""

import gzip
import os
import tracemalloc
from typing import Any

import nibabel
import numpy as np
import pytest

from data_processing.medical.label_volumes import label_volume
from data_processing.medical.masks import mask_to_cube, read_structure
from data_processing.medical.structures import LabelConfig, StructureConfig
from tests.data_processing.scan_files import save

SHAPE = (9, 14, 11)


def labels() -> np.ndarray:
    values = np.zeros(SHAPE, np.int16)
    values[2:4, 5:9, 1:10], values[6:8, 5:6, 3:4] = 3, 200
    return values


def found(path, **options):
    volume = label_volume(path, **options)
    return {label: (volume.mask([label])[0].sum(), volume.boxes[label]) for label in volume.boxes}


EXPECTED = {
    3: (72, (slice(2, 4), slice(5, 9), slice(1, 10))),
    200: (2, (slice(6, 8), slice(5, 6), slice(3, 4))),
}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i2", ">i2", "i4", "u2", "i8", "f4", ">f4", "f8"])
def test_every_type_that_holds_whole_numbers(tmp_path, dtype, suffix):
    if dtype.startswith(">"):
        image = nibabel.Nifti1Image(labels().astype(dtype), np.eye(4), nibabel.Nifti1Header(endianness=">"))
        nibabel.save(image, tmp_path / f"scan{suffix}")
        saved: Any = nibabel.load(tmp_path / f"scan{suffix}")
        assert saved.get_data_dtype().byteorder == ">"
        path = tmp_path / f"scan{suffix}"
    else:
        image = nibabel.Nifti1Image(labels().astype(dtype), np.eye(4), dtype=dtype)
        nibabel.save(image, path := tmp_path / f"scan{suffix}")
    assert found(path) == EXPECTED


def test_slope_and_intercept_are_applied(tmp_path):
    raw = (labels() // 100 * 2 + (labels() == 3) * 1).astype(np.uint8)  # 1 and 4
    path = save(tmp_path / "scan.nii.gz", raw, slope=66.5, inter=0.0)
    with pytest.raises(ValueError, match=r"66\.5"):
        label_volume(path)
    path = save(tmp_path / "shifted.nii.gz", raw, slope=1.0, inter=-1.0)
    with pytest.raises(ValueError, match=r"label -1\b"):
        label_volume(path)
    path = save(tmp_path / "third.nii.gz", raw, slope=100.0, inter=0.0)
    assert set(found(path)) == {100, 400}  # more than a byte holds


def test_rounding_is_forgiven_and_probabilities_ask_for_a_threshold(tmp_path):
    near = labels().astype(np.float32)
    near[near == 3] += np.resize([8e-4, -8e-4], (near == 3).sum())
    assert found(save(tmp_path / "near.nii.gz", near)) == EXPECTED
    share = (labels() == 3) * np.float32(0.7)
    path = save(tmp_path / "share.nii.gz", share)
    with pytest.raises(ValueError, match=r"share\.nii\.gz:.*0\.7.*labels\.threshold"):
        label_volume(path)
    assert found(path, threshold=0.5) == {1: EXPECTED[3]}


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_what_is_no_label_is_refused(tmp_path, value):
    values = labels().astype(np.float32)
    values[0, 0, 0] = value
    with pytest.raises(ValueError, match=r"bad\.nii.*(NaN or infinity|label -1)"):
        label_volume(save(tmp_path / "bad.nii", values))


def test_negative_integers_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"label -7\b"):
        label_volume(save(tmp_path / "ct.nii", labels() - 7))


def test_labels_of_atlases_with_huge_ids(tmp_path):
    values = labels().astype(np.int32)
    values[values == 200] = 614454277
    assert found(save(tmp_path / "scan.nii.gz", values)) == {3: EXPECTED[3], 614454277: EXPECTED[200]}


def test_a_file_that_changed_is_read_again(tmp_path):
    path = save(tmp_path / "scan.nii", labels())
    assert set(found(path)) == {3, 200}
    save(path, (labels() == 3).astype(np.int16) * 9)
    os.utime(path, ns=(1, 1))
    assert set(found(path)) == {9}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("lost", [1, 5, 300])
def test_cut_off_files(tmp_path, suffix, lost):
    noise = np.random.default_rng(0).integers(0, 9, SHAPE, dtype=np.uint8)
    path = save(tmp_path / f"cut{suffix}", noise)
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(ValueError, match=f"cut{suffix}"):
        label_volume(path)


def test_a_flipped_bit_in_a_compressed_file(tmp_path):
    noise = np.random.default_rng(0).integers(0, 9, SHAPE, dtype=np.uint8)
    path = save(tmp_path / "bad.nii.gz", noise)
    stored = bytearray(gzip.decompress(path.read_bytes()))
    content = bytearray(gzip.compress(bytes(stored), compresslevel=0))  # stored blocks: only the checksum can tell
    content[-400] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.nii\.gz"):
        label_volume(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_header_that_declares_more_than_the_file_can_hold(tmp_path, suffix):
    header = nibabel.Nifti1Header()
    header.set_data_shape((1000, 1000, 1000))
    header.set_data_dtype(np.float64)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    header.set_sform(np.eye(4), code=1)
    content = header.binaryblock + bytes(4) + bytes(1000)
    path = tmp_path / f"liar{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    with pytest.raises(ValueError, match=r"liar.*declares 8,000,000,352"):
        label_volume(path)


def test_a_file_that_may_not_be_read(tmp_path):
    path = save(tmp_path / "closed.nii.gz", labels())
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(PermissionError):
        label_volume(path)


@pytest.mark.parametrize(("dtype", "suffix"), [("u1", ".nii.gz"), ("u1", ".nii"), ("i2", ".nii.gz"), ("f4", ".nii.gz")])
def test_memory_stays_below_twice_the_stored_volume(tmp_path, dtype, suffix):
    """At the peak of reading and resampling. Well compressed, which is where unpacking in one go doubles."""
    values = np.zeros((128, 128, 1200 // np.dtype(dtype).itemsize), dtype, order="F")
    values[10:50, 25:75, 20:200] = values[75:110, 25:75, 20:200] = 1
    path = save(tmp_path / f"scan{suffix}", values)
    settings = LabelConfig((StructureConfig("organ", (1,), components=2),))
    label_volume(save(tmp_path / "other.nii", labels()))  # forget what was read before
    tracemalloc.start()
    try:
        mask_to_cube(read_structure(path, "organ/left", settings), 64, by="longest_edge", length=0.9)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert values.nbytes < peak < 2 * values.nbytes
