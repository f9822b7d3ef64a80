"""Volumes spoilt on purpose are what spoilt.csv says, on the scan's own grid."""

import csv
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from isofield.metrics.masks import dice
from isofield.outliers import spoil
from tests.commands import call
from tests.isofield.outliers.analysed import IDS, brain_values, write_scan


def run_spoil(folder: Path, out: Path, *more: str) -> int:
    return call(spoil.main, "--input", folder, "--out", out, "--structures", *IDS, *more)


def test_each_structure_has_its_fault_and_the_clean_ones_have_none(tmp_path: Path):
    values, affine = brain_values()
    write_scan(tmp_path / "in" / "a.nii.gz", values, affine)
    more = ["--scans", "a", "--clean", "a", "--families", "cut_off", "island", "--severity", "mild"]
    assert run_spoil(tmp_path / "in", tmp_path / "out", *more) == 0
    with open(tmp_path / "out" / "spoilt.csv", newline="") as file:
        told = {(row["scan"], row["structure"]): row for row in csv.DictReader(file)}
    assert len(told) == 4 and told["a_spoilt", "right hippocampus"]["family"] == "island"
    for (scan, structure), row in told.items():
        image: Any = nibabel.load(tmp_path / "out" / f"{scan}.nii.gz")
        assert np.allclose(image.affine, affine) and image.shape == values.shape
        label = json.loads((tmp_path / "out" / f"{scan}.json").read_text())["labels"][structure]
        reached = dice(np.asanyarray(image.dataobj) == label, values == label)
        assert reached == pytest.approx(float(row["dice"]), abs=1e-4)
        assert reached == 1 if scan == "a_clean" else 0.93 < reached < 0.97


def test_the_clean_volumes_are_not_overwritten(tmp_path: Path):
    write_scan(tmp_path / "a.nii.gz", *brain_values())
    with pytest.raises(ValueError, match=r"--out .*--input"):
        run_spoil(tmp_path, tmp_path, "--scans", "a")
    with pytest.raises(ValueError, match="'liver'"):
        call(spoil.main, "--input", tmp_path, "--out", "x", "--structures", "liver", "--scans", "a")
