"""What the points of a whole surface enclose: filled where the field tore there, left where they enclose air."""

import functools

import numpy as np
import pytest
import torch

from isofield.extraction.isosurface import extract
from isofield.extraction.lattice import Field
from isofield.generation.enclosed_space import fill_enclosed
from isofield.generation.surfaces import Coded, GenerationConfig, surface_of
from isofield.runtime.seeds import numpy_generator
from tests.isofield.ready_runs import Echo, EchoConfig

RADIUS, LEVEL = 0.35, 0.0
FILL = functools.partial(fill_enclosed, iso_level=LEVEL, batch_points=1 << 15, device=torch.device("cpu"))


def sphere_points(count: int) -> np.ndarray:
    points = numpy_generator("enclosed").standard_normal((count, 3))
    return RADIUS * points / np.linalg.norm(points, axis=1, keepdims=True)


def ball(points_N3: torch.Tensor) -> torch.Tensor:
    return RADIUS - points_N3.norm(dim=1)


def torn(points_N3: torch.Tensor, *, half: float = 0.03) -> torch.Tensor:
    """The ball with a crack across its middle, which does not come to the surface."""
    crack = torch.maximum(points_N3[:, 0].abs() - half, points_N3.norm(dim=1) - 0.25)
    return torch.minimum(ball(points_N3), crack)


def volume(field: Field) -> float:
    mesh = extract(field, iso_level=LEVEL, resolution=64, frame=64, device="cpu").mesh
    first, second, third = np.moveaxis(mesh.triangles(), 1, 0)
    return float((first * np.cross(second, third)).sum() / 6)


@pytest.mark.parametrize("count", [300, 3000, 20_000])
def test_a_crack_inside_of_a_solid_is_filled_and_told(count: int):
    field, note = FILL(torn, sphere_points(count))
    whole = 4 / 3 * np.pi * RADIUS**3
    assert volume(torn) < 0.98 * whole and volume(field) == pytest.approx(whole, rel=1e-2)
    assert note.startswith("filled ") and note.endswith("of the cube: torn inside, and enclosed by the shown points")
    # Near the points, where the network saw something, the field is its own.
    near = torch.as_tensor(sphere_points(count)[:200]).float()
    torch.testing.assert_close(field(near), torn(near))


def test_a_whole_solid_and_one_of_which_nothing_is_known_stay_the_same():
    points = sphere_points(3000)
    assert FILL(ball, points) == (ball, "")
    # A third of the surface was not seen: the outside reaches in.
    assert FILL(torn, points[points[:, 2] < 0.15]) == (torn, "")
    assert FILL(torn, points[:1]) == (torn, "") and FILL(torn, np.repeat(points[:1], 50, axis=0)) == (torn, "")


def test_air_behind_points_stays_air():
    """A thin shell, whose inner side was not shown: most of what is enclosed is outside, so all of it stays."""

    def shell(points_N3: torch.Tensor) -> torch.Tensor:
        return torch.minimum(ball(points_N3), points_N3.norm(dim=1) - 0.28)

    assert FILL(shell, sphere_points(3000)) == (shell, "")


def test_two_spaces_are_judged_each_by_itself():
    """Two balls side by side: one torn, one hollow."""
    points = sphere_points(6000) * 0.6
    shift = torch.tensor([0.24, 0.0, 0.0])

    def both(points_N3: torch.Tensor) -> torch.Tensor:
        left, right = (points_N3 + shift) / 0.6, (points_N3 - shift) / 0.6
        hollow = torch.minimum(ball(right), right.norm(dim=1) - 0.28)
        return torch.maximum(torn(left), hollow)

    field, note = FILL(both, np.concatenate([points[::2] - shift.numpy(), points[1::2] + shift.numpy()]))
    middles = torch.stack([-shift, shift])
    assert note and (both(middles) < LEVEL).all() and (field(middles) > LEVEL).tolist() == [True, False]


def test_generation_fills_and_says_so_unless_the_surface_is_to_be_kept():
    cells = torch.zeros(1, 32, 32, 32)
    cells[0, 4:28, 4:28, 4:28] = 1
    cells[0, 15:17, 9:28, 9:23] = 0  # a crack that comes to the surface: no island
    faces = numpy_generator("faces").uniform(-0.375, 0.375, (4000, 3))
    axis = np.arange(4000) % 3
    faces[np.arange(4000), axis] = np.where(np.arange(4000) % 2, 0.375, -0.375)
    make = functools.partial(surface_of, Echo(EchoConfig()), name="", batch_points=1 << 16, device=torch.device("cpu"))
    pieces = {}
    for islands in ("drop and fill", "drop", None):
        settings = GenerationConfig("", 64, 32, 0, ".ply", 0.5, islands=islands)
        surface = make(Coded(cells, points_N3=faces), settings)
        pieces[islands] = len(surface.mesh.faces), surface.note.partition(" ")[0]
    assert [note for _, note in pieces.values()] == ["filled", "", ""]
    assert pieces["drop and fill"][0] < 0.95 * pieces["drop"][0] and pieces["drop"] == pieces[None]
