"""The field on the judged grid against the field asked everywhere, and what networks are shown."""

import dataclasses

import numpy as np
import pytest
import torch

from isofield.outliers.benchmark.corruptions import corrupt
from isofield.outliers.scoring.cube_masks import GRID, CubeMask, centring, network_input, shift_mask
from isofield.outliers.scoring.reconstruction import reconstruct
from isofield.registry import LoadedRun, load_run
from tests.isofield.outliers.analysed import passes_of
from tests.isofield.outliers.organs import brain_mask, ellipsoid
from tests.plain_ways import grid_centres


class Softened(torch.nn.Module):
    """A smooth field out of what is shown: trilinear between cells."""

    iso_level = 0.5

    def encode(self, inputs):
        return {"volume": torch.nn.functional.avg_pool3d(inputs, 3, stride=1, padding=1)}

    def decode(self, points_BN3, code):
        places = 2 * points_BN3.flip(-1)[:, :, None, None]
        sampled = torch.nn.functional.grid_sample(code["volume"], places, align_corners=False)
        return sampled[:, 0, :, 0, 0]


def test_coarse_to_fine_finds_what_dense_evaluation_finds(brain_run):
    loaded = dataclasses.replace(load_run(brain_run), model=Softened())
    masks = [brain_mask(0), brain_mask(1, "right")]
    for mask, found in zip(masks, reconstruct(loaded, masks, keep_thin=True), strict=True):
        dense = found.field(grid_centres(GRID)).view((GRID,) * 3).numpy()
        assert ((dense > 0.5) != found.occupancy_RRR).sum() <= 0.002 * mask.occupancy_RRR.sum()
        asked = np.abs(found.values_RRR - 0.5) < 10
        np.testing.assert_allclose(found.values_RRR[asked], dense[asked], atol=1e-5)
    assert isinstance(loaded, LoadedRun)


@pytest.mark.parametrize(("resolution", "passes"), [(32, [8, 2]), (128, [1] * 10)])
def test_masks_go_through_the_encoder_together_where_memory_allows(brain_run, resolution, passes, monkeypatch):
    loaded = load_run(brain_run)
    section = dataclasses.replace(loaded.config.data.input, resolution=resolution)
    config = dataclasses.replace(loaded.config, data=dataclasses.replace(loaded.config.data, input=section))
    loaded = dataclasses.replace(loaded, config=config)
    passes_seen = passes_of(monkeypatch, loaded.model)
    masks = [brain_mask(number % 4, ("left", "right")[number % 2]) for number in range(10)]
    for mask, found in zip(masks, reconstruct(loaded, masks, keep_thin=True), strict=True):
        (alone,) = reconstruct(loaded, [mask], keep_thin=True)
        assert np.array_equal(alone.values_RRR, found.values_RRR)
        passes_seen.pop()
    assert passes_seen == passes


def test_networks_are_shown_what_they_were_trained_on():
    mask = ellipsoid((20, 30, 10), size=GRID)
    solid = network_input(mask, "deformed", 32, keep_thin=False)
    assert solid.shape == (1, 32, 32, 32)
    assert float(solid.sum()) * 64 == pytest.approx(mask.sum(), rel=0.05)
    voxels = network_input(mask, "voxels", 64, keep_thin=False)
    assert float(voxels.sum()) * 8 > mask.sum() * 1.05
    with pytest.raises(ValueError, match="solids"):
        network_input(mask, "points", 64, keep_thin=False)
    with pytest.raises(ValueError, match="256"):
        network_input(mask, "solid", 256, keep_thin=False)


def test_a_spoilt_mask_moves_into_the_middle_with_its_clean_one():
    clean = ellipsoid((10, 15, 12), size=70)
    made = corrupt(clean, "merged_neighbour", severity="moderate", seed=0, name="x")
    shift = centring(made.mask_RRR)
    mask, truth = shift_mask(made.mask_RRR, shift), shift_mask(clean, shift)
    places = np.argwhere(mask)
    assert np.abs(places.min(axis=0) + places.max(axis=0) - (GRID - 1)).max() <= 1
    assert truth.sum() == clean.sum() and (mask ^ truth).sum() == (made.mask_RRR ^ clean).sum()
    assert not centring(np.zeros((4, 4, 4), bool)).any()
    with pytest.raises(ValueError, match=f"{GRID + 1}"):
        centring(np.ones((GRID + 1, 2, 2), bool))


def test_cells_know_their_size():
    assert CubeMask(np.zeros((GRID,) * 3, bool), np.diag([160.0, 160.0, 160.0, 1.0])).spacing == 1.25
