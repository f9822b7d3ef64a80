"""Every random draw comes from a generator keyed by (seed, shape name, purpose, epoch).

The key is hashed, so the same draw comes out whatever the order of work and the number of workers or ranks.
"""

import hashlib

import numpy as np
import torch

Key = str | int


def seed_of(*key: Key) -> int:
    """A 63-bit seed out of any key of strings and integers."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def torch_generator(*key: Key, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on `device` that depends on the key alone."""
    return torch.Generator(device=device).manual_seed(seed_of(*key))


def numpy_generator(*key: Key) -> np.random.Generator:
    """A numpy generator that depends on the key alone."""
    return np.random.default_rng(seed_of(*key))
