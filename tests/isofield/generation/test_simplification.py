"""--faces: at most so many, watertight as before, and what it costs is told."""

import numpy as np
import pytest

from data_processing.geometry.simplification import signed_volume
from data_processing.geometry.triangle_mesh import is_watertight
from isofield.generation import simplification
from isofield.generation.simplification import refuse_few, simplify_mesh
from tests.data_processing.geometry.test_simplification import bars
from tests.data_processing.solids import ball, box, joined, without_faces


@pytest.mark.parametrize("faces", [60, 500, 2000])
def test_a_ball_in_fewer_faces_is_a_ball(faces: int):
    mesh, note = simplify_mesh(ball(0.4, subdivisions=4), faces)
    assert faces - 1 <= len(mesh.faces) <= faces and is_watertight(mesh) and not note
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - 0.4).max() < 0.4 * 6 / faces**0.5
    assert signed_volume(mesh) == pytest.approx(4 / 3 * np.pi * 0.4**3, rel=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_thin_bars_stay_closed_in_at_most_so_many(seed: int):
    mesh, note = simplify_mesh(bars(seed), 1000)
    assert is_watertight(mesh) and 900 < len(mesh.faces) <= 1000 and not note


def test_a_mesh_of_few_faces_is_left():
    mesh = box((-0.3, -0.4, -0.1), (0.3, 0.4, 0.1))
    assert simplify_mesh(mesh, 12) == (mesh, "")


def test_parts_that_are_gone_are_told():
    great, small = ball(0.4, subdivisions=4), ball(0.01, (0.45, 0.45, 0), subdivisions=1)
    mesh, note = simplify_mesh(joined(great, small), 100)
    assert is_watertight(mesh) and len(mesh.faces) <= 100
    assert note == f"in {len(mesh.faces)} faces 1 of its 2 parts are gone: ask for more --faces"


def test_parts_that_need_more_faces_are_told_and_kept():
    many = joined(*(ball(0.01, (x, y, 0), subdivisions=2) for x in np.linspace(-0.4, 0.4, 5) for y in (-0.2, 0.2)))
    mesh, note = simplify_mesh(many, 20)
    assert mesh is many and note == "in 20 faces it would not be closed: left in its 3,200"


def test_more_faces_than_were_asked_for_are_told():
    mesh, note = simplify_mesh(bars(2), 4)
    assert len(mesh.faces) > 4 and is_watertight(mesh)
    assert note.startswith(f"in {len(mesh.faces)} faces no closed mesh of 4 was come by, ")


def test_a_lost_volume_is_told():
    mesh, note = simplify_mesh(bars(), 200)
    share = signed_volume(mesh) / signed_volume(bars())
    assert (
        share < 0.9
        and note.endswith(f"its volume is {share:.0%} of what it was: ask for more --faces")
        and is_watertight(mesh)
    )


def test_what_would_be_torn_is_left(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(simplification, "open_pinches", lambda mesh: without_faces(mesh, 1))
    solid = ball(0.4, subdivisions=3)
    mesh, note = simplify_mesh(solid, 100)
    assert mesh is solid and note == "in 100 faces it would not be closed: left in its 1,280"


def test_an_open_mesh_is_simplified_too():
    solid = without_faces(ball(0.4, subdivisions=3), 40)
    mesh, note = simplify_mesh(solid, 200)
    assert 150 < len(mesh.faces) <= 200 and not note


@pytest.mark.parametrize("faces", [3, 0, -5])
def test_fewer_than_a_tetrahedron_are_refused(faces: int):
    with pytest.raises(ValueError, match=f"--faces.*got {faces}"):
        refuse_few(faces)
    refuse_few(None)
    refuse_few(4)
