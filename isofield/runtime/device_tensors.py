"""Small tensors on their way to a device, without a wait of the host for it.

A copy from ordinary memory ends with a wait for everything that was asked of a CUDA device before; one from pinned
memory is queued like any other work. And what never changes is sent once.
"""

import functools
from collections.abc import Sequence

import torch

KEPT = 512  # constants; each is a few numbers


def send(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """A tensor of the CPU on the device; the host does not wait. The same tensor where it is on that device."""
    there = torch.device(device)
    if there.type == "cpu" or tensor.device.type != "cpu":
        return tensor.to(there)
    if there.type == "cuda":
        tensor = tensor.pin_memory()  # torch keeps such memory, and gives it out again when the copy is done
    return tensor.to(there, non_blocking=True)


def constant(
    values: Sequence[int | float | bool | Sequence[int]],
    device: torch.device | str,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """A tensor of these numbers (rows of them: tuples) that is made and sent once for each device: never write to it.

    Without a `dtype` as `torch.tensor` chooses it.
    """
    return _constant(tuple(values), torch.device(device), dtype)


@functools.lru_cache(maxsize=KEPT)
def _constant(values: tuple[int | float | bool, ...], device: torch.device, dtype: torch.dtype | None) -> torch.Tensor:
    with torch.inference_mode(False):  # else what is differentiated later could not hold it
        return send(torch.tensor(values, dtype=dtype), device)
