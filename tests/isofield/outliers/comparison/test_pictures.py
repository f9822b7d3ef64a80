"""Pictures show the right side on the left, extra red, missing blue, and this mask among the clean ones."""

import numpy as np
import pytest

from data_processing.formats.nifti import ScanGrid
from data_processing.geometry.coordinates import scaling_about
from data_processing.medical.crops import Crop
from isofield.outliers.comparison.drawing import score_histogram
from isofield.outliers.comparison.on_scan import compare_on_scan, largest_disagreement
from isofield.outliers.comparison.pictures import HEAD, SIZE, THUMB, Shown, picture_of
from isofield.outliers.comparison.surface_rendering import view_of
from isofield.reports.canvas import MISSING, encode_webp
from isofield.reports.disagreement import signed_colours
from tests.data_processing.scan_files import centred, world_of
from tests.isofield.outliers.comparison.test_on_scan import KNOB, MIDDLE, knob, level, rebuilt_by


def shown(*, extra: bool) -> Shown:
    """An ellipsoid with a knob on the right, front, top; on a scan in RAS."""
    shape = (70, 60, 50)
    affine = centred(np.eye(4), shape, MIDDLE)
    places = world_of(affine, shape)
    inside = (level(places) > 0) | knob(places) if extra else (level(places) > 0) & ~knob(places)
    crop = Crop(inside.astype(np.uint8), affine, np.zeros(3, np.int64), np.array(shape), ScanGrid(shape, affine))
    rebuilt = rebuilt_by(scaling_about(MIDDLE, 70.0), extra=extra)
    compared, largest = compare_on_scan(crop, rebuilt, tolerance=1.0), largest_disagreement(rebuilt.mask, rebuilt)
    scores = np.linspace(0, 3, 30)
    view = view_of(rebuilt.mask, rebuilt, towards=None if largest is None else largest.world)
    return Shown("organ", "numbers", compared, view, largest, scores, 5.0, 2.5)


def reddish(picture: np.ndarray) -> np.ndarray:
    return picture[..., 2].astype(int) - picture[..., 0] > 40


def bluish(picture: np.ndarray) -> np.ndarray:
    return picture[..., 0].astype(int) - picture[..., 2] > 40


@pytest.mark.parametrize("extra", [True, False])
def test_slices_are_radiological_and_colours_have_a_sign(extra: bool):
    sheet, thumb = picture_of(shown(extra=extra))
    assert sheet.shape[0] == HEAD + SIZE and thumb.shape == (THUMB, 4 * THUMB, 3)
    marked, other = (reddish, bluish) if extra else (bluish, reddish)
    # The knob is right (+x), in front (+y) and above (+z) of the middle: axial and coronal show it on the left.
    for number, (to_left, upwards) in enumerate(((True, True), (True, True), (True, True))):
        tile = sheet[HEAD:, number * SIZE : (number + 1) * SIZE]
        y, x = np.nonzero(marked(tile))
        assert len(x) > 100 and marked(tile).sum() > 5 * other(tile).sum()
        assert (x.mean() < SIZE / 2) == to_left and (y.mean() < SIZE / 2) == upwards
    rendering = sheet[HEAD:, 3 * SIZE : 4 * SIZE]
    assert marked(rendering).sum() > 300 and other(rendering).sum() < 30
    assert 300 < len(encode_webp(thumb)) < 6000


def test_the_slices_go_through_the_disagreement():
    one = shown(extra=True)
    assert one.largest is not None and np.linalg.norm(np.array(one.largest.world) - KNOB) < 8
    sheet, _ = picture_of(one)
    plain = Shown(**{**vars(one), "largest": None})
    assert not np.array_equal(sheet, picture_of(plain)[0])


def test_colours_run_from_blue_over_grey_to_red():
    colours = signed_colours(np.array([-9.0, -3.0, 0.0, 3.0, 9.0]), 3.0)
    assert np.allclose(colours[0], colours[1]) and np.allclose(colours[1], MISSING) and np.allclose(colours[2], 205)
    assert colours[4][2] > colours[4][0]


def test_the_mark_is_beyond_the_clean_masks_and_infinity_at_the_end():
    scores = np.linspace(0, 1, 50)
    columns = []
    for score in (0.5, 3.0, np.inf):
        picture = score_histogram(scores, score, 0.95, height=SIZE, width=300)
        red = (picture[100] == (60, 60, 222)).all(axis=-1)
        columns.append(int(np.nonzero(red)[0].mean()))
    assert columns[0] < 200 < columns[1] < 300 and columns[2] >= 280
    without = score_histogram(np.zeros(0), None, None, height=SIZE, width=300)
    assert without.min() < 128  # it says so
