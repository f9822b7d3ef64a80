"""Files that are something else than their suffix says: the reason is what they are, in every reader."""

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_processing.formats.first_bytes import KINDS, refuse_other_content
from data_processing.formats.mesh_files import read_mesh
from data_processing.formats.pictures import read_picture
from data_processing.formats.point_clouds import read_cloud
from data_processing.formats.scans import open_any_scan
from data_processing.formats.voxel_files import read_voxels

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
ANNEX = b"/annex/objects/MD5E-s12345--0123456789abcdef\n"
PAGE = b"\xef\xbb\xbf\n<!DOCTYPE html><html><body>404 Not Found</body></html>"
READERS: dict[str, Callable[[Path], object]] = {
    **dict.fromkeys((".obj", ".ply", ".stl", ".off", ".glb", ".gltf"), read_mesh),
    **dict.fromkeys((".xyz", ".pcd", ".pts", ".npz"), read_cloud),
    **dict.fromkeys((".npy", ".binvox", ".mat"), read_voxels),
    **dict.fromkeys((".nii", ".nii.gz", ".nrrd", ".mha"), open_any_scan),
    **dict.fromkeys((".png", ".jpg"), read_picture),
}


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (POINTER, "git lfs pull"),
        (ANNEX, "git annex get"),
        (PAGE, "web page: a download that failed"),
        (b"", "the file is empty"),
    ],
)
def test_pointers_pages_and_nothing(tmp_path, suffix, content, said):
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a{suffix}: .*{said}") as told:
        READERS[suffix](tmp_path / f"a{suffix}")
    assert "corrupt" not in str(told.value) and "restore" not in str(told.value)


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("model.obj", "v 0 0 0\n")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.obj", zipped(), "ZIP archive: unpack it"),
        ("a.obj", gzip.compress(b"v 0 0 0\n", mtime=0), "gzip: unpack it"),
        ("a.nii", gzip.compress(bytes(400), mtime=0), r"end its name with \.gz"),
        ("a.nii.gz", b"\x5c\x01\0\0" + bytes(400), r"not packed by gzip: take \.gz off its name"),
        ("a.obj", b"OFF\n3 1 0\n", r"suffix \.off"),
        ("a.stl", b"ply\r\nformat ascii 1.0\r\n", r"suffix \.ply"),
        ("a.gltf.obj", b"glTF\2\0\0\0", r"suffix \.glb"),
        ("a.xyz", b"#binvox 1\n", r"suffix \.binvox"),
        ("a.nii", b"NRRD0004\n", r"suffix \.nrrd"),
    ],
)
def test_other_formats_under_a_suffix(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}: .*{said}"):
        refuse_other_content(tmp_path / name)


def test_sound_files_pass(tmp_path):
    np.savez(tmp_path / "a.npz", np.zeros(3))
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"x"))
    (tmp_path / "text.obj").write_bytes(b"# off\nv 0 0 0\n")
    (tmp_path / "binary.stl").write_bytes(b"offline export".ljust(84, b"\0"))
    for file in tmp_path.iterdir():
        refuse_other_content(file)
    refuse_other_content(tmp_path / "none.obj")  # the reader says that it is not there
    assert all(begin == begin.lower() for begin, _, _ in KINDS)


@pytest.mark.parametrize("suffix", READERS)
def test_a_link_to_what_was_not_fetched(tmp_path, suffix):
    """As git-annex and DataLad leave them."""
    (tmp_path / f"a{suffix}").symlink_to(f".git/annex/objects/x/a{suffix}")
    with pytest.raises(FileNotFoundError, match=rf"a{suffix} is a link to \.git/annex.*datalad get"):
        READERS[suffix](tmp_path / f"a{suffix}")


def test_a_scan_packed_twice(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(gzip.compress(bytes(400))))
    with pytest.raises(ValueError, match=r"a\.nii\.gz: it is packed by gzip more often"):
        open_any_scan(tmp_path / "a.nii.gz")
