"""Both reports show the patient's right on the left, and say so: the same masks without any symmetry, in both."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from data_processing.medical.crops import Crop
from isofield.evaluation.mask_pairs import FileMask
from isofield.evaluation.pairs import Pair
from isofield.outliers.comparison.pictures import HEAD, SIZE, picture_of
from isofield.reports.canvas import SOFT, Picture, blank, write_words
from isofield.reports.mask_slices import PLANES, draw_slices, name_sides
from isofield.reports.pairs import LETTERS, slices_of
from tests.data_processing.scan_files import save
from tests.isofield.outliers.comparison.test_pictures import shown

ALPHABET = "RLAPSI"
# Of axial, coronal and sagittal: what is to the left, to the right, above and below.
SIDES = ("RLAP", "RLSI", "APSI")
PALE_RED, PALE_BLUE = (190, 190, 250), (250, 212, 178)


def stored(path: Path, occupancy: np.ndarray, crop: Crop, axes: str) -> Path:
    """A mask file whose voxels are stored in another order than RAS."""
    image = nibabel.Nifti1Image(occupancy, crop.index_to_world)
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(tuple(axes))
    )
    turned = image.as_reoriented(turn)
    return save(path, np.asanyarray(turned.dataobj), turned.affine)


def evaluated(folder: Path, axes: str) -> list[Picture]:
    """The slices of the evaluation's report: an ellipsoid, predicted with a knob to the right, in front and above."""
    compared = shown(extra=True).compared
    predicted = stored(folder / "predicted.nii.gz", compared.mask.occupancy, compared.mask, axes)
    true = stored(folder / "true.nii.gz", compared.rebuilt_XYZ, compared.mask, axes)
    picture = slices_of(Pair("knob", "all", predicted, FileMask(true)), size=SIZE)
    assert picture is not None and picture.shape == (SIZE, 3 * SIZE, 3)
    return [picture[:, n * SIZE : (n + 1) * SIZE] for n in range(3)]


def analysed() -> list[Picture]:
    """The slices of the analysis' report, of the same masks."""
    sheet, _ = picture_of(shown(extra=True))
    return [sheet[HEAD:, n * SIZE : (n + 1) * SIZE] for n in range(3)]


def letters_of(picture: Picture, font: float) -> str:
    """What is written at the left, right, upper and lower border: the letter that fits the pixels there best."""
    size, border = len(picture), 24
    middle = slice(size // 2 - 14, size // 2 + 14)
    strips = (picture[middle, :border], picture[middle, -border:], picture[:border, middle], picture[-border:, middle])
    return "".join(min(ALPHABET, key=lambda letter: misfit(strip, letter, font)) for strip in strips)


def misfit(strip: Picture, letter: str, font: float) -> float:
    """Of a letter, at the place of the strip where it fits best."""
    glyph = blank(28, 28)
    write_words(glyph, letter, (4, 20), size=font, colour=SOFT)
    inked = np.argwhere((glyph < 255).any(axis=2))
    (top, left), (bottom, right) = inked.min(axis=0), inked.max(axis=0) + 1
    wanted = np.pad(glyph[top:bottom, left:right].astype(int), ((2, 2), (2, 2), (0, 0)), constant_values=255)
    padded = np.pad(strip.astype(int), ((3, 3), (3, 3), (0, 0)), constant_values=255)
    windows = np.lib.stride_tricks.sliding_window_view(padded, wanted.shape)
    return float(np.abs(windows - wanted).sum(axis=(-1, -2, -3)).min())


@pytest.mark.parametrize("report", ["RAS", "LPS", "SAL", "analysis"])
def test_the_patients_right_is_on_the_left_in_both_reports(tmp_path: Path, report: str):
    slices = analysed() if report == "analysis" else evaluated(tmp_path, report)
    for picture, sides in zip(slices, SIDES, strict=True):
        y, x = np.nonzero((picture == PALE_RED).all(axis=2))
        assert len(x) > 100
        # The knob lies on the patient's right, in front and above: in every plane to the left and up.
        assert x.mean() < SIZE / 2 and y.mean() < SIZE / 2
        assert letters_of(picture, 0.45 if report == "analysis" else LETTERS) == sides


def test_single_voxels_land_where_they_belong():
    """One corner voxel of each kind: right-back-top in the mask alone, left-front-bottom in the reference alone."""
    mask, reference = np.zeros((2, 12, 10, 8), np.uint8)
    mask[3:9, 3:8, 2:6] = reference[3:9, 3:8, 2:6] = 1
    mask[11, 0, 7], reference[0, 9, 0] = 1, 1
    size = 240
    corners = {"mask": (11, 0, 7), "reference": (0, 9, 0)}
    for name, place in corners.items():
        for picture, plane in zip(
            draw_slices(mask, reference, spacing=np.ones(3), place=np.array(place), size=size), PLANES, strict=True
        ):
            colour = PALE_RED if name == "mask" else PALE_BLUE
            y, x = np.nonzero((picture == colour).all(axis=2))
            assert len(x) > 20
            (u, v) = [axis for axis in range(3) if axis != plane.axis]
            assert (x.mean() < size / 2) == (place[u] > 0) and (y.mean() < size / 2) == (place[v] > 0)


def test_scale_follows_the_spacing_and_names_leave_the_slices_alone():
    mask = np.zeros((10, 10, 10), np.uint8)
    mask[2:8, 2:8, 2:8] = 1
    pictures = draw_slices(mask, mask, spacing=np.array([1.0, 2.0, 4.0]), place=np.array([5, 5, 5]), size=200)
    before = [picture.copy() for picture in pictures]
    named = name_sides(pictures)
    extents = [np.ptp(np.argwhere((picture < 255).any(axis=2)), axis=0) + 1 for picture in pictures]
    # 160 pixels for 40 mm: the cube of 6 x 12 x 24 mm.
    for extent, (height, width) in zip(extents, ((48, 24), (96, 24), (96, 48)), strict=True):
        assert np.abs(extent - (height, width)).max() <= 1
    assert all(np.array_equal(a, b) for a, b in zip(pictures, before, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(pictures, named, strict=True))
