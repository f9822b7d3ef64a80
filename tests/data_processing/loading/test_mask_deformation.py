"""Deformed masks: the published noise, where cells may change, how many, and what decides about a mask."""

import itertools

import numpy as np
import pytest
import torch

from data_processing.loading.mask_deformation import DeformationConfig, deform, perlin, span
from isofield.runtime.counter_random import keys_of
from tests.golden import FOLDER

KEYS = keys_of(range(24))


def boxes(count: int = 24, resolution: int = 40) -> torch.Tensor:
    """Off-centre boxes with three different sides, another for each shape."""
    masks = torch.zeros(count, resolution, resolution, resolution, dtype=torch.uint8)
    for number in range(count):
        masks[number, 12 : 20 + number % 7, 13:29, 11 : 17 + number % 3] = 1
    return masks


def plain_noise(gradients_LLL3: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    """Perlin noise corner by corner, as textbooks write it."""
    grid = np.stack(np.meshgrid(*places, indexing="ij"), -1)
    cell = np.minimum(np.floor(grid).astype(int), len(gradients_LLL3) - 2)
    way = grid - cell
    fade = way**3 * (way * (way * 6 - 15) + 10)
    noise = np.zeros(grid.shape[:3])
    for corner in itertools.product((0, 1), repeat=3):
        gradient = gradients_LLL3[tuple((cell + corner).transpose(3, 0, 1, 2))]
        weight = np.prod(np.where(np.array(corner), fade, 1 - fade), -1)
        noise += weight * (gradient * (way - corner)).sum(-1)
    return noise


def test_published_gradients_give_the_published_noise():
    """Their gradients are sqrt(3) (cos a, sin a, cos a sin a): neither unit nor isotropic. Their cells start at 0."""
    golden = np.load(FOLDER / "perlin3d.npz", allow_pickle=False)
    angle = torch.from_numpy(golden["angles"]).double()
    gradients = 3**0.5 * torch.stack([angle.cos(), angle.sin(), angle.cos() * angle.sin()], -1)
    x, y, z = (torch.arange(int(n)).double()[None] * int(golden["hills"]) / int(n) for n in golden["shape"])
    noise = perlin(gradients[None], (x, y, z))
    assert np.abs(noise[0].numpy() - golden["noise"]).max() < 3e-6
    low, high = span(noise, torch.ones_like(noise, dtype=torch.bool))
    above = (noise - low) / (high - low) > 0.69394  # what U(0.65, 1) gave them
    assert np.array_equal(above[0].numpy(), golden["mask_65_100"] > 0)


@pytest.mark.parametrize("nodes", [2, 4, 6])
def test_noise_of_a_batch_is_that_of_the_textbook(nodes: int):
    random = np.random.default_rng(nodes)
    gradients = random.normal(size=(3, nodes, nodes, nodes, 3))
    places = [np.sort(random.uniform(0, nodes - 1, (3, length)), 1) for length in (9, 7, 8)]
    places[0][0, -1] = nodes - 1  # the last node itself
    x, y, z = (torch.from_numpy(place) for place in places)
    noise = perlin(torch.from_numpy(gradients), (x, y, z))
    for shape in range(3):
        expected = plain_noise(gradients[shape], [place[shape] for place in places])
        assert np.abs(noise[shape].numpy() - expected).max() < 1e-5


@pytest.mark.parametrize(("mode", "margin"), [("add", 3), ("add", 6), ("add", 0)])
def test_adding_keeps_every_cell_and_stays_within_the_margin(mode: str, margin: int):
    masks = boxes()
    deformed = deform(masks, DeformationConfig(modes=(mode,), add_margin=margin, threshold=(0.5, 0.9)), KEYS)
    assert deformed.dtype == torch.uint8 and (deformed >= masks).all() and int(deformed.max()) == 1
    reach = []
    for mask, after in zip(masks, deformed, strict=True):
        cells, changed = mask.nonzero(), (after & ~mask & 1).nonzero()
        if len(changed):
            reach.append(torch.maximum(cells.amin(0) - changed.amin(0), changed.amax(0) - cells.amax(0)))
    assert len(reach) > 12 or margin == 0
    if margin:  # over 24 shapes every side of every axis is reached, and none is passed
        assert torch.stack(reach).amax(0).tolist() == [margin] * 3
    else:
        assert torch.equal(deformed, masks)  # a box fills its own box


def test_removing_takes_cells_of_the_mask_alone():
    masks = boxes()
    deformed = deform(masks, DeformationConfig(modes=("remove",), threshold=(0.5, 0.9)), KEYS)
    assert (deformed <= masks).all() and sum(int((a != b).any()) for a, b in zip(masks, deformed, strict=True)) > 12


def test_one_mode_is_drawn_for_each_sample():
    masks = boxes(400, 32)
    keys = keys_of(range(400))
    deformed = deform(masks, DeformationConfig(threshold=(0.5, 0.5)), keys)
    added = (deformed & ~masks & 1).flatten(1).any(1)
    removed = (masks & ~deformed & 1).flatten(1).any(1)
    assert not (added & removed).any() and int(added.sum() + removed.sum()) == 400
    assert abs(int(added.sum()) - 200) < 50
    both = deform(masks[:50], DeformationConfig(modes=("both",), threshold=(0.5, 0.5)), keys[:50])
    assert (
        (both & ~masks[:50] & 1).flatten(1).any(1) & (masks[:50] & ~both & 1).flatten(1).any(1)
    ).float().mean() > 0.9
    assert torch.equal(deform(masks[:5], DeformationConfig(modes=("none",)), keys[:5]), masks[:5])


def test_the_share_that_changes_is_that_of_isotropic_noise():
    """Against the textbook's noise with unit gradients from another generator, over the same box."""
    sides, threshold, random = (18, 14, 16), 0.7, np.random.default_rng(0)
    masks = torch.zeros(150, 24, 24, 24, dtype=torch.uint8)
    masks[:, 3:21, 5:19, 4:20] = 1
    section = DeformationConfig(modes=("remove",), remove_margin=0, threshold=(threshold, threshold))
    ours = 1 - deform(masks, section, keys_of(range(150))).sum((1, 2, 3)) / masks.sum((1, 2, 3))
    shares = []
    for _ in range(150):
        gradients = random.normal(size=(4, 4, 4, 3))
        gradients /= np.linalg.norm(gradients, axis=-1, keepdims=True)
        noise = plain_noise(gradients, [(np.arange(n) + 0.5) * 3 / n for n in sides])
        shares.append(((noise - noise.min()) / np.ptp(noise) > threshold).mean())
    error = (float(ours.var()) / 150 + np.var(shares) / 150) ** 0.5
    assert 0.02 < np.mean(shares) < 0.4 and abs(float(ours.mean()) - np.mean(shares)) < 4 * error


def test_no_axis_is_preferred():
    """The published gradients vary less along z: noise there is smoother. Ours is the same along every axis."""
    masks = torch.zeros(200, 20, 20, 20, dtype=torch.uint8)
    masks[:, 1:19, 1:19, 1:19] = 1
    section = DeformationConfig(modes=("remove",), remove_margin=0, threshold=(0.6, 0.6))
    deformed = deform(masks, section, keys_of(range(200)))[:, 1:19, 1:19, 1:19].float()
    steps = [deformed.diff(dim=axis).abs().mean((1, 2, 3)) for axis in (1, 2, 3)]
    for one, other in itertools.combinations(steps, 2):
        difference = one - other
        assert abs(float(difference.mean())) < 4 * float(difference.std()) / 200**0.5


def test_the_noise_lies_evenly_in_its_box():
    """Cells are where their centres are: as much goes from the first plane of cells as from the last."""
    masks = torch.zeros(600, 8, 8, 8, dtype=torch.uint8)
    masks[:, 2:6, 2:6, 2:6] = 1
    section = DeformationConfig(modes=("remove",), remove_margin=0, threshold=(0.6, 0.6))
    gone = 1 - deform(masks, section, keys_of(range(600)))[:, 2:6, 2:6, 2:6].float()
    for axis in (1, 2, 3):
        others = [other for other in (1, 2, 3) if other != axis]
        difference = gone.mean(others) - gone.mean(others).flip(1)
        assert (difference.mean(0).abs() < 4 * difference.std(0) / 600**0.5).all()


def test_a_key_means_one_mask_in_any_batch_and_another_key_another():
    masks, section = boxes(), DeformationConfig(threshold=(0.5, 0.9), modes=("add", "remove", "both"))
    whole = deform(masks, section, KEYS)
    for number in (0, 7, 23):
        assert torch.equal(deform(masks[number : number + 1], section, KEYS[number : number + 1])[0], whole[number])
    assert torch.equal(deform(masks.flip(0), section, KEYS.flip(0)).flip(0), whole)
    other = deform(masks, section, keys_of(range(100, 124)))
    assert sum(not torch.equal(a, b) for a, b in zip(whole, other, strict=True)) == 24


def test_an_empty_mask_stays_empty_and_one_at_the_border_is_deformed():
    empty = torch.zeros(4, 16, 16, 16, dtype=torch.uint8)
    assert not deform(empty, DeformationConfig(modes=("both",)), KEYS[:4]).any()
    full = torch.ones(4, 16, 16, 16, dtype=torch.uint8)
    removed = deform(full, DeformationConfig(modes=("remove",), threshold=(0.5, 0.5)), KEYS[:4])
    assert ((removed == 0).flatten(1).float().mean(1) > 0.05).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"hills": 0},
        {"threshold": (0.5, 1.1)},
        {"threshold": (0.9, 0.5)},
        {"threshold": (float("nan"), 1.0)},
        {"add_margin": -1},
        {"modes": ()},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict):
    with pytest.raises(ValueError, match="deform: "):
        DeformationConfig(**wrong)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_makes_the_mask_of_the_cpu():
    masks, section = boxes(), DeformationConfig(threshold=(0.5, 0.9), modes=("add", "remove", "both"))
    assert torch.equal(deform(masks.cuda(), section, KEYS.cuda()).cpu(), deform(masks, section, KEYS))
