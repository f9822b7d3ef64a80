"""The GPU's way of sampling features: Triton's kernels in its interpreter, and all of it where a GPU is."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from isofield.ops.feature_sampling import plain as feature_sampling_torch
from isofield.ops.feature_sampling import sample_features, sample_features_plain, sampled_linear, sampled_linear_plain
from tests.conftest import ROOT
from tests.isofield.ops.test_feature_sampling import SAMPLING, points, volumes

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CPU = torch.device("cpu")


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is absent: it comes with torch for CUDA")
def test_kernels_in_the_interpreter_equal_the_torch_operator():
    program = (
        "import sys, torch; from isofield.ops.feature_sampling import plain as ops; "
        "sys.exit(not ops._worst_difference(torch.device('cpu')) < 1e-5)"
    )
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=False).returncode == 0


@pytest.mark.parametrize(
    ("found", "message"),
    [(1e-3, "1.0e-03"), (float("inf"), " inf"), (RuntimeError("no compiler"), "cpu")],
)
def test_kernels_that_fail_or_differ_are_not_used(monkeypatch: pytest.MonkeyPatch, found, message: str):
    def worst(device: torch.device) -> float:
        if isinstance(found, Exception):
            raise found
        return found

    pytest.importorskip("triton")
    monkeypatch.setattr(feature_sampling_torch, "_worst_difference", worst)
    with pytest.warns(UserWarning, match=message):
        assert not feature_sampling_torch.triton_agrees.__wrapped__(CPU)


def test_without_triton_the_torch_operator_runs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match="Triton .*cpu"):
        assert not feature_sampling_torch.triton_agrees.__wrapped__(CPU)
    monkeypatch.setattr(feature_sampling_torch, "triton_agrees", lambda device: False)
    chosen = feature_sampling_torch.interpolation_on(torch.device("cuda"), wants_points=False)
    assert chosen is feature_sampling_torch.interpolate


@pytest.mark.parametrize("reason", ["points", "deterministic"])
def test_kernels_stay_away_where_they_may_not_run(monkeypatch: pytest.MonkeyPatch, reason: str):
    monkeypatch.setattr(feature_sampling_torch, "triton_agrees", lambda device: pytest.fail("was asked"))
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: reason == "deterministic")
    cuda = torch.device("cuda")
    chosen = feature_sampling_torch.interpolation_on(cuda, wants_points=reason == "points")
    assert chosen is feature_sampling_torch.interpolate


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("triton", [True, False])
def test_a_gpu_equals_the_plain_twin_in_double(triton: bool, monkeypatch: pytest.MonkeyPatch):
    if not triton:
        monkeypatch.setattr(feature_sampling_torch, "triton_agrees", lambda device: False)
    else:
        assert feature_sampling_torch.triton_agrees(torch.device("cuda", 0))
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
