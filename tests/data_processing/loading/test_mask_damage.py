"""Damaged masks: what each kind may change and how much, that a key means one mask, and what is left alone."""

import dataclasses

import numpy as np
import pytest
import scipy.ndimage
import torch

from data_processing.loading.mask_damage import KINDS, DamageConfig, damage, strengths
from data_processing.loading.mask_deformation import DeformationConfig, deform
from isofield.runtime.counter_random import keys_of

NOTHING = dict.fromkeys(KINDS, 0.0)
ALL = DamageConfig(share=1.0, at_once=len(KINDS))


def only(kind: str, strength: float) -> DamageConfig:
    return DamageConfig(share=1.0, **{**NOTHING, kind: strength})


def boxes(count: int, resolution: int = 40) -> torch.Tensor:
    """Off-centre boxes with three different sides, another for each shape."""
    masks = torch.zeros(count, resolution, resolution, resolution, dtype=torch.uint8)
    for number in range(count):
        masks[number, 12 : 22 + number % 5, 10:28, 13 : 26 + number % 3] = 1
    return masks


def sizes(masks: torch.Tensor) -> torch.Tensor:
    return masks.flatten(1).sum(1)


ADDING, REMOVING = ("grow", "ball"), ("shrink", "bite", "slices", "cut")


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_adds_or_removes_as_it_says_the_more_the_stronger(kind: str):
    masks, keys = boxes(40), keys_of(range(40))
    most = getattr(DamageConfig(), kind)
    changed = {share: damage(masks, only(kind, share * most), keys) for share in (0.02, 0.3, 1.0)}
    for after in changed.values():
        assert after.dtype == torch.uint8 and int(after.max()) == 1
        assert kind not in ADDING or (after >= masks).all()
        assert kind not in REMOVING or (after <= masks).all()
    apart = [float((sizes(after ^ masks) / sizes(masks)).mean()) for after in changed.values()]
    assert apart[0] < apart[1] < apart[2] and apart[2] > 0.04 and (apart[0] < 0.02 or kind in ("grow", "shrink"))


def test_a_surface_moves_as_far_as_its_strength():
    """Of flat faces, in whole cells; corners are rounded within the reach of a ball."""
    masks = boxes(1, 32)[[0] * 64]
    keys = keys_of(range(64))
    for kind, sign in (("grow", 1), ("shrink", -1)):
        cells = strengths(only(kind, 3.0), keys)[kind]
        after = damage(masks, only(kind, 3.0), keys)
        thick = after[:, 17, 19].sum(1)  # through the middle, 13 cells
        expected = 13 + 2 * sign * (cells + 0.5).floor()
        clear = ((cells + 0.5) % 1 - 0.5).abs() < 0.4  # not where it rounds
        assert clear.sum() > 40 and torch.equal(thick[clear].float(), expected[clear])
        corners = after[:, 11, 9, 12] if sign > 0 else 1 - after[:, 12, 10, 13]
        assert float(corners[cells < 0.6].float().mean()) == (0 if sign > 0 else 1)  # convex: last to come, first to go


def test_growth_is_that_of_distances():
    """Against distances of scipy, blurred the same, for solids with holes and edges."""
    random = np.random.default_rng(0)
    solid = scipy.ndimage.gaussian_filter(random.normal(size=(28, 30, 26)), 3) > 0.02
    solid[:4] = solid[-4:] = solid[:, :4] = solid[:, -4:] = solid[:, :, :4] = solid[:, :, -4:] = False
    outside, inside = (scipy.ndimage.distance_transform_edt(part) for part in (~solid, solid))
    distance = np.clip(np.where(solid, 0.5 - inside, outside - 0.5), -4, 4)
    for axis in range(3):
        distance = scipy.ndimage.convolve1d(distance, [0.25, 0.5, 0.25], axis=axis, mode="nearest")
    masks = torch.from_numpy(solid.astype(np.uint8)).expand(20, -1, -1, -1)
    keys = keys_of(range(20))
    for kind, sign in (("grow", 1), ("shrink", -1)):
        cells = strengths(only(kind, 2.0), keys)[kind]
        after = damage(masks, only(kind, 2.0), keys)
        for number in range(20):
            grown = distance < sign * float(cells[number])
            expected = solid | grown if sign > 0 else solid & grown
            unsure = np.abs(distance - sign * float(cells[number])) < 0.1  # sixteenths
            assert ((after[number].numpy().astype(bool) == expected) | unsure).all()


def test_a_cut_is_a_plane_that_leaves_its_share_of_the_extent():
    ball = torch.zeros(1, 48, 48, 48, dtype=torch.uint8)
    axis = torch.arange(48) - 24.0
    ball[0] = (axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None] ** 2 < 18**2).to(torch.uint8)
    keys = keys_of(range(60))
    masks, section = ball.expand(60, -1, -1, -1), only("cut", 0.5)
    after, share = damage(masks, section, keys), strengths(section, keys)["cut"]
    height = 2 * share.double()  # of the cap over the radius
    assert (sizes(masks - after) / sizes(masks) - height**2 * (3 - height) / 4).abs().max() < 0.03
    first = torch.stack([(masks - after).amax((2, 3)).argmax(1), (masks - after).amax((1, 3)).argmax(1)], 1)
    assert len(first.unique(dim=0)) > 30  # from all sides


def test_slices_are_lost_whole_across_one_axis():
    masks, keys = boxes(90), keys_of(range(90))
    after = damage(masks, only("slices", 0.5), keys)
    axes = set()
    for mask, left in zip(masks, after, strict=True):
        lost = mask - left
        if lost.any():
            across = [
                axis
                for axis in range(3)
                if torch.equal(lost, mask * lost.amax([a for a in range(3) if a != axis], keepdim=True))
            ]
            assert len(across) == 1
            axes.add(across[0])
    assert axes == {0, 1, 2}
    lost_share = 1 - sizes(after) / sizes(masks)
    assert abs(float(lost_share.mean()) - 0.25) < 0.06 and float(lost_share.min()) == 0


def test_a_slip_keeps_one_side_and_moves_the_other():
    masks, keys = boxes(30, 64), keys_of(range(30))
    after = damage(masks, only("slip", 0.3), keys)
    edge = torch.tensor([(10 + n % 5 + 18 + 13 + n % 3) / 3 for n in range(30)])
    for mask, moved, reach in zip(masks, after, 0.3 * edge, strict=True):
        cells, reached = mask.nonzero(), moved.nonzero()
        beyond = torch.maximum(cells.amin(0) - reached.amin(0), reached.amax(0) - cells.amax(0))
        assert int(beyond.max()) < reach + 1  # it moves by whole cells
        assert int((mask & moved).sum()) > 0.4 * int(mask.sum())
        assert int(moved.sum()) <= int(mask.sum())
    assert int((sizes(after ^ masks) > 0).sum()) > 24


def test_balls_stick_to_the_surface_or_stand_away_and_bites_open_it():
    masks, keys = boxes(50, 56), keys_of(range(50))
    pieces = [scipy.ndimage.label(mask.numpy())[1] for mask in damage(masks, only("ball", 0.4), keys)]
    assert set(pieces) == {1, 2} and 0 < pieces.count(2) < 25
    for mask, left in zip(masks, damage(masks, only("bite", 0.4), keys), strict=True):
        bitten = (mask - left).numpy()
        if bitten.any():  # the outside reaches it
            shell = scipy.ndimage.binary_dilation(1 - mask.numpy())
            assert (bitten & shell).any()


def test_strengths_are_uniform_from_zero_and_kinds_as_many_as_wanted():
    keys = keys_of(range(4000))
    section = DamageConfig(share=0.6, at_once=2, cut=0.0)
    found = strengths(section, keys)
    assert list(found) == [kind for kind in KINDS if kind != "cut"]
    drawn = torch.stack(list(found.values()), 1) > 0
    counts = drawn.sum(1).bincount(minlength=3) / 4000
    assert (counts - torch.tensor([0.4, 0.3, 0.3])).abs().max() < 0.03 and len(counts) == 3
    assert (drawn.float().mean(0) - 0.9 / 7).abs().max() < 0.03
    for kind, values in found.items():
        share = values[values > 0] / getattr(section, kind)
        assert float(share.min()) < 0.02 and 0.98 < float(share.max()) < 1 and abs(float(share.mean()) - 0.5) < 0.05


def test_no_share_means_the_old_masks_and_a_section_of_deform_may_damage_first():
    masks, keys = boxes(12), keys_of(range(12))
    noise = DeformationConfig(threshold=(0.5, 0.9))
    off = dataclasses.replace(noise, damage=dataclasses.replace(ALL, share=0.0))
    assert torch.equal(deform(masks, off, keys), deform(masks, noise, keys))
    both = deform(masks, dataclasses.replace(noise, damage=ALL), keys)
    assert torch.equal(deform(masks[5:6], dataclasses.replace(noise, damage=ALL), keys[5:6])[0], both[5])
    alone = deform(masks, DeformationConfig(modes=("none",), damage=ALL), keys)
    assert (sizes(alone ^ masks) > 0).all() and (sizes(both ^ alone) > 0).any()


def test_a_key_means_one_mask_in_any_batch_and_another_key_another():
    masks, keys = boxes(12), keys_of(range(12))
    masks[3] = masks[3].roll(9, 0)  # boxes of the batch and of the shape differ
    whole, rough = damage(masks, ALL, keys), damage(masks, only("rough", 2.0), keys)
    for number in (0, 3, 7):
        alone, key = masks[number : number + 1], keys[number : number + 1]
        assert torch.equal(damage(alone, ALL, key)[0], whole[number])
        assert torch.equal(damage(alone, only("rough", 2.0), key)[0], rough[number])
    assert torch.equal(damage(masks.flip(0), ALL, keys.flip(0)).flip(0), whole)
    other = damage(masks, ALL, keys_of(range(100, 112)))
    assert all(not torch.equal(a, b) for a, b in zip(whole, other, strict=True))


def test_empty_masks_stay_empty_full_ones_are_damaged_and_none_is_lost():
    keys = keys_of(range(30))
    empty = torch.zeros(30, 12, 12, 12, dtype=torch.uint8)
    assert not damage(empty, ALL, keys).any()
    full = torch.ones_like(empty)
    assert (sizes(damage(full, ALL, keys)) < sizes(full)).float().mean() > 0.8
    small = torch.zeros_like(empty)
    small[:, 5, 6, 7] = 1
    assert (sizes(damage(small, ALL, keys)) > 0).all()


@pytest.mark.parametrize(
    "wrong", [{"share": 1.5}, {"at_once": 0}, {"cut": -0.1}, {"grow": 3.5}, {"bite": float("nan")}, {**NOTHING}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict):
    with pytest.raises(ValueError, match=r"deform\.damage: "):
        DamageConfig(**{"share": 0.5, **wrong})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_makes_the_mask_of_the_cpu():
    masks, keys = boxes(24), keys_of(range(24))
    section = DamageConfig(share=0.9, at_once=4)
    assert torch.equal(damage(masks.cuda(), section, keys.cuda()).cpu(), damage(masks, section, keys))
