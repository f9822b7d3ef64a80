"""Random numbers by key and position: fixed values, uniformity, independence, any batch and any device."""

import numpy as np
import pytest
import torch
from scipy import stats

from isofield.runtime.counter_random import (
    derive_keys,
    directions,
    integers,
    keys_of,
    normals,
    subsets,
    uniforms,
    words,
)
from isofield.runtime.seeds import seed_of

KEYS = keys_of(seed_of(0, f"shape {number}", "test", 3) for number in range(64))
MASK = (1 << 64) - 1


def unlikely(statistic: float, freedom: int) -> bool:
    """A chi-square that chance gives once in a million: with fixed keys the tests either always pass or never."""
    return bool(stats.chi2.sf(statistic, freedom) < 1e-6)


def mixed(value: int) -> int:
    """The output function of splitmix64 in Python's own integers."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


@pytest.mark.parametrize("seed", [0, 1, 12345678901234567, (1 << 63) - 1])
def test_words_are_those_of_splitmix64(seed: int):
    expected = [mixed((mixed(seed) + (place + 1) * 0x9E3779B97F4A7C15) & MASK) for place in range(100)]
    ours = [int(word) & MASK for word in words(keys_of([seed]), 100)[0]]
    assert ours == expected
    assert len({word >> 63 for word in ours}) == 2  # the sign bit is in use: a shift that keeps it would show


def test_numbers_of_a_key_never_change():
    """Golden values: a change of them changes every run and every prepared input."""
    keys = keys_of([1, 2])
    assert words(keys, 2).tolist() == [
        [-4616330145664149646, 6869446166584666695],
        [4689417271487893854, -1942014151176595275],
    ]
    assert integers(keys, 3, 10).tolist() == [[7, 3, 4], [2, 8, 3]]
    assert (uniforms(keys, 2) * (1 << 24)).tolist() == [[12578688.0, 6247724.0], [4265000.0, 15010964.0]]
    assert normals(keys, 2).view(torch.int32).tolist() == [[1057071765, -1078759167], [-1087417482, 1042215571]]
    assert derive_keys(keys, "mode").tolist() == [-2454565479531942639, 7466232046539001426]


@pytest.mark.parametrize("draw", [words, uniforms, normals, lambda k, n: integers(k, n, 1000), directions])
def test_a_key_gives_the_same_in_any_batch_and_for_any_count(draw):
    whole = draw(KEYS, 50)
    assert torch.equal(draw(KEYS[5:6], 50)[0], whole[5])
    assert torch.equal(draw(KEYS.flip(0), 50).flip(0), whole)
    if draw is not directions:
        assert torch.equal(draw(KEYS, 20), whole[:, :20])


def test_positions_can_start_anywhere():
    assert torch.equal(words(KEYS, 10, first=7), words(KEYS, 17)[:, 7:])


@pytest.mark.parametrize("below", [2, 3, 10, 97])
def test_integers_are_uniform_and_neighbours_independent(below: int):
    drawn = integers(KEYS, 20_000, below)
    assert int(drawn.min()) == 0 and int(drawn.max()) == below - 1
    counts = torch.bincount(drawn.flatten(), minlength=below).double()
    mean = counts.mean()
    assert not unlikely(float(((counts - mean) ** 2 / mean).sum()), below - 1)
    for pairs in (drawn[:, :-1] * below + drawn[:, 1:], drawn[:-1] * below + drawn[1:]):  # positions; keys
        counts = torch.bincount(pairs.flatten(), minlength=below**2).double()
        mean = counts.mean()
        assert not unlikely(float(((counts - mean) ** 2 / mean).sum()), below**2 - 1)


def test_integers_reach_both_ends_of_a_large_range_evenly():
    below = 100_000
    counts = torch.bincount((integers(KEYS, 50_000, below) // 1000).flatten(), minlength=100).double()
    assert not unlikely(float(((counts - counts.mean()) ** 2 / counts.mean()).sum()), 99)


def test_integers_below_a_number_of_each_row():
    below = torch.tensor([[1], [5]])
    drawn = integers(KEYS[:2], 1000, below)
    assert drawn[0].tolist() == [0] * 1000 and set(drawn[1].tolist()) == set(range(5))
    assert torch.equal(drawn[1], integers(KEYS[1:2], 1000, 5)[0])


def test_every_bit_is_even_and_no_two_go_together():
    bits = (words(KEYS, 4000).flatten()[:, None] >> torch.arange(64)) & 1
    count = len(bits)
    assert (bits.double().mean(0) - 0.5).abs().max() < 5 * 0.5 / count**0.5
    together = np.corrcoef(bits.double().numpy().T) - np.eye(64)
    assert np.abs(together).max() < 6 / count**0.5


def test_keys_that_follow_each_other_have_nothing_in_common():
    rows = uniforms(keys_of(range(256)), 4000).double().numpy()
    together = np.corrcoef(rows) - np.eye(256)
    assert np.abs(together).max() < 6 / 4000**0.5
    assert np.abs(np.corrcoef(rows.T[:256]) - np.eye(256)).max() < 6.5 / 256**0.5 * 1.2


def test_uniforms_are_uniform_and_stay_below_one():
    drawn = uniforms(KEYS, 20_000).flatten()
    assert 0 <= float(drawn.min()) < 1e-5 and 1 - 1e-5 < float(drawn.max()) < 1
    assert torch.equal(drawn * (1 << 24), (drawn * (1 << 24)).floor())
    assert stats.kstest(drawn.numpy(), "uniform").pvalue > 1e-4


def test_normals_are_normal_to_their_tails():
    drawn = normals(KEYS, 50_000).double().flatten().numpy()
    assert stats.kstest(drawn, "norm").pvalue > 1e-4
    assert abs(drawn.mean()) < 5 / len(drawn) ** 0.5 and abs(drawn.var() - 1) < 5 * (2 / len(drawn)) ** 0.5
    assert abs((drawn**4).mean() - 3) < 0.05
    expected = len(drawn) * 2 * stats.norm.sf(4)
    assert abs((np.abs(drawn) > 4).sum() - expected) < 5 * expected**0.5
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 5 / len(drawn) ** 0.5


def test_directions_are_unit_and_isotropic():
    drawn = directions(KEYS, 5000).double().view(-1, 3)
    assert (drawn.norm(dim=1) - 1).abs().max() < 1e-6
    moments = drawn.T @ drawn / len(drawn)
    assert (moments - torch.eye(3) / 3).abs().max() < 5e-3 and drawn.mean(0).abs().max() < 5e-3
    for axis in range(3):  # Archimedes: each coordinate is uniform
        assert stats.kstest(drawn[:, axis].numpy(), "uniform", args=(-1, 2)).pvalue > 1e-4


def test_derived_keys_are_others():
    other = derive_keys(KEYS, "mode")
    assert not set(other.tolist()) & set(KEYS.tolist()) and not torch.equal(other, derive_keys(KEYS, "crop"))
    together = np.corrcoef(uniforms(KEYS, 5000).flatten().numpy(), uniforms(other, 5000).flatten().numpy())[0, 1]
    assert abs(together) < 5 / (64 * 5000) ** 0.5


def test_subsets_hold_different_positions_and_only_allowed_ones():
    allowed = torch.ones(64, 40, dtype=torch.bool)
    allowed[:, ::2] = False
    drawn = subsets(KEYS, 8, allowed)
    assert all(len(set(row)) == 8 for row in drawn.tolist()) and (drawn % 2 == 1).all()
    everything = subsets(KEYS, 25, allowed)  # more than are allowed: those come first
    assert all(sorted(row[:20]) == list(range(1, 40, 2)) for row in everything.tolist())
    assert (everything[:, 20:] % 2 == 0).all()


def test_subsets_take_every_position_as_often():
    drawn = subsets(keys_of(range(20_000)), 5, torch.ones(20_000, 20, dtype=torch.bool))
    counts = torch.bincount(drawn.flatten(), minlength=20).double()
    assert not unlikely(float(((counts - 5000) ** 2 / 5000).sum() / 0.75), 19)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_bits_of_the_cpu():
    there = KEYS.cuda()
    for draw in (words, uniforms, normals, directions, lambda k, n: integers(k, n, 97)):
        assert torch.equal(draw(there, 10_000).cpu(), draw(KEYS, 10_000))
    allowed = integers(KEYS, 500, 2).bool()
    assert torch.equal(subsets(there, 400, allowed.cuda()).cpu(), subsets(KEYS, 400, allowed))
