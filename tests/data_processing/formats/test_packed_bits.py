"""Bits packed into bytes, and bytes that are distances or probabilities: none of them is taken for another."""

import numpy as np
import pytest

from data_processing.formats.voxel_files import GridConfig, read_voxels
from tests.data_processing.voxel_files import ellipsoid


@pytest.mark.parametrize("sign", ["negative", "positive"])
@pytest.mark.parametrize("level", [0, 100, 128])
def test_packed_bits_and_masks_are_no_distances(tmp_path, sign, level):
    """Whatever level and sign somebody tries; of a mask the surface would run half a voxel too far out."""
    grid = GridConfig(values="sdf", iso_level=level, inside_sign=sign)
    cut = ellipsoid(32)[:, :, 4:28] < 0  # its packed shape is no eighth of the others
    for name, packed in (
        ("cube", np.packbits(ellipsoid(32) < 0, axis=2)),
        ("box", np.packbits(cut, axis=2)),
        ("signed", np.packbits(cut, axis=0).view(np.int8)),
    ):
        np.save(tmp_path / f"{name}.npy", packed)
        with pytest.raises(ValueError, match=rf"{name}\.npy: .*packed bits.*np\.unpackbits.*distances as real numbers"):
            read_voxels(tmp_path / f"{name}.npy", grid)
    np.save(tmp_path / "mask.npy", (cut * np.uint8(255)) if level else cut)
    if level == 0 or sign == "negative":
        with pytest.raises(ValueError, match=r"mask\.npy: .*(outer side of iso_level 0.*values=occupancy|below)"):
            read_voxels(tmp_path / "mask.npy", grid)


def test_distances_stored_as_bytes_are_no_packed_bits(tmp_path):
    for width in (0.5, 0.05):  # of truncation; a voxel is 0.03
        stored = np.rint(127.5 + 127.5 * np.clip(ellipsoid(32) / width, -1, 1)).astype(np.uint8)
        np.save(tmp_path / "tsdf.npy", stored)
        found = read_voxels(tmp_path / "tsdf.npy", GridConfig(values="tsdf", iso_level=127.5))
        assert (found.occupancy == (stored < 127.5)).all()


def test_packed_bits_and_probabilities_as_bytes_are_no_occupancy(tmp_path):
    inside = ellipsoid(32) < 0
    for axis in (0, 2):
        np.save(tmp_path / "packed.npy", np.packbits(inside, axis=axis))
        with pytest.raises(ValueError, match=r"packed\.npy: .*packed bits.*np\.unpackbits"):
            read_voxels(tmp_path / "packed.npy")
    probability = 255 / (1 + np.exp(40 * ellipsoid(32)))
    for dtype in (np.uint8, np.int16):
        np.save(tmp_path / "bytes.npy", probability.astype(dtype))
        with pytest.raises(ValueError, match=r"bytes\.npy: .*different values from 0 to \d+.*--set threshold=12\d,"):
            read_voxels(tmp_path / "bytes.npy")
        found = read_voxels(tmp_path / "bytes.npy", GridConfig(threshold=127))
        assert (found.occupancy == (probability.astype(dtype) > 127)).all()
    for values in (inside.astype(np.uint8) * 255, np.where(inside, 117, 0), np.repeat(inside[:, :, ::8], 1, 2)):
        np.save(tmp_path / "mask.npy", values)
        assert read_voxels(tmp_path / "mask.npy").occupancy.sum() == np.count_nonzero(values)
