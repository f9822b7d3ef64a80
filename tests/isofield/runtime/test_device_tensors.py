"""Tensors sent to a device, and constants that are sent once."""

import pytest
import torch

from isofield.runtime.device_tensors import constant, send


def test_a_constant_is_made_once_and_can_be_differentiated_with():
    with torch.inference_mode():
        made = constant([1, 2, 3], "cpu", torch.float32)
    assert made is constant((1, 2, 3), torch.device("cpu"), torch.float32)
    assert made.tolist() == [1.0, 2.0, 3.0]
    assert constant([(1, 2), (3, 4)], "cpu").dtype == torch.int64
    weight = torch.ones(3, requires_grad=True)
    (made * weight).sum().backward()
    assert weight.grad is not None and weight.grad.tolist() == [1, 2, 3]


def test_what_is_on_the_device_stays_itself():
    tensor = torch.arange(3)
    assert send(tensor, "cpu") is tensor


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_sending_does_not_wait():
    torch.cuda.set_sync_debug_mode("error")
    try:
        there = [send(torch.arange(100), "cuda") for _ in range(3)]
        constant([1, 2], "cuda")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert there[2].tolist() == list(range(100))
