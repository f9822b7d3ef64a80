"""One line at the start says how large all meshes become, by the bytes of the first."""

from pathlib import Path
from typing import Any

import pytest

from isofield.generation.mesh_sizes import describe_sizes


def row(folder: Path, faces: int, *, bytes_of_mesh: int, mask: int = 0, **more: Any) -> dict[str, Any]:
    (folder / "a.ply").write_bytes(bytes(bytes_of_mesh))
    if mask:
        (folder / "a_recon.nii.gz").write_bytes(bytes(mask))
        more["mask_file"] = "a_recon.nii.gz"
    return {"name": "a", "file": "a.ply", "faces": faces, **more}


def test_small_meshes_are_told_without_advice(tmp_path: Path):
    line = describe_sizes(row(tmp_path, 5000, bytes_of_mesh=90_000), tmp_path, count=12)
    assert line == "first mesh: 5,000 faces, 0.09 MB; all 12 about 1.1 MB"


def test_of_large_ones_is_told_what_faces_would_do(tmp_path: Path):
    line = describe_sizes(row(tmp_path, 400_000, bytes_of_mesh=8_000_000, mask=100_000), tmp_path, count=1000)
    assert line == "first mesh: 400,000 faces, 8.1 MB; all 1,000 about 8.1 GB; with --faces 10000 about 0.3 GB"


def test_of_simplified_ones_what_it_was(tmp_path: Path):
    line = describe_sizes(row(tmp_path, 20_000, bytes_of_mesh=400_000, faces_before=400_000), tmp_path, count=1)
    assert line == "first mesh: 20,000 faces (of 400,000), 0.4 MB"


def test_of_tens_of_thousands(tmp_path: Path):
    line = describe_sizes(row(tmp_path, 5000, bytes_of_mesh=5_020_000), tmp_path, count=50_000)
    assert line.endswith("all 50,000 about 251 GB")


@pytest.mark.parametrize("size", [99_000_000, 101_000_000])
def test_units(size: int, tmp_path: Path):
    line = describe_sizes(row(tmp_path, 10, bytes_of_mesh=0, mask=size), tmp_path, count=1)
    assert line.endswith(", 99 MB" if size < 1e8 else ", 0.1 GB")
