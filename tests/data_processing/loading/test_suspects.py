"""Shapes whose inside is doubtful are left out of training, and named; a config may keep them."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data_processing.loading.batches import LoadingConfig, training_shapes

SECTION = LoadingConfig(path=Path("datasets/chairs"))


def chairs(*qualities):
    names = [f"chair/{n}" for n in range(len(qualities))]
    every = np.arange(len(names))
    return SimpleNamespace(path=SECTION.path, names=names, qualities=list(qualities), indices=lambda split: every)


def test_suspect_shapes_are_left_out_and_the_first_ten_named():
    shapes = chairs("ok", *["suspect: agree on 12%"] * 12, "partial")
    indices, line = training_shapes(shapes, SECTION)
    assert indices.tolist() == [0, 13]
    assert "12 suspect" in line and "chair/1," in line and "chair/10, ..." in line and "chair/11" not in line
    assert "data.suspect=keep" in line and "\n" not in line


def test_they_are_kept_where_the_config_says_so_or_there_are_none():
    shapes = chairs("ok", "suspect: thin")
    assert training_shapes(shapes, replace(SECTION, suspect="keep")) == (pytest.approx([0, 1]), "")
    assert training_shapes(chairs("ok"), SECTION) == (pytest.approx([0]), "")


def test_nothing_left_is_refused():
    with pytest.raises(ValueError, match=r"datasets/chairs: all 2 .*chair/0, chair/1.*data\.suspect=keep"):
        training_shapes(chairs("suspect: thin", "suspect: thin"), SECTION)
