"""The picture of the curves: its panels, its scales, and what is left out."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from isofield.reports.curves import BOTTOM, COLOURS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, draw_curves, write_curves
from isofield.runtime.atomic_files import WriteError

NAN = float("nan")


def ends(picture: np.ndarray, colour: tuple[int, int, int], panel: int = 0) -> tuple[int, int]:
    """Heights at which a curve of this colour leaves the frame on the left and arrives on the right."""
    part = picture[panel * HEIGHT : (panel + 1) * HEIGHT]
    hits = (np.abs(part.astype(int) - colour).max(axis=2) < 40)[TOP - 6 : HEIGHT - BOTTOM + 6]
    sides = (hits[:, LEFT : LEFT + 3], hits[:, WIDTH - RIGHT - 3 : WIDTH - RIGHT])
    left, right = (int(np.argwhere(side.any(axis=1)).mean()) + TOP - 6 for side in sides)
    return left, right


def test_a_curve_goes_from_its_first_value_to_its_last():
    picture = draw_curves({"validation/iou": [(0, 0.0), (100, 1.0)]})
    assert picture is not None and picture.shape == (HEIGHT, WIDTH, 3)
    left, right = ends(picture, COLOURS[0])
    assert abs(left - (HEIGHT - BOTTOM)) <= 3 and abs(right - TOP) <= 3


def test_names_alike_after_the_slash_share_a_panel_and_all_share_the_steps():
    losses = {"autoencoder/loss": [(0, 1.0), (10, 2.0)], "validation/loss": [(0, 2.0), (10, 1.0)]}
    curves = losses | {"validation/iou": [(5, 0.3)]}
    picture = draw_curves(curves)
    assert picture is not None and picture.shape == (2 * HEIGHT, WIDTH, 3)
    (up_left, up_right), (down_left, down_right) = ends(picture, COLOURS[0]), ends(picture, COLOURS[1])
    assert up_left > up_right and down_left < down_right and abs(up_left - down_right) <= 3


def test_values_far_apart_are_drawn_by_their_logarithm():
    """0.01 lies in the middle of 0.0001 and 1."""
    far = draw_curves({"loss": [(0, 0.01), (50, 1.0), (100, 0.0001), (200, 0.01)]})
    assert far is not None
    left, right = ends(far, COLOURS[0])
    middle = (TOP + HEIGHT - BOTTOM) // 2
    assert abs(left - middle) <= 3 and abs(right - middle) <= 3


def test_what_is_not_finite_is_left_out_and_nothing_is_no_picture(tmp_path: Path):
    with_holes = draw_curves({"a": [(0, 1.0), (1, NAN), (2, float("inf")), (3, 2.0)], "b": [(0, NAN)]})
    assert np.array_equal(with_holes, draw_curves({"a": [(0, 1.0), (3, 2.0)]}))
    assert draw_curves({"b": [(0, NAN)]}) is None and draw_curves({}) is None
    write_curves(tmp_path / "curves.png", {"b": []})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("values", [[0.0], [7.0, 7.0], [-1e30, 1e30], [1e-300, 1e300], [5e-324, 1.0]])
def test_any_numbers_can_be_drawn(values: list[float]):
    assert draw_curves({"loss": list(enumerate(values))}) is not None


def test_a_long_curve_is_thinned_and_ends_where_it_ends():
    curve = [(step, 1.0 - step / 100_000) for step in range(100_001)]
    picture = draw_curves({"loss": curve})
    assert picture is not None and ends(picture, COLOURS[0])[1] >= HEIGHT - BOTTOM - 3


def test_the_file_is_the_picture_and_a_folder_in_the_way_is_an_error(tmp_path: Path):
    write_curves(tmp_path / "curves.png", {"loss": [(0, 1.0), (9, 2.0)]})
    assert np.array_equal(cv2.imread(str(tmp_path / "curves.png")), draw_curves({"loss": [(0, 1.0), (9, 2.0)]}))
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(WriteError, match=r"taken\.png"):
        write_curves(tmp_path / "taken.png", {"loss": [(0, 1.0)]})
