"""What stays and what goes when a mask is drawn anew: on bodies whose place and size are known, and on a real one."""

import numpy as np
import pytest
import scipy.ndimage

from isofield.metrics.masks import dice
from isofield.outliers.scoring.cube_masks import CubeMask, centring, shift_mask
from isofield.outliers.scoring.redrawing import Drawing, as_read, redraw, redrawn_mask
from tests.isofield.outliers.organs import brain_config, brain_mask, ellipsoid

DRAWINGS = {
    "grid": Drawing(grid=2.0),
    "slices": Drawing(slices=3.0),
    "nearest": Drawing(grid=2.0, slices=2.0, enlarged=2),
    "smoothed": Drawing(smoothed=1.0),
    "closed": Drawing(closed=2.0),
}


def generator(seed=0):
    return np.random.default_rng(seed)


def places(mask, index_to_mm):
    return np.argwhere(mask) @ index_to_mm[:3, :3].T + index_to_mm[:3, 3]


@pytest.mark.parametrize("name", DRAWINGS)
def test_an_ellipsoid_stays_where_and_as_large_as_it_was(name):
    body = ellipsoid((18, 13, 9), size=48, shift=2.5)[3:, :, 4:]
    before, centres = np.argwhere(body) * 0.8, []
    for seed in range(8):  # where a coarse grid begins moves the centre to either side
        drawn = redraw(body, 0.8, DRAWINGS[name], generator(seed))
        after = places(drawn.mask_RRR, drawn.index_to_mm)
        volume = len(after) * abs(np.linalg.det(drawn.index_to_mm[:3, :3]))
        assert volume == pytest.approx(4 / 3 * np.pi * 18 * 13 * 9 * 0.8**3, rel=0.04)
        centres.append(after.mean(axis=0))
    np.testing.assert_allclose(np.mean(centres, axis=0), before.mean(axis=0), atol=0.08)


def test_voxels_have_the_edges_that_were_asked_for():
    body = ellipsoid((18, 13, 9))
    edges = {name: np.diag(redraw(body, 0.8, DRAWINGS[name], generator()).index_to_mm)[:3] for name in DRAWINGS}
    np.testing.assert_allclose(edges["grid"], 2.0)
    np.testing.assert_allclose(edges["slices"], [0.8, 0.8, 3.0])
    np.testing.assert_allclose(edges["nearest"], 1.0)
    np.testing.assert_allclose([edges["smoothed"], edges["closed"]], 0.8)
    blocks = redraw(body, 0.8, DRAWINGS["nearest"], generator()).mask_RRR
    assert (blocks == blocks[::2, ::2, ::2].repeat(2, 0).repeat(2, 1).repeat(2, 2)).all()


def test_where_the_grid_begins_is_drawn():
    body = ellipsoid((18, 13, 9))
    first, again, other = (redraw(body, 0.8, DRAWINGS["grid"], generator(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.mask_RRR, again.mask_RRR)
    assert (first.index_to_mm == again.index_to_mm).all() and (first.index_to_mm != other.index_to_mm).any()


def test_smoothing_takes_a_spike_and_closing_fills_a_groove():
    body = np.zeros((40, 40, 40), bool)
    body[8:32, 8:32, 8:32] = True
    body[18:21, 20:32, :] = False  # a groove of 3 voxels, open to one side
    body[20:32, 8:20, 19:22] = False  # a notch as thin, but wide in its own slices
    body[12, 12, 32:36] = True  # a spike
    smoothed = redraw(body, 1.0, Drawing(smoothed=1.5), generator()).mask_RRR
    closed = redraw(body, 1.0, Drawing(closed=3.0), generator()).mask_RRR
    reach = (np.array(closed.shape) - 40) // 2
    inner = tuple(slice(r, r + 40) for r in reach)
    assert closed[inner][19, 25, 20] and not body[19, 25, 20]
    assert not closed[inner][27, 12, 20]  # slices are closed one by one
    assert closed[inner][12, 12, 35]  # and a spike across them stays
    extent = [side.stop - side.start for side in scipy.ndimage.find_objects(smoothed.view(np.uint8))[0]]
    assert extent[2] == 24


def test_a_body_thinner_than_half_a_voxel_is_lost_and_kept_as_it_was():
    plate = np.zeros((30, 30, 30), bool)
    plate[5:25, 5:25, 14] = True
    assert not redraw(plate, 1.0, Drawing(grid=6.0), generator()).mask_RRR.any()
    shift = centring(plate)
    mask = CubeMask(shift_mask(plate, shift), np.diag([128.0, 128.0, 128.0, 1.0]))
    kept = redrawn_mask(mask, Drawing(grid=6.0), brain_config(), generator())
    np.testing.assert_array_equal(kept.occupancy_RRR, mask.occupancy_RRR)
    with pytest.raises(ValueError, match="nothing"):
        as_read(redraw(plate, 1.0, Drawing(grid=6.0), generator()), mask, brain_config())


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_real_mask_is_read_back_in_its_own_place(side):
    """Mirrored or not: as fine as it was, nothing but the rounding of a shift is left; and it keeps its side."""
    mask = brain_mask(0, side)
    same = redrawn_mask(mask, Drawing(), brain_config(), generator())
    assert dice(same.occupancy_RRR, mask.occupancy_RRR) > 0.999
    assert dice(same.occupancy_RRR[::-1], mask.occupancy_RRR) < 0.9
    assert np.linalg.det(same.to_world[:3, :3]) * np.linalg.det(mask.to_world[:3, :3]) > 0
    coarse = redrawn_mask(mask, Drawing(grid=1.5), brain_config(), generator())
    assert 0.7 < dice(coarse.occupancy_RRR, mask.occupancy_RRR) < 0.99
