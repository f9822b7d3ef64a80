"""Bits of packed rows: some of them without unpacking all."""

import numpy as np
import torch

from data_processing.store.bits import bits_at, unpack_bits


def test_some_bits_are_those_of_the_unpacked_row():
    random = np.random.default_rng(0)
    packed = torch.from_numpy(random.integers(0, 256, (3, 5, 4), dtype=np.uint8))
    index = torch.from_numpy(random.integers(0, 32, (3, 5, 50)))
    assert torch.equal(bits_at(packed, index), unpack_bits(packed).gather(2, index))
