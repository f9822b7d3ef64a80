"""Every way of sampling features against the plain twin: values, gradients, exactness, order of additions, choice."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch

from isofield.ops import feature_sampling as ops
from isofield.ops.feature_sampling import (
    device,
    sample_features,
    sample_features_plain,
    sampled_linear,
    sampled_linear_plain,
)
from isofield.ops.feature_sampling import plain as feature_sampling_torch
from isofield.ops.feature_sampling.places import Sampling, pays_to_fold
from tests.conftest import ROOT
from tests.isofield.ops.test_feature_sampling import SAMPLING, points, volumes

SHAPES = (1, 6), (3, 5), (5, 2), (2, 1)  # channels and resolution of the scales: none like another, one a single voxel
CHANNELS = sum(channels for channels, _ in SHAPES)
OUTPUTS, POINTS = 3, 40
Operator = Callable[..., torch.Tensor]

needs_numba = pytest.mark.skipif(not ops.HAS_NUMBA, reason="numba is absent: the torch operators run everywhere")


def torch_features(grids, where, sampling) -> torch.Tensor:
    return feature_sampling_torch.sample(grids, where, sampling)


def torch_linear(grids, where, weight, bias, sampling) -> torch.Tensor:
    return feature_sampling_torch.sampled_linear(grids, where, weight, bias, sampling)


def device_features(grids, where, sampling) -> torch.Tensor:
    """The operator of devices, which runs as torch operators here."""
    return device.features_of(grids, where, sampling, torch.promote_types(grids[0].dtype, where.dtype))


def device_linear(grids, where, weight, bias, sampling) -> torch.Tensor:
    return torch.nn.functional.linear(device_features(grids, where, sampling), weight, bias)


def wanted_volumes(dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    first, *others = volumes(*SHAPES, dtype=dtype)
    return [first, *(volume.requires_grad_() for volume in others)]


def layer(dtype: torch.dtype = torch.float64, channels: int = CHANNELS) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(OUTPUTS, 7 * channels, generator=generator, dtype=dtype).requires_grad_()
    return weight, torch.randn(OUTPUTS, generator=generator, dtype=dtype).requires_grad_()


def gradients(out: torch.Tensor, wanted: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    factors = torch.randn(out.shape, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    return torch.autograd.grad((out * factors).sum(), wanted)


@pytest.fixture(params=[1, 3], ids=["one thread", "three threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("operator", [sample_features, torch_features, device_features])
def test_features_and_gradients_equal_the_plain_twin(operator: Operator, padding, align_corners, threads: int):
    sampling = Sampling(0.3, padding, align_corners)
    grids, where = wanted_volumes(), points(POINTS)
    ours, plain = operator(grids, where, sampling), sample_features_plain(grids, where, sampling)
    assert type(ours.grad_fn).__name__ != type(plain.grad_fn).__name__  # not the twin against itself
    assert torch.allclose(ours, plain, rtol=0, atol=1e-13)
    for a, b in zip(gradients(ours, grids[1:]), gradients(plain, grids[1:]), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("operator", [sampled_linear, torch_linear, device_linear])
def test_the_layer_and_its_gradients_equal_the_plain_twin(operator: Operator, padding, align_corners, threads: int):
    sampling = Sampling(0.3, padding, align_corners)
    folds = [pays_to_fold(c, r, outputs=OUTPUTS, points=POINTS, device="cpu") for c, r in SHAPES]
    assert folds == [False, False, True, False]  # scales of both kinds, and columns between them
    grids, where, parameters = wanted_volumes(), points(POINTS), layer()
    ours = operator(grids, where, *parameters, sampling)
    plain = sampled_linear_plain(grids, where, *parameters, sampling)
    assert torch.allclose(ours, plain, rtol=0, atol=1e-12)
    wanted = [*grids[1:], *parameters]
    for a, b in zip(gradients(ours, wanted), gradients(plain, wanted), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("operator", [sample_features, torch_features, device_features])
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_gradcheck_of_the_features(operator: Operator, padding):
    sampling = dataclasses.replace(SAMPLING, padding=padding)
    where = points(6, batch=1)
    grids = [volume.requires_grad_() for volume in volumes((1, 3), (2, 2), batch=1)]
    assert torch.autograd.gradcheck(lambda *given: operator(given, where, sampling), grids)


@pytest.mark.parametrize("operator", [sampled_linear, torch_linear, device_linear])
def test_gradcheck_of_the_layer(operator: Operator):
    where, parameters = points(9, batch=1), layer(channels=5)
    grids = [volume.requires_grad_() for volume in volumes((1, 3), (4, 2), batch=1)]
    assert torch.autograd.gradcheck(lambda a, b, *of: operator((a, b), where, *of, SAMPLING), (*grids, *parameters))


@pytest.mark.parametrize("operator", [sample_features, torch_features, device_features])
@pytest.mark.parametrize("align_corners", [True, False])
def test_float32_is_exact_to_rounding(operator: Operator, align_corners: bool):
    """At 128 voxels a side one rounding of a coordinate more than `grid_sample` does moves features by 1e-5."""
    (grid,) = volumes((2, 128), batch=1, dtype=torch.float32)
    where, sampling = (
        points(500, batch=1, dtype=torch.float32),
        dataclasses.replace(SAMPLING, align_corners=align_corners),
    )
    expected = sample_features_plain([grid], where, sampling)
    assert (operator([grid], where, sampling) - expected).abs().max() < 2e-6


@needs_numba
def test_bits_depend_neither_on_threads_nor_on_the_run():
    """Random points, many on the same voxels: float32 sums in another order would differ."""
    where = points(700, batch=1, dtype=torch.float32)
    before, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3, 8, 8):
            torch.set_num_threads(count)
            grids = [v.requires_grad_() for v in volumes((4, 7), (17, 3), (2, 1), batch=1, dtype=torch.float32)]
            features = sample_features(grids, where, SAMPLING)
            factors = torch.sin(torch.arange(features.numel(), dtype=torch.float32)).view_as(features)
            results.append([features.detach(), *torch.autograd.grad(features, grids, factors)])
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], result, strict=True))


@needs_numba
def test_chunks_of_points_change_nothing(monkeypatch: pytest.MonkeyPatch):
    grids, where, parameters = wanted_volumes(), points(POINTS), layer()
    wanted = [*grids[1:], *parameters]
    whole = sampled_linear(grids, where, *parameters, SAMPLING)
    expected = gradients(whole, wanted)
    monkeypatch.setattr("isofield.ops.feature_sampling.cpu.CHUNK", 7)
    chunked = sampled_linear(grids, where, *parameters, SAMPLING)
    assert torch.allclose(chunked, whole, rtol=0, atol=1e-13)
    for a, b in zip(gradients(chunked, wanted), expected, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-12)


@needs_numba
def test_the_layer_keeps_no_features_for_backward():
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    grids, where, parameters = wanted_volumes(), points(5000), layer()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        sampled_linear(grids, where, *parameters, SAMPLING)
    assert 0 < sum(kept) < 2 * 5000 * 7 * 3  # features would be 2 x 5000 x 77


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_come_in_the_layout_and_dtype_of_the_volumes(layout: torch.memory_format, dtype: torch.dtype):
    (given,) = volumes((3, 4), dtype=torch.float32)
    grid = given.to(dtype).contiguous(memory_format=layout).requires_grad_()
    where = points(30, dtype=torch.float32)
    features = sample_features([grid], where, SAMPLING)
    expected = sample_features_plain([grid], where, SAMPLING)
    assert features.dtype == torch.float32 and torch.allclose(features, expected, rtol=0, atol=2e-6)
    (ours,), (plain,) = (torch.autograd.grad(out.square().sum(), grid) for out in (features, expected))
    assert ours.dtype == dtype and ours.is_contiguous(memory_format=layout)
    assert torch.allclose(ours.float(), plain.float(), rtol=1e-2 if dtype == torch.bfloat16 else 0, atol=1e-4)


@pytest.mark.parametrize("operator", [sampled_linear, torch_linear, device_linear])
def test_only_the_wanted_gradients_are_computed(operator: Operator):
    expected = gradients(
        sampled_linear_plain(grids := wanted_volumes(), points(POINTS), *(parameters := layer()), SAMPLING),
        [grids[2], *parameters],
    )
    only_volume = [grid.detach().requires_grad_(number == 2) for number, grid in enumerate(grids)]
    frozen = parameters[0].detach(), parameters[1].detach()
    (of_volume,) = gradients(operator(only_volume, points(POINTS), *frozen, SAMPLING), [only_volume[2]])
    fixed = [grid.detach() for grid in grids]
    of_layer = gradients(operator(fixed, points(POINTS), *parameters, SAMPLING), parameters)
    for a, b in zip((of_volume, *of_layer), expected, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-11)
    assert not operator(fixed, points(POINTS), *frozen, SAMPLING).requires_grad


@pytest.mark.parametrize("operator", [sampled_linear, torch_linear, device_linear])
def test_under_autocast_it_is_a_linear_layer_under_autocast(operator: Operator):
    grids, where = wanted_volumes(torch.float32), points(POINTS, dtype=torch.float32)
    parameters = layer(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert sample_features(grids, where, SAMPLING).dtype == torch.float32
        ours = operator(grids, where, *parameters, SAMPLING)
        plain = sampled_linear_plain(grids, where, *parameters, SAMPLING)
    assert ours.dtype == plain.dtype == torch.bfloat16
    assert torch.linalg.vector_norm(ours.double() - plain.double()) < 1e-2 * torch.linalg.vector_norm(plain.double())
    wanted = [*grids[1:], *parameters]
    for a, b in zip(gradients(ours, wanted), gradients(plain, wanted), strict=True):
        assert a.dtype == torch.float32 and torch.linalg.vector_norm(a - b) < 2e-2 * torch.linalg.vector_norm(b)


def test_points_that_want_a_gradient_get_it():
    grids, parameters = wanted_volumes(), layer()
    where = (points(12) * 0.7).requires_grad_()
    for ours, plain in (
        (sample_features(grids, where, SAMPLING), sample_features_plain(grids, where, SAMPLING)),
        (
            sampled_linear(grids, where, *parameters, SAMPLING),
            sampled_linear_plain(grids, where, *parameters, SAMPLING),
        ),
    ):
        for a, b in zip(gradients(ours, [where, grids[1]]), gradients(plain, [where, grids[1]]), strict=True):
            assert torch.allclose(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("operator", [sample_features, torch_features, device_features])
@pytest.mark.parametrize("far", [1e9, float("inf"), float("nan")])
def test_points_far_away_or_nowhere_see_nothing_and_touch_nothing(operator: Operator, far: float):
    grids = [volume.requires_grad_() for volume in volumes((3, 4), batch=1)]
    features = operator(grids, torch.full((1, 2, 3), far, dtype=torch.float64), SAMPLING)
    assert torch.equal(features, torch.zeros(1, 2, 21, dtype=torch.float64))
    assert not gradients(features, grids)[0].any()


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("operators", [(sample_features, sampled_linear), (torch_features, torch_linear)])
def test_no_point_and_one_point(operators: tuple[Operator, Operator], count: int, threads: int):
    grids, parameters = wanted_volumes(), layer()
    features = operators[0](grids, points(count), SAMPLING)
    assert torch.allclose(features, sample_features_plain(grids, points(count), SAMPLING), atol=1e-13)
    out = operators[1](grids, points(count), *parameters, SAMPLING)
    assert out.shape == (2, count, OUTPUTS)
    for gradient in gradients(out, [*grids[1:], *parameters]):
        assert torch.isfinite(gradient).all() and (count or not gradient.any())


def test_all_scales_may_fold_and_none():
    for shapes in (((6, 2), (8, 1)), ((1, 4),)):
        grids, where = volumes(*shapes), points(POINTS)
        parameters = layer(channels=sum(c for c, _ in shapes))
        ours = sampled_linear(grids, where, *parameters, SAMPLING)
        assert torch.allclose(ours, sampled_linear_plain(grids, where, *parameters, SAMPLING), atol=1e-12)


@needs_numba
def test_torch_operators_run_where_numba_is_missing(monkeypatch: pytest.MonkeyPatch):
    grids, where, parameters = wanted_volumes(), points(9), layer()
    compiled = sampled_linear(grids, where, *parameters, SAMPLING)
    monkeypatch.setattr(ops, "HAS_NUMBA", False)
    without = sampled_linear(grids, where, *parameters, SAMPLING)
    assert type(compiled.grad_fn).__name__ == "SampledLinearOnCPUBackward" != type(without.grad_fn).__name__
    assert torch.allclose(compiled, without, atol=1e-12)


def test_numba_is_imported_only_when_a_kernel_runs():
    program = "import sys, isofield.ops.feature_sampling; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("grid", "where", "message"),
    [
        ((1, 2, 4, 4, 4), (2, 5, 3), "2 shapes"),
        ((2, 2, 4, 4, 3), (2, 5, 3), "R, R, R"),
        ((2, 2, 4, 4, 4), (2, 5, 2), r"\(B, N, 3\), .*\(2, 5, 2\)"),
        ((2, 3, 4, 4, 4), (2, 5, 3), r"\(O, 21\) .*\(3, 14\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(grid, where, message: str):
    weight, bias = torch.zeros(3, 14), torch.zeros(3)
    with pytest.raises(ValueError, match=message):
        sampled_linear([torch.zeros(grid)], torch.zeros(where), weight, bias, SAMPLING)


def test_an_unknown_padding_is_named():
    with pytest.raises(ValueError, match=r"zeros.*border.*'reflection'"):
        sample_features(
            [torch.zeros(1, 1, 2, 2, 2)], torch.zeros(1, 1, 3), dataclasses.replace(SAMPLING, padding="reflection")
        )
