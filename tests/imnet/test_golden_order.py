"""The golden numbers of the autoencoder to 1e-5: with their own order of float32 additions.

Summing 1024 products in another order moves values by 2e-5 and can carry a hidden unit over the rectifier's kink, so
two machines agree to 1e-5 only where their matrix products add alike (test_autoencoder.py holds what ours reach). Here
the products of the decoder add in the order of the library that computed the golden numbers, found by search: blocks of
384 products, each summed one after the other and then added to the bias (two of 256 where there are 512), and 16
interleaved sums for the single output. All else is ours.
"""

import functools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from imnet.autoencoder import Autoencoder
from imnet.decoder import plain_forward
from imnet.published_weights import convert
from tests import golden

numba = pytest.importorskip("numba")


@numba.njit
def product(x_NK, weight_KM, start_M, block, lanes):
    """start + x @ weight, rounded to float32 after each product and addition (one rounding, as fused ones do)."""
    result = np.empty((x_NK.shape[0], weight_KM.shape[1]), np.float32)
    for n in range(x_NK.shape[0]):
        total = start_M.copy()
        for first in range(0, x_NK.shape[1], block):
            sums = np.zeros((lanes, weight_KM.shape[1]), np.float32)
            for k in range(first, min(x_NK.shape[1], first + block)):
                x, lane = np.float64(x_NK[n, k]), (k - first) % lanes
                for m in range(weight_KM.shape[1]):
                    sums[lane, m] = np.float32(np.float64(sums[lane, m]) + x * weight_KM[k, m])
            half = lanes // 2
            while half:
                sums[:half] += sums[half : 2 * half]
                half //= 2
            total += sums[0]
        result[n] = total
    return result


class InGoldenOrder(torch.autograd.Function):
    """F.linear; backward in float64."""

    @staticmethod
    def forward(ctx, x_NK, weight_MK, bias_M):
        ctx.save_for_backward(x_NK, weight_MK)
        x, weight, bias = (tensor.detach().numpy() for tensor in (x_NK.contiguous(), weight_MK, bias_M))
        weight_KM = np.ascontiguousarray(weight.T.astype(np.float64))
        if len(weight) == 1:
            return torch.from_numpy(product(x, weight_KM, np.zeros_like(bias), len(weight_KM), 16) + bias)
        return torch.from_numpy(product(x, weight_KM, bias, 256 if len(weight_KM) == 512 else 384, 1))

    @staticmethod
    def backward(ctx, gradient_NM):
        x_NK, weight_MK = (tensor.double() for tensor in ctx.saved_tensors)
        gradient_NM = gradient_NM.double()
        gradients = gradient_NM @ weight_MK, gradient_NM.T @ x_NK, gradient_NM.sum(0)
        return tuple(gradient.float() for gradient in gradients)


def linear(layer: nn.Linear, h: torch.Tensor) -> torch.Tensor:
    return InGoldenOrder.apply(h.flatten(0, -2), layer.weight, layer.bias).view(*h.shape[:-1], -1)


def test_values_loss_gradient_norms_and_the_step_after_adam_to_1e_5():
    numbers = np.load(golden.FOLDER / "imnet_ae_io.npz")
    config, weights = convert(golden.imnet_state(), where="golden")
    model = Autoencoder(config)
    model.load_state_dict(weights)
    for layer in model.decoder.layers:
        layer.forward = functools.partial(linear, layer)
    voxels = torch.from_numpy(np.unpackbits(numbers["voxels_packed"]).reshape(2, 1, 64, 64, 64)).float()
    points, values = torch.from_numpy(numbers["points"]), torch.from_numpy(numbers["values"])[..., 0]

    def reconstruct() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        code = model.encode(voxels)
        field = plain_forward(model.decoder, points, code)
        return code, field, (field - values).square().mean()

    def differs(tensor: torch.Tensor, key: str) -> NDArray[np.float64]:
        return np.abs(tensor.detach().double().numpy() - numbers[key].reshape(tensor.shape))

    optimiser = torch.optim.Adam(model.parameters(), lr=5e-5, betas=(0.5, 0.999))
    code, field, loss = reconstruct()
    loss.backward()
    norms = torch.stack([parameter.grad.double().norm() for parameter in model.parameters()])
    optimiser.step()
    assert differs(code, "z").max() < 1e-5
    assert differs(field, "out").max() < 1e-5
    assert differs(loss, "train_loss") < 1e-5
    assert (differs(norms, "grad_norms") / numbers["grad_norms"]).max() < 1e-5
    with torch.no_grad():
        _, field, loss = reconstruct()
    assert differs(field, "out_after_1_adam_step").max() < 1e-5
    assert differs(loss, "loss_after_1_adam_step") < 1e-5
