"""Digests are stored in data sets, runs, calibrations and journals: those that the version before made stay true."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.preparation.shape import digest_of
from data_processing.store.shards import _digest as digest_of_rows
from isofield.checkpoint import hash_of
from isofield.metrics.light_field.cache import _digest as digest_of_mesh
from isofield.outliers.scoring.calibration import hash_of_masks
from isofield.runtime import fingerprint as fingerprints
from isofield.runtime.file_names import path_in
from isofield.runtime.fingerprint import fingerprint, of_contents, of_states

ARRAY = np.arange(24, dtype="<f4").reshape(2, 3, 4).transpose(2, 0, 1)  # not in C order


def files_in(folder: Path) -> list[Path]:
    (folder / "a").write_bytes(b"abc" * 1_000_000)  # of several blocks
    (folder / "b").write_bytes(b"")
    return [folder / "a", folder / "b"]


def test_digests_of_the_version_before_stay_true(tmp_path: Path):
    """The numbers on the right were made by the code that had a digest of its own in each of these places."""
    files = files_in(tmp_path)
    weights = {"w": torch.arange(6.0).reshape(2, 3).T, "b": torch.arange(3).to(torch.bfloat16), "s": torch.tensor(2.5)}
    mesh = TriangleMesh(np.arange(12.0).reshape(4, 3), np.array([[0, 1, 2], [0, 2, 3]]))
    assert digest_of(*files) == "4005fef2389e1dfbeb4ea3c908a08117"  # of a source, in a shard
    assert digest_of_rows({"z": ARRAY, "a": np.arange(3, dtype="u1")}) == "831d661dca4ebdd07854f65d3375d056"  # a shard
    assert hash_of(weights) == "bfdbbf49648714e3"  # model_hash
    assert hash_of_masks(["a", "ü"], [ARRAY > 5, ARRAY > 7]) == "ff59b54cc74bd91d"  # data_hash of a calibration
    assert digest_of_mesh(mesh) == "d6384e0ed66f26a8c9786d1b7dcb15f0"  # a file of light-field descriptors
    assert fingerprint(torch.arange(8.0)[None]) == "496dc3a6c53db0328ee638a67387af0c"  # origin of a coded shape
    assert fingerprint([1, {"b": Path("x"), "a": [1.5, None]}, "ü"], size=8) == "94d04d3e53aa0b5a"  # row of an analysis
    assert of_contents(files) == "f1bb4f60705c3036"  # files of a scan
    assert path_in(tmp_path, "\udc80" * 100, "").name.endswith("%~4de8a4c31666e907416887cafe76551b")


def test_it_is_the_digest_of_the_bytes_one_after_the_other(tmp_path: Path):
    files = files_in(tmp_path)
    parts: list[Any] = ["ü", b"\0", files[0], ARRAY, torch.tensor([True, False]), {"b": 1, "a": (2,)}]
    plain = "ü".encode() + b"\0" + files[0].read_bytes() + ARRAY.tobytes() + b"\1\0" + b'{"a": [2], "b": 1}x'
    parts.append(iter(["x"]))
    assert fingerprint(*parts, size=5) == hashlib.blake2b(plain, digest_size=5).hexdigest()
    assert len({fingerprint(part) for part in ("a", b"b", ["a"], files[0], files[1], ARRAY, ARRAY[0])}) == 7


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path):
    for read in (lambda: fingerprint(tmp_path / "gone"), lambda: of_contents([tmp_path / "gone"])):
        with pytest.raises(FileNotFoundError, match="gone"):
            read()
    assert digest_of(tmp_path / "gone") == "" and of_states([tmp_path / "gone"]) == [[str(tmp_path / "gone")]]


def test_a_file_is_read_again_only_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files, read = files_in(tmp_path), list[object]()

    def noted(part: object, size: int) -> str:
        read.append(part)
        return fingerprint(str(part), size=size)

    monkeypatch.setattr(fingerprints, "fingerprint", noted)
    of_contents(files), of_contents(files)
    os.utime(files[1], (1, 1))
    of_contents(files)
    files[1].write_bytes(b"longer")
    os.utime(files[1], (1, 1))
    of_contents(files)
    assert [part for part in read if isinstance(part, Path)] == [*files, files[1], files[1]]


def test_states_tell_files_apart_unread(tmp_path: Path):
    files = files_in(tmp_path)
    before = of_states(files)
    assert before == of_states(files)
    os.utime(files[0], (1, 1))
    files[1].write_bytes(b"c")
    after = of_states(files)
    assert before[0] != after[0] and before[1] != after[1]
