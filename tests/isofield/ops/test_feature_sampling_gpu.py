"""The GPU's way of sampling features: Triton's kernels, interpreted and compiled, and all of it where a GPU is."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from isofield.ops.feature_sampling import (
    device,
    sample_features,
    sample_features_plain,
    sampled_linear,
    sampled_linear_plain,
)
from isofield.ops.feature_sampling.places import pays_to_fold
from tests.conftest import ROOT
from tests.isofield.ops.test_feature_sampling import SAMPLING, points, volumes

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is absent: it comes with torch for CUDA"
)
CPU = torch.device("cpu")

INTERPRETED = """
import torch
from isofield.ops.feature_sampling import device, sample_features_plain
from tests.isofield.ops.test_feature_sampling import SAMPLING, points, volumes

assert device._worst_difference(torch.device("cpu")) < 1e-5
device._triton_serves = lambda where: True
for padding in ("zeros", "border"):
    sampling = SAMPLING.__class__(0.3, padding, align_corners=False)
    first, *others = volumes((1, 6), (3, 5), (20, 3), (130, 2))
    grids, where = [first, *(volume.requires_grad_() for volume in others)], points(7)
    ours = device.features_of(grids, where, sampling, torch.float64)
    plain = sample_features_plain(grids, where, sampling)
    assert torch.allclose(ours, plain, rtol=0, atol=1e-13)
    factors = torch.randn_like(plain)
    pairs = [torch.autograd.grad((one * factors).sum(), others) for one in (ours, plain)]
    assert all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(*pairs, strict=True))
"""


@needs_triton
def test_kernels_in_the_interpreter_equal_the_plain_twin_in_double():
    """Two shapes in one launch, more channels than a program has, places beyond the border."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    result = subprocess.run(
        [sys.executable, "-c", INTERPRETED], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]


@needs_triton
@pytest.mark.parametrize("architecture", [80, 90])
@pytest.mark.parametrize("channels", [16, 128])
@pytest.mark.parametrize("name", ["_gather", "_scatter"])
def test_machine_code_neither_spills_nor_waits_for_the_whole_gpu(name: str, channels: int, architecture: int, tmp_path):
    """Compiled without a GPU: no registers put into memory, and no barrier around the atomics."""
    machine, resources = _machine_code(name, channels, architecture, tmp_path)
    taken = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", resources)
    assert taken is not None and taken.groups()[1:] == ("0", "0"), resources
    assert int(taken[1]) <= 128  # four programs of 128 threads at a time on each of its processors
    assert "MEMBAR" not in machine and "CCTL" not in machine
    added = len(re.findall(r"\bREDG?\b|\bRED\.|\bREDG\.", machine))
    assert (added > 0) == (name == "_scatter")


def _machine_code(name: str, channels: int, architecture: int, folder: Path) -> tuple[str, str]:
    """The disassembly of a kernel, and what it takes of the processor."""
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from isofield.ops.feature_sampling import triton as kernels

    tools = Path(triton.__file__).parent / "backends/nvidia/bin"
    if not (tools / "nvdisasm").is_file():
        pytest.skip("this Triton has no disassembler")
    block, width = kernels.program_size(channels)
    pointers = {"rows": "*fp32", "coordinates": "*fp32", "features": "*bf16"}
    sizes = dict.fromkeys(("samples", "of_shape", "channels", "columns", "start", "resolution"), "i32")
    fixed = {"PLACES": 7, "BLOCK": block, "WIDTH": width}
    # Rows of 16 channels or more begin at multiples of 16 bytes.
    aligned = {(number,): [["tt.divisibility", 16]] for number in (0, 1, 2, 5)}
    source = ASTSource(
        fn=getattr(kernels, name),
        signature={**pointers, **sizes, **dict.fromkeys(fixed, "constexpr")},
        constexprs=fixed,
        attrs=aligned,
    )
    file = folder / "kernel.cubin"
    file.write_bytes(triton.compile(source, target=GPUTarget("cuda", architecture, 32)).asm["cubin"])
    machine, resources = (
        subprocess.run([tools / tool, *words, file], capture_output=True, text=True, check=True).stdout
        for tool, words in (("nvdisasm", ["-c"]), ("cuobjdump", ["-res-usage"]))
    )
    return machine, resources


def test_a_gpu_folds_nothing():
    """Its products are too fast: interpolating the products of a coarse grid costs more than they save."""
    scales = [(1, 128), (16, 128), (32, 64), (64, 32), (128, 16), (128, 8)]
    folds = {
        where: [pays_to_fold(*scale, outputs=256, points=50_000, device=where) for scale in scales]
        for where in ("cpu", "cuda")
    }
    assert folds == {"cpu": [False, False, False, False, True, True], "cuda": [False] * 6}


def test_the_operator_is_registered_with_torch():
    """Its schema, its gradient, its sizes without values, and both in compiled code."""
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(54, 4, generator=generator, requires_grad=True), torch.randn(16, 3, generator=generator)]
    places = [torch.rand(2, 5, 7, 3, generator=generator) * side for side in (3, 2)]
    torch.library.opcheck(torch.ops.isofield.sampled_features, (rows, places, [3, 2], torch.float32))
    gradient = torch.randn(2, 5, 49, generator=generator)
    given = gradient, places, [3, 2], [4, 3], [True, False]
    torch.library.opcheck(torch.ops.isofield.sampled_features_backward, given)


def test_compiled_code_calls_the_operator(monkeypatch: pytest.MonkeyPatch):
    """One graph without a break, and in it the operator instead of what it is made of."""
    monkeypatch.setattr(device, "DEVICES", ("cpu",))
    monkeypatch.setattr("isofield.ops.feature_sampling._kernels_serve", lambda *_: False)
    seen: list[str] = []

    def backend(module, inputs):
        seen.extend(str(node.target) for node in module.graph.nodes)
        return module.forward

    grids, where = [v.float().requires_grad_() for v in volumes((3, 4), (5, 2))], points(20).float()
    weight, bias = torch.randn(4, 7 * 8, requires_grad=True), torch.randn(4, requires_grad=True)
    compiled = torch.compile(sampled_linear, backend=backend, fullgraph=True)
    ours, plain = (one(grids, where, weight, bias, SAMPLING) for one in (compiled, sampled_linear_plain))
    assert any("isofield.sampled_features" in target for target in seen)
    assert not any("embedding_bag" in target for target in seen)
    assert torch.allclose(ours, plain, atol=1e-5)
    pairs = [torch.autograd.grad(one.square().sum(), [*grids, weight, bias]) for one in (ours, plain)]
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(*pairs, strict=True))


def test_under_autocast_features_are_of_the_layer_s_type(monkeypatch: pytest.MonkeyPatch):
    """They are interpolated in float32 and rounded once, as a linear layer behind `sample_features` does."""
    monkeypatch.setattr(device, "DEVICES", ("cpu",))
    monkeypatch.setattr(device, "triton_agrees", lambda where: True)
    monkeypatch.setattr("isofield.ops.feature_sampling._kernels_serve", lambda *_: False)
    grids, where = [v.float().requires_grad_() for v in volumes((3, 4), (5, 2))], points(20).float()
    weight, bias = torch.randn(4, 7 * 8), torch.randn(4)
    with torch.autocast("cpu", torch.bfloat16):
        ours = sampled_linear(grids, where, weight, bias, SAMPLING)
        plain = torch.nn.functional.linear(sample_features(grids, where, SAMPLING), weight, bias)
    assert ours.dtype == torch.bfloat16 and torch.equal(ours, plain)
    pairs = [torch.autograd.grad(one.float().square().sum(), grids) for one in (ours, plain)]
    assert all(
        a.dtype == torch.float32 and torch.allclose(a, b, rtol=0, atol=0.05) for a, b in zip(*pairs, strict=True)
    )


@pytest.mark.parametrize(
    ("found", "message"),
    [(1e-3, "1.0e-03"), (float("inf"), " inf"), (RuntimeError("no compiler"), "cpu")],
)
def test_kernels_that_fail_or_differ_are_not_used(monkeypatch: pytest.MonkeyPatch, found, message: str):
    def worst(where: torch.device) -> float:
        if isinstance(found, Exception):
            raise found
        return found

    pytest.importorskip("triton")
    monkeypatch.setattr(device, "_worst_difference", worst)
    with pytest.warns(UserWarning, match=message):
        assert not device.triton_agrees.__wrapped__(CPU)


def test_without_triton_the_torch_operator_runs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match="Triton .*cpu"):
        assert not device.triton_agrees.__wrapped__(CPU)
    monkeypatch.setattr(device, "triton_agrees", lambda where: False)
    assert not device.serves(torch.device("cuda"), wants_points=False)


@pytest.mark.parametrize("reason", ["points", "deterministic"])
def test_kernels_stay_away_where_they_may_not_run(monkeypatch: pytest.MonkeyPatch, reason: str):
    monkeypatch.setattr(device, "triton_agrees", lambda where: pytest.fail("was asked"))
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: reason == "deterministic")
    assert not device.serves(torch.device("cuda"), wants_points=reason == "points")


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("triton", [True, False])
def test_a_gpu_equals_the_plain_twin_in_double(triton: bool, monkeypatch: pytest.MonkeyPatch):
    if not triton:
        monkeypatch.setattr(device, "triton_agrees", lambda where: False)
    else:
        assert device.triton_agrees(torch.device("cuda", 0))
    grids = [volume.cuda().requires_grad_() for volume in volumes((1, 6), (20, 5), (130, 2))]
    where = points(3000).cuda()
    weight = torch.randn(4, 7 * 151, device="cuda", dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, device="cuda", dtype=torch.float64, requires_grad=True)
    for ours, plain, wanted in (
        (sample_features(grids, where, SAMPLING), sample_features_plain(grids, where, SAMPLING), grids),
        (
            sampled_linear(grids, where, weight, bias, SAMPLING),
            sampled_linear_plain(grids, where, weight, bias, SAMPLING),
            [*grids, weight, bias],
        ),
    ):
        assert torch.allclose(ours, plain, rtol=0, atol=1e-10)
        factors = torch.randn_like(plain)
        pairs = zip(
            torch.autograd.grad((ours * factors).sum(), wanted),
            torch.autograd.grad((plain * factors).sum(), wanted),
            strict=True,
        )
        assert all(torch.allclose(a, b, rtol=0, atol=1e-9) for a, b in pairs)
