"""What a model gets for one step: tensors on the device, nothing else."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Batch:
    """B shapes with N query points each. `values_BN` is 0 outside and 1 inside."""

    inputs: torch.Tensor  # (B, 1, R, R, R) float32 cells, 0 or 1
    points_BN3: torch.Tensor  # float32 cube coordinates
    values_BN: torch.Tensor  # float32
    shapes: tuple[int, ...]  # indices into the data set
    real: bool = True  # False: this rank has no shape of its own in this step; it keeps collectives company, no more

    def __len__(self) -> int:
        return len(self.shapes)
