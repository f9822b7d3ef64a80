"""Procedural shapes: closed parts, the same for a seed, and beside furniture never a shape that is tested with."""

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.tools.procedural import KINDS, main, shape

EXAMPLES = Path("examples")


@pytest.mark.parametrize("number", range(len({*KINDS})))
def test_every_part_is_closed_and_looks_outwards(number: int):
    name, mesh = shape(3, number)
    parts = mesh.split(only_watertight=False)
    assert name == f"{KINDS[number].__name__}_{number:04d}" and len(parts) > 1
    for part in parts:
        assert part.is_watertight and part.volume > 0
    assert 0.3 < mesh.extents.max() < 3


def test_a_seed_gives_the_same_shapes_and_another_one_others():
    first, again, other = shape(0, 5)[1], shape(0, 5)[1], shape(1, 5)[1]
    np.testing.assert_array_equal(first.vertices, again.vertices)
    assert len(first.vertices) != len(other.vertices) or not np.allclose(first.vertices, other.vertices)


def test_beside_furniture_nothing_that_is_tested_with(tmp_path: Path):
    assert main([str(tmp_path), "--shapes", "4", "--beside", str(EXAMPLES)]) == 0
    with open(tmp_path / "splits.csv", encoding="utf-8") as handle:
        splits = {row["name"]: row["split"] for row in csv.DictReader(handle)}
    files = {file.relative_to(tmp_path).with_suffix("").as_posix() for file in tmp_path.glob("*/*.ply")}
    assert files == set(splits) and set(splits.values()) == {"train", "val"}
    chairs = sorted(file.stem for file in (EXAMPLES / "chair").glob("*.ply"))
    tested = {f"chair/{name}" for name in chairs[len(chairs) * 8 // 10 :]}
    assert tested and not tested & files
    assert {name for name in files if name.startswith("simple/")} == {
        f"simple/{KINDS[number].__name__}_{number:04d}" for number in range(4)
    }
    with open(tmp_path / "credits.csv", encoding="utf-8") as handle:
        assert {row["file"] for row in csv.DictReader(handle)} == {f"{name}.ply" for name in files}
