"""The fused layer against its plain twin: values, gradients, autocast, and the fall-back."""

from functools import partial
from pathlib import Path

import pytest
import torch

from isofield.ops import linear_leaky as ops
from isofield.ops.linear_leaky import linear_leaky, plain_linear_leaky

SLOPE = 0.02


def inputs(rows: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    shapes = (2, rows, 40), (24, 40), (24,)
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


@pytest.mark.skipif(not ops.HAS_ONEDNN, reason="this torch has no oneDNN: only the plain twin runs")
@pytest.mark.parametrize(("mkl", "lags"), [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_values_and_gradients_equal_the_plain_twin(rows: int, mkl: bool, lags: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ops, "_mkl_knows_processor", lambda: mkl)  # whatever processor runs the test
    monkeypatch.setattr(ops, "_onednn_lags", lambda: lags)
    ours, plain = inputs(rows), inputs(rows)
    y, expected = linear_leaky(*ours, slope=SLOPE), plain_linear_leaky(*plain, slope=SLOPE)
    assert type(y.grad_fn).__name__ != type(expected.grad_fn).__name__  # not the twin against itself
    assert torch.allclose(y, expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    (y * weights).sum().backward()
    (expected * weights).sum().backward()
    for a, b in zip(ours, plain, strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not ops.HAS_ONEDNN, reason="this torch has no oneDNN: only the plain twin runs")
@pytest.mark.parametrize("lags", [True, False])
def test_gradients_equal_those_in_double_and_are_the_same_by_one_thread_and_by_two(
    lags: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ops, "_onednn_lags", lambda: lags)
    generator = torch.Generator().manual_seed(1)
    shapes = (1024, 256), (192, 256), (192,)
    exact = [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]
    plain_linear_leaky(*exact, slope=SLOPE).sum().backward()
    before = torch.get_num_threads()
    gradients: list[list[torch.Tensor]] = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            ours = [tensor.detach().float().requires_grad_() for tensor in exact]
            linear_leaky(*ours, slope=SLOPE).sum().backward()
            gradients.append([tensor.grad for tensor in ours if tensor.grad is not None])
    finally:
        torch.set_num_threads(before)
    for one, two, tensor in zip(*gradients, exact, strict=True):
        assert torch.equal(one, two) and tensor.grad is not None
        # A sum that float32 rounds to the other side of zero turns the slope of one unit: few, and seen in no norm.
        assert torch.linalg.vector_norm(one - tensor.grad) < 1e-4 * torch.linalg.vector_norm(tensor.grad)


@pytest.mark.skipif(not ops.HAS_ONEDNN, reason="this torch has no oneDNN: only the plain twin runs")
def test_the_library_of_gradients_moves_no_value(monkeypatch: pytest.MonkeyPatch):
    products: dict[bool, tuple[torch.Tensor, dict[str, int]]] = {}
    for lags in (True, False):
        monkeypatch.setattr(ops, "_onednn_lags", partial(bool, lags))
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            x, weight, bias = inputs(300)
            value = linear_leaky(x, weight.detach(), bias.detach(), slope=SLOPE)
            value.sum().backward()
        products[lags] = value, {event.key: event.count for event in profile.key_averages()}
    assert torch.equal(products[True][0], products[False][0])  # a field is oneDNN's, with gradients or without
    assert products[True][1]["aten::mm"] == 1 and "aten::mm" not in products[False][1]


@pytest.mark.parametrize(
    ("vendor", "flags", "lags"),
    [
        ("GenuineIntel", "avx512f amx_bf16 amx_tile", True),
        ("GenuineIntel", "avx512f avx512_bf16", False),
        ("AuthenticAMD", "avx512f amx_tile", False),
    ],
)
def test_the_library_is_chosen_by_the_processor(
    vendor: str, flags: str, lags: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: fpu {flags}\n\nprocessor\t: 1\n")
    known = ops._processor(file)
    assert known.endswith(flags)  # of the first processor and no more
    monkeypatch.setattr(ops, "_processor", lambda: known)
    monkeypatch.setattr(ops, "_mkl_knows_processor", lambda: vendor == "GenuineIntel")
    assert ops._onednn_lags.__wrapped__() is lags


def test_without_gradients_the_values_are_the_same():
    ours = inputs(30)
    with torch.no_grad():
        assert torch.equal(linear_leaky(*ours, slope=SLOPE), linear_leaky(*inputs(30), slope=SLOPE).detach())


def test_only_the_wanted_gradients_are_computed():
    x, weight, bias = inputs(5)
    weight, bias = weight.detach(), bias.detach()
    linear_leaky(x, weight, bias, slope=SLOPE).sum().backward()
    assert x.grad is not None and weight.grad is None and bias.grad is None


def test_autocast_computes_in_bfloat16_and_keeps_float32_gradients():
    ours, plain = inputs(64), inputs(64)
    with torch.autocast("cpu", torch.bfloat16):
        y, expected = linear_leaky(*ours, slope=SLOPE), plain_linear_leaky(*plain, slope=SLOPE)
    assert y.dtype == torch.bfloat16
    assert torch.allclose(y, expected, rtol=2e-2, atol=2e-2)
    y.float().sum().backward()
    expected.float().sum().backward()
    for a, b in zip(ours, plain, strict=True):
        assert a.grad is not None and b.grad is not None and a.grad.dtype == torch.float32
        assert torch.linalg.vector_norm(a.grad - b.grad) < 1e-2 * torch.linalg.vector_norm(b.grad)


def test_double_precision_and_empty_inputs_take_the_plain_twin():
    x, weight, bias = inputs(3, torch.float64)
    assert torch.autograd.gradcheck(lambda *t: linear_leaky(*t, slope=SLOPE), (x, weight, bias))
    assert linear_leaky(torch.empty(0, 40), *(t.detach().float() for t in (weight, bias)), slope=SLOPE).shape == (0, 24)


def test_the_plain_twin_runs_where_the_operator_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ops, "HAS_ONEDNN", False)
    x, weight, bias = inputs(9)
    assert torch.equal(linear_leaky(x, weight, bias, slope=SLOPE), plain_linear_leaky(x, weight, bias, slope=SLOPE))
