"""A loss over shapes or points in chunks equals the plain one: value, every gradient, any chunking."""

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from isofield.ops.chunked import (
    mean_over_shapes,
    plain_mean_over_shapes,
    plain_sum_over_points,
    shapes_at_once,
    sum_over_points,
)

SHAPES, WIDTH = 7, 5


class Problem:
    """A two-layer field of codes, squared against targets."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        generator = torch.Generator().manual_seed(0)
        self.code = torch.rand(SHAPES, WIDTH, generator=generator).to(dtype).requires_grad_()
        self.weight = torch.rand(3, WIDTH, generator=generator).to(dtype).requires_grad_()
        self.bias = torch.rand(3, generator=generator).to(dtype).requires_grad_()
        self.target = torch.rand(SHAPES, 3, generator=generator).to(dtype)
        self.calls: list[tuple[slice, bool]] = []

    def error_of(self, chunk: slice, code: torch.Tensor) -> torch.Tensor:
        self.calls.append((chunk, torch.is_grad_enabled()))
        field = torch.tanh(F.linear(code, self.weight, self.bias))
        return (field.to(self.target.dtype) - self.target[chunk]).square().mean(1).sum()

    def chunked(self, size: int) -> torch.Tensor:
        return mean_over_shapes(self.error_of, self.code, [self.weight, self.bias], shapes_per_chunk=size)

    def gradients(self, loss: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(loss, [self.code, self.weight, self.bias])


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 100])
def test_value_and_gradients_equal_the_plain_twin(size: int):
    problem = Problem()
    whole = (torch.tanh(F.linear(problem.code, problem.weight, problem.bias)) - problem.target).square().mean()
    plain = plain_mean_over_shapes(problem.error_of, problem.code, shapes_per_chunk=size)
    chunked = problem.chunked(size)
    assert plain.item() == pytest.approx(whole.item(), rel=1e-12)
    assert chunked.item() == pytest.approx(whole.item(), rel=1e-6)  # summed in float32
    for ours, theirs in zip(problem.gradients(chunked), problem.gradients(whole), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-14)


def test_gradients_flow_on_into_what_made_the_code_and_scale():
    problem = Problem()
    inputs = torch.rand(SHAPES, WIDTH, dtype=torch.float64, requires_grad=True)
    parameters = [problem.weight, problem.bias]
    chunked = mean_over_shapes(problem.error_of, inputs.exp(), parameters, shapes_per_chunk=2) * 3 + 1
    plain = plain_mean_over_shapes(problem.error_of, inputs.exp(), shapes_per_chunk=2) * 3
    for ours, theirs in zip(
        torch.autograd.grad(chunked, [inputs, *parameters]),
        torch.autograd.grad(plain, [inputs, *parameters]),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-14)


def test_gradients_add_up_in_the_parameters_like_any_loss():
    problem = Problem()
    problem.chunked(3).backward()
    once = problem.weight.grad.clone()
    problem.chunked(3).backward()
    assert torch.allclose(problem.weight.grad, 2 * once)


@pytest.mark.parametrize("frozen", ["code", "weight"])
def test_what_is_frozen_gets_no_gradient(frozen: str):
    problem = Problem()
    getattr(problem, frozen).requires_grad_(False)
    problem.chunked(2).backward()
    plain = Problem()
    plain_mean_over_shapes(plain.error_of, plain.code, shapes_per_chunk=7).backward()
    for name in ("code", "weight", "bias"):
        gradient = getattr(problem, name).grad
        assert gradient is None if name == frozen else torch.allclose(gradient, getattr(plain, name).grad)


def test_chunks_cover_the_batch_once_in_order():
    problem = Problem()
    problem.chunked(3)
    assert problem.calls == [(slice(0, 3), True), (slice(3, 6), True), (slice(6, 7), True)]


def test_without_gradients_only_the_value_is_computed():
    problem = Problem()
    with torch.no_grad():
        value = problem.chunked(2)
    assert not value.requires_grad and not any(enabled for _, enabled in problem.calls)
    assert float(value) == pytest.approx(float(problem.chunked(2).detach()), rel=1e-6)
    for tensor in (problem.code, problem.weight, problem.bias):
        tensor.requires_grad_(False)
    assert not problem.chunked(2).requires_grad


def test_under_autocast_it_is_the_plain_twin_under_autocast():
    problem = Problem(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        chunked = problem.chunked(3)
        plain = plain_mean_over_shapes(problem.error_of, problem.code, shapes_per_chunk=3)
    exact = problem.chunked(7)
    assert chunked.dtype == torch.float32 and chunked.item() == pytest.approx(plain.item(), rel=1e-6)
    assert chunked.item() != exact.item()  # bfloat16 was indeed used
    for ours, theirs, single in zip(
        problem.gradients(chunked), problem.gradients(plain), problem.gradients(exact), strict=True
    ):
        assert ours.dtype == torch.float32
        assert torch.allclose(ours, theirs, rtol=2e-2, atol=2e-4)
        assert torch.allclose(ours, single, rtol=5e-2, atol=2e-3)


def test_it_can_be_differentiated_once_only():
    problem = Problem()
    (gradient,) = torch.autograd.grad(problem.chunked(2), problem.weight, create_graph=True)
    with pytest.raises(RuntimeError):
        gradient.sum().backward()


POINTS = 10


class PointProblem:
    """A field of points, linear in two tensors of a code, one of them frozen, squared against targets."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)

        def draw(*size: int) -> torch.Tensor:
            return torch.rand(size, generator=generator, dtype=torch.float64)

        self.input, self.volume, self.weight = draw(SHAPES, 2), draw(SHAPES, 2, 3), draw(3, 2)
        self.places, self.target = draw(SHAPES, POINTS, 2), draw(SHAPES, POINTS)
        self.volume.requires_grad_()
        self.weight.requires_grad_()
        self.calls: list[tuple[slice, slice, bool]] = []

    def error_of(self, shape: slice, chunk: slice, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        given, volume = parts
        assert len(given) == len(volume) == len(range(SHAPES)[shape]) and not given.requires_grad
        self.calls.append((shape, chunk, torch.is_grad_enabled()))
        features = (self.places[shape, chunk] * given[:, None]) @ volume
        return (torch.tanh(features @ self.weight).sum(-1) - self.target[shape, chunk]).square().sum()

    def chunked(self, size: int, shapes: int = 1) -> torch.Tensor:
        code, sizes = [self.input, self.volume], {"points_per_chunk": size, "shapes_per_chunk": shapes}
        return sum_over_points(self.error_of, code, [self.weight], points=POINTS, **sizes)

    def plain(self) -> torch.Tensor:
        features = (self.places * self.input[:, None]) @ self.volume
        return (torch.tanh(features @ self.weight).sum(-1) - self.target).square().sum()


@pytest.mark.parametrize("shapes", [1, 3, 100])
@pytest.mark.parametrize("size", [1, 3, 5, 10, 99])
def test_a_sum_over_points_equals_its_plain_twin_and_the_whole(size: int, shapes: int):
    problem = PointProblem()
    tensors = [problem.volume, problem.weight]
    twin = plain_sum_over_points(
        problem.error_of, [problem.input, problem.volume], points=POINTS, points_per_chunk=size
    )
    whole, chunked = problem.plain(), problem.chunked(size, shapes)
    assert twin.item() == pytest.approx(whole.item(), rel=1e-12)
    assert chunked.item() == pytest.approx(whole.item(), rel=1e-6)  # summed in float32
    expected = torch.autograd.grad(whole, tensors)
    for loss in (twin, chunked):
        for ours, theirs in zip(torch.autograd.grad(loss, tensors), expected, strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-14)


def test_point_gradients_flow_on_into_what_made_the_code_scale_and_add_up():
    problem = PointProblem()
    inputs = problem.volume.detach().log().requires_grad_()
    for times in (1, 2):
        problem.volume = inputs.exp()
        (problem.chunked(4) * 3 + 1).backward()
        problem.volume = inputs.exp()
        of_inputs, of_weight = torch.autograd.grad(problem.plain() * 3 * times, [inputs, problem.weight])
        assert torch.allclose(inputs.grad, of_inputs) and torch.allclose(problem.weight.grad, of_weight)


def test_points_come_once_in_order_a_shape_at_a_time():
    problem = PointProblem()
    problem.chunked(4)
    chunks = [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert problem.calls == [(slice(i, i + 1), chunk, True) for i in range(SHAPES) for chunk in chunks]


@pytest.mark.parametrize("frozen", ["volume", "weight"])
def test_a_frozen_encoder_or_decoder_gets_no_gradient(frozen: str):
    problem, whole = PointProblem(), PointProblem()
    getattr(problem, frozen).requires_grad_(False)
    problem.chunked(4).backward()
    whole.plain().backward()
    for name in ("volume", "weight"):
        gradient = getattr(problem, name).grad
        assert gradient is None if name == frozen else torch.allclose(gradient, getattr(whole, name).grad)


def test_a_sum_over_points_without_gradients_is_only_the_value():
    problem = PointProblem()
    with torch.no_grad():
        value = problem.chunked(4)
    assert not value.requires_grad and not any(enabled for *_, enabled in problem.calls)
    assert value.item() == pytest.approx(problem.plain().item(), rel=1e-12)


def test_a_sum_over_points_hands_its_gradients_out_once():
    loss = PointProblem().chunked(4)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        loss.backward()


def test_a_cpu_decodes_one_shape_at_a_time_and_a_gpu_what_fits(monkeypatch: pytest.MonkeyPatch):
    assert shapes_at_once(torch.device("cpu"), 1) == 1
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80_000_000_000))
    cuda = torch.device("cuda", 0)
    assert [shapes_at_once(cuda, held) for held in (10**9, 10**8, 10**12)] == [10, 100, 1]
