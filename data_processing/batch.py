"""What a model gets for one step: tensors on the device, nothing else."""

from dataclasses import dataclass

import torch

from isofield.runtime.counter_random import derive_keys, normals, uniforms


@dataclass(frozen=True)
class Batch:
    """B shapes with N query points each. `values_BN` is 0 outside and 1 inside.

    Where a model trains on the codes of a frozen one there are no points and `values_BN` are these codes (B, Z).
    """

    inputs: torch.Tensor  # (B, 1, R, R, R) float32 cells, 0 or 1; (B, 1, H, W) pictures; (B, Z) codes
    points_BN3: torch.Tensor  # float32 cube coordinates
    values_BN: torch.Tensor  # float32
    shapes: tuple[int, ...]  # indices into the data set
    is_padding: bool = False  # this rank has no shape of its own in this step; it only takes part in collectives
    keys_B: torch.Tensor | None = None  # int64, of shape and epoch: what a model draws by itself
    key_1: torch.Tensor | None = None  # int64, of the step: what it draws once for all shapes of all ranks

    def __len__(self) -> int:
        return len(self.shapes)

    def normals(self, purpose: str, width: int) -> torch.Tensor:
        """Noise of mean 0 and variance 1 (B, width), the same for a shape in an epoch in any batch, on any device."""
        assert self.keys_B is not None, "this batch was made without keys"
        return normals(derive_keys(self.keys_B, purpose), width)

    def uniforms(self, purpose: str) -> torch.Tensor:
        """A number in [0, 1) for each shape: (B, 1)."""
        assert self.keys_B is not None, "this batch was made without keys"
        return uniforms(derive_keys(self.keys_B, purpose), 1)

    def shared_uniform(self, purpose: str) -> torch.Tensor:
        """One number in [0, 1) for the whole step: (1, 1)."""
        assert self.key_1 is not None, "this batch was made without keys"
        return uniforms(derive_keys(self.key_1, purpose), 1)
