"""In what numbers a device multiplies: one option for matrix products and convolutions alike.

By itself torch computes convolutions of a GPU in TF32 (10 bits of mantissa) and matrix products in float32.
"""

import contextlib
from collections.abc import Iterator
from typing import Literal

import torch

# float32: in full. tf32: products of a GPU's tensor cores, five to seven times faster, errors near 1e-3; sums in
# float32. bfloat16: layers in bfloat16, weights and sums in float32.
Precision = Literal["float32", "tf32", "bfloat16"]


@contextlib.contextmanager
def products_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """Float32 products and convolutions on a GPU are computed as `precision` says, in the block.

    Nothing changes on a CPU, which computes float32 in full. What bfloat16 leaves in float32 is in full.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    _set("high" if precision == "tf32" else "highest", precision == "tf32")
    try:
        yield
    finally:
        _set(*before)


def _set(products: str, convolutions: bool) -> None:
    torch.set_float32_matmul_precision(products)
    torch.backends.cudnn.allow_tf32 = convolutions


def describe_precision(precision: Precision, device: torch.device) -> list[str]:
    """A line where the device does not compute as it was told."""
    if precision == "tf32" and device.type != "cuda":
        return [f"precision tf32: there is no TF32 on {device}, which computes in float32"]
    return []
