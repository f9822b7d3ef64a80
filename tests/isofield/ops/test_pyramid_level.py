"""The kernels of a pyramid's level against their plain twin."""

import copy

import pytest
import torch
from torch import nn

from isofield.ops import memory
from isofield.ops.convolution import convolve
from isofield.ops.pyramid_level import pyramid_level, pyramid_level_plain


def level(one, x: torch.Tensor, *, training: bool, pooled: bool) -> list[torch.Tensor]:
    """Values, gradients and running statistics after one backward of both outputs."""
    generator = torch.Generator().manual_seed(1)
    norm = nn.BatchNorm3d(x.shape[1])
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        tensor.data.normal_(generator=generator)
    x = x.detach().clone().requires_grad_()
    y, largest = one(x, norm, training=training, pooled=pooled)
    found = [y, largest] if pooled else [y]
    assert (largest is None) == (not pooled)
    loss = sum((v * torch.randn(v.shape, generator=generator)).sum() for v in found)
    of_x, of_weight, of_bias = torch.autograd.grad(loss, [x, norm.weight, norm.bias])
    assert y.dtype == torch.float32 and (largest is None or largest.dtype == x.dtype) and of_x.dtype == x.dtype
    return [v.detach().float() for v in (*found, of_x, of_weight, of_bias, norm.running_mean, norm.running_var)]


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equal_to_the_plain_twin(dtype: torch.dtype, training: bool, pooled: bool):
    """Float32 values bit for bit; gradients, and bfloat16, up to rounding. Constant blocks tie."""
    x = torch.randn(2, 5, 8, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 + 1
    x[0, :, :4] = 1.5
    ours = level(pyramid_level, x.to(dtype), training=training, pooled=pooled)
    plain = level(pyramid_level_plain, x.to(dtype).float(), training=training, pooled=pooled)
    values = 2 if pooled else 1
    for number, (a, b) in enumerate(zip(ours, plain, strict=True)):
        if dtype == torch.float32 and number < values:
            assert torch.equal(a, b)
        tolerance = 1e-5 if dtype == torch.float32 or number == 0 else 1e-2
        assert torch.allclose(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()))


def test_the_same_with_any_number_of_threads():
    x = torch.randn(1, 3, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(level(pyramid_level, x, training=True, pooled=True))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_numbers_that_are_none_stay_none():
    x = torch.zeros(1, 2, 4, 4, 4)
    x[0, 1, 1, 1, 1] = torch.nan
    norm = nn.BatchNorm3d(2)
    pair = [one(x, copy.deepcopy(norm), training=False, pooled=True) for one in (pyramid_level, pyramid_level_plain)]
    for ours, plain in zip(*pair, strict=True):
        assert torch.equal(ours.isnan(), plain.isnan())


@pytest.mark.parametrize(("before", "padding"), [(1, 1), (1, 0), (3, 1), (3, 0)])
def test_convolutions_are_those_of_torch(before: int, padding: int):
    """Values bit for bit, gradients to rounding: by the kernels of one channel and by oneDNN."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, before, 8, 8, 8, generator=generator).requires_grad_(before > 1)
    module, found = nn.Conv3d(before, 5, 3, padding=padding), []
    for one in (convolve, nn.functional.conv3d):
        y = one(x, module.weight, module.bias, padding=padding)
        wanted = [module.weight, module.bias, *([x] if before > 1 else [])]
        weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        found.append([y.detach(), *torch.autograd.grad((y * weights).sum(), wanted)])
    (ours, *of_ours), (plain, *of_plain) = found
    assert torch.equal(ours, plain)
    for a, b in zip(of_ours, of_plain, strict=True):
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-5 * float(b.abs().max()))


def test_large_tensors_of_any_type():
    for dtype in (torch.float32, torch.bfloat16, torch.uint8):
        made = memory.zeros(2, 3, dtype=dtype)
        assert made.dtype == dtype and made.shape == (2, 3) and not made.any()
        assert memory.empty(4, dtype=dtype).dtype == dtype
