"""Random numbers that depend on a key and a position alone: the same bits on every device, in any batch.

A generator has a state, and its stream differs between devices. Here number n of key k is a hash of (k, n), in the
integer arithmetic of tensors (the output function of splitmix64: Steele, Lea and Flood 2014, with the key hashed
before). A batch of keys (B,) gives a batch of numbers (B, N) without work for each shape. Keys are `seeds.seed_of(seed,
name, purpose, epoch)`; what one key needs for several ends is told apart by `derive_keys`.

Normal numbers are made of sums, products, quotients and roots in float64, which IEEE 754 rounds the same everywhere;
the logarithms and cosines of devices differ in their last bits.
"""

import math
from collections.abc import Iterable

import torch

from isofield.runtime.device_tensors import send
from isofield.runtime.seeds import seed_of

WEYL = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
MAX_BELOW = 1 << 31


def keys_of(seeds: Iterable[int], device: torch.device | str = "cpu") -> torch.Tensor:
    """Keys (B,) int64 on the device, out of numbers below 2^63 such as `seed_of` gives."""
    return send(torch.tensor(list(seeds), dtype=torch.int64), device)


def derive_keys(keys_B: torch.Tensor, purpose: str) -> torch.Tensor:
    """Other keys for a purpose: their numbers have nothing to do with those of `keys_B`."""
    return _mixed(_mixed(keys_B) ^ seed_of(purpose))


def words(keys_B: torch.Tensor, count: int, *, first: int = 0) -> torch.Tensor:
    """64 random bits for each of `count` positions from `first` on: (B, count) int64."""
    positions_N = torch.arange(first + 1, first + 1 + count, device=keys_B.device)
    return _mixed(_mixed(keys_B)[:, None] + positions_N * _signed(WEYL))


def integers(keys_B: torch.Tensor, count: int, below: int | torch.Tensor) -> torch.Tensor:
    """Whole numbers 0..below-1, (B, count) int64; `below` may be (B, 1).

    With n = `below` no number is likelier than another by more than a share of n / 2^32 (2^31 at most are allowed).
    """
    assert not isinstance(below, int) or 0 < below <= MAX_BELOW
    # Lemire's product: 32 random bits times n, the upper half of it. No division, and no rejection that would cost an
    # unknown number of draws.
    return _shifted(_shifted(words(keys_B, count), 32) * below, 32)


def uniforms(keys_B: torch.Tensor, count: int) -> torch.Tensor:
    """Multiples of 2^-24 in [0, 1): (B, count) float32."""
    return _shifted(words(keys_B, count), 40).float() / (1 << 24)


def normals(keys_B: torch.Tensor, count: int) -> torch.Tensor:
    """Normal numbers, mean 0, variance 1, at most 6.7 in size: (B, count) float32 (Box and Muller 1958)."""
    bits = words(keys_B, count)
    # The upper 32 bits for the radius, never 0 because of the half; the lower ones for the angle.
    radius_share = (_shifted(bits, 32).double() + 0.5) / (1 << 32)
    turn = (bits & 0xFFFFFFFF).double() / (1 << 32)
    return (torch.sqrt(-2 * _logarithm(radius_share)) * _cosine_of_turn(turn)).float()


def directions(keys_B: torch.Tensor, count: int) -> torch.Tensor:
    """Unit vectors, uniform on the sphere: (B, count, 3) float32."""
    vectors_BN3 = normals(keys_B, 3 * count).view(len(keys_B), count, 3).double()
    x, y, z = vectors_BN3.unbind(-1)
    length = torch.sqrt(x * x + y * y + z * z)  # not norm(): the order of its sums is the device's
    return (vectors_BN3 / length[..., None].clamp(min=1e-30)).float()


def subsets(keys_B: torch.Tensor, count: int, allowed_BP: torch.Tensor) -> torch.Tensor:
    """`count` different positions of P at random, the allowed ones before all others: (B, count) int64.

    `allowed_BP` bool. Where fewer are allowed than `count`, the rest of the row are positions that are not.
    """
    # The largest of random ranks are a random subset: any device sorts integers alike.
    ranks = _shifted(words(keys_B, allowed_BP.shape[1]), 1)  # never negative: an allowed one beats any other
    return torch.where(allowed_BP, ranks, -1 - ranks).topk(count, dim=1).indices


def _mixed(value: torch.Tensor) -> torch.Tensor:
    value = (value ^ _shifted(value, 30)) * _signed(FIRST)
    value = (value ^ _shifted(value, 27)) * _signed(SECOND)
    return value ^ _shifted(value, 31)


def _shifted(value: torch.Tensor, bits: int) -> torch.Tensor:
    """Right shift that moves in zeros: `>>` of a signed number moves in its sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _signed(constant: int) -> int:
    """The same 64 bits as a signed number."""
    return constant - (1 << 64) if constant >> 63 else constant


def _logarithm(value: torch.Tensor) -> torch.Tensor:
    """Natural logarithm of positive float64, within 1e-13: 2 artanh((m - 1) / (m + 1)) + e log 2."""
    # The mantissa between sqrt(1/2) and sqrt(2) keeps the series' argument below 0.172: nine terms suffice.
    mantissa, exponent = torch.frexp(value)
    small = mantissa < math.sqrt(0.5)
    mantissa, exponent = torch.where(small, 2 * mantissa, mantissa), exponent.double() - small.double()
    ratio = (mantissa - 1) / (mantissa + 1)
    return 2 * ratio * _polynomial(ratio * ratio, [1 / (2 * k + 1) for k in range(9)]) + exponent * math.log(2)


def _cosine_of_turn(turn: torch.Tensor) -> torch.Tensor:
    """cos(2 pi t) for t in [0, 1), within 1e-11: minus the sine of an angle in [-pi/2, pi/2]."""
    # cos(2 pi t) = -sin(2 pi (1/4 - |t - 1/2|)): the series of the sine is asked within a quarter turn alone.
    angle = 2 * math.pi * (0.25 - (turn - 0.5).abs())
    series = [(-1) ** k / math.factorial(2 * k + 1) for k in range(9)]
    return -angle * _polynomial(angle * angle, series)


def _polynomial(value: torch.Tensor, coefficients: list[float]) -> torch.Tensor:
    """Horner's rule, with each product rounded before the sum."""
    result = torch.full_like(value, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = result * value
        result = result + coefficient
    return result
