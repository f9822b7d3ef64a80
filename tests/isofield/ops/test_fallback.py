"""Without what a fast path needs: the plain twin's values, and one line that says so."""

import warnings

import pytest
import torch

from isofield.ops import fallback, feature_sampling, linear_leaky

X, WEIGHT, BIAS = torch.randn(5, 4), torch.randn(3, 4), torch.randn(3)


@pytest.fixture(autouse=True)
def _nothing_told_yet() -> None:
    fallback.warn_once.cache_clear()


def test_without_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_leaky, "HAS_ONEDNN", False)
    with pytest.warns(UserWarning, match="oneDNN") as heard:
        values = [linear_leaky.linear_leaky(X, WEIGHT, BIAS, slope=0.02) for _ in range(3)]
    assert len(heard) == 1
    assert torch.equal(values[0], linear_leaky.plain_linear_leaky(X, WEIGHT, BIAS, slope=0.02))


def test_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = feature_sampling.Sampling(0.07, "border", align_corners=True)
    volumes, points = [torch.randn(2, 3, 4, 4, 4)], torch.rand(2, 6, 3) - 0.5
    monkeypatch.setattr(feature_sampling, "HAS_NUMBA", False)
    with pytest.warns(UserWarning, match="numba") as heard:
        values = [feature_sampling.sample_features(volumes, points, sampling) for _ in range(2)]
    assert len(heard) == 1
    assert torch.allclose(values[0], feature_sampling.sample_features_plain(volumes, points, sampling), atol=1e-6)


def test_nothing_is_said_of_other_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fast path takes double: nothing is missing."""
    monkeypatch.setattr(linear_leaky, "HAS_ONEDNN", False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        linear_leaky.linear_leaky(X.double(), WEIGHT.double(), BIAS.double(), slope=0.02)
