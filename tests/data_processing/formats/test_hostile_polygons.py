"""Small mesh files that ask for endless work: headers of many properties, polygons whose edges cross everywhere."""

import numpy as np
import pytest

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry import polygons
from tests.hostile import limited, refusal


def crossing_polygons(count, corners):
    """Cutting one takes time with the square of its corners."""
    places = np.random.default_rng(0).integers(0, 9999, (corners, 2)).tolist()
    numbers = b" ".join(b"%d" % (number + 1) for number in range(corners))
    return b"".join(b"v %d %d 0\n" % tuple(place) for place in places) + b"f %s\n" % numbers * count


@pytest.mark.parametrize(("count", "corners"), [(40, 2000), (1, 30_000)])
def test_polygons_whose_edges_cross(tmp_path, count, corners, monkeypatch):
    monkeypatch.setattr(polygons, "MAX_STEPS", polygons.MAX_STEPS // 10)  # a tenth of the seconds
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "crossing.obj").write_bytes(crossing_polygons(count, corners))
    assert f"{corners:,} corners" in refusal(read_mesh, tmp_path / "in" / "crossing.obj")


def test_many_bow_ties_are_read(tmp_path):
    """Sloppy models have them: they are cut fast enough in any number."""
    corners = b"v 0 0 0\nv 1 1 0\nv 1 0 0\nv 0 2 0\n"
    (tmp_path / "bow.obj").write_bytes(corners + b"f 1 2 3 4\n" * 20_000)
    with limited():
        assert len(read_mesh(tmp_path / "bow.obj").faces) == 40_000


def test_a_header_of_many_properties(tmp_path):
    (tmp_path / "in").mkdir()
    head = b"ply\nformat ascii 1.0\nelement vertex 3\n" + b"property float x\n" * 200_000 + b"end_header\n0 0 0\n"
    (tmp_path / "in" / "wide.ply").write_bytes(head)
    refusal(read_mesh, tmp_path / "in" / "wide.ply")
