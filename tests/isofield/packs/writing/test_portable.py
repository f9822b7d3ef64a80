"""Paths become names, and nothing else is touched."""

from pathlib import Path

import pytest

from isofield.packs.writing.portable import portable, refuse_own_places


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"path": "datasets/furniture"}, {"path": "furniture"}),
        ({"path": "/home/x/all_vox256_img"}, {"path": "all_vox256_img"}),
        ({"runs": "C:\\Users\\x\\runs"}, {"runs": "runs"}),
        ({"data": {"path": "a/b", "input": {"kind": "solid"}}}, {"data": {"path": "b", "input": {"kind": "solid"}}}),
        ({"data": "/masks/clean"}, {"data": "clean"}),
        ({"splits": {"lists": {"train": "/x/train.lst"}}}, {"splits": {"lists": {"train": "train.lst"}}}),
        ({"input": "~/scans"}, {"input": "scans"}),
        ({"input": "../scans"}, {"input": "scans"}),
        ({"input": "."}, {"input": "."}),
        ({"path": "/"}, {"path": "/"}),
        (
            {"subject": r"^(sub-\d+)/", "pattern": "*/seg.nii.gz"},
            {"subject": r"^(sub-\d+)/", "pattern": "*/seg.nii.gz"},
        ),
        (
            {"names": ["chair/a", "kidney/left"], "n": 3, "x": None},
            {"names": ["chair/a", "kidney/left"], "n": 3, "x": None},
        ),
    ],
    ids=str,
)
def test_paths_become_names(before: dict, after: dict):
    assert portable(before) == after


def test_a_text_that_names_the_run_is_refused(tmp_path: Path):
    refuse_own_places({"a": "nothing", "b": "/ and /x"}, tmp_path / "run")
    for text in (f"in {tmp_path}/run", f"'{tmp_path}'", f"{tmp_path}/other"):
        with pytest.raises(ValueError, match="card would name"):
            refuse_own_places({"card": text}, tmp_path / "run")
