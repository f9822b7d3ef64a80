"""Fitting the encoder to one input: the loss on its samples falls, and nothing reaches the next shape."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data_processing.formats.point_clouds import PointCloud
from data_processing.loading.network_inputs import InputConfig
from data_processing.loading.single_inputs import Observed, observe_shape
from data_processing.store.shape_set import ShapeSet, open_shapes
from isofield.generation.test_time_fitting import fitted_code
from tests.isofield.ready_runs import Echo, EchoConfig
from tests.isofield.tiny_field import TinyConfig, TinyField

CPU = torch.device("cpu")
SECTIONS = {
    "solid": InputConfig("solid", 16),
    "deformed": InputConfig("deformed", 16),
    "points": InputConfig("points", 16, points=200),
    "scan": InputConfig("scan", 16, points=200),
}


@pytest.fixture(scope="module")
def shapes(prepared: Path) -> ShapeSet:
    return open_shapes(prepared)


def model() -> TinyField:
    """Statistics and weights away from their first values."""
    torch.manual_seed(3)
    field = TinyField(TinyConfig())
    field.train()
    field.encode((torch.rand(4, 1, 8, 8, 8) > 0.5).float())
    return field.eval()


def fit(field: TinyField, observed: Observed, name: str, steps: int = 12, rate: float = 3e-3):
    return fitted_code(field, observed, name=name, steps=steps, rate=rate, device=CPU)


@torch.no_grad()
def encoded(field: TinyField, observed: Observed):
    return field.encode(observed.inputs[None])


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_the_loss_on_the_samples_falls_and_the_model_is_as_before(shapes: ShapeSet, section: InputConfig):
    field, observed = model(), observe_shape(shapes, 0, section, seed=0)
    before = {key: value.clone() for key, value in field.state_dict().items()}
    plain = encoded(field, observed)
    code, losses = fit(field, observed, "a")
    assert losses["loss_after"] < losses["loss_before"]
    assert not torch.equal(code, plain) and torch.equal(code[:, :1], plain[:, :1])
    assert all(torch.equal(value, before[key]) for key, value in field.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in field.parameters())
    assert not code.requires_grad and torch.equal(encoded(field, observed), plain)


@pytest.mark.parametrize("kind", ["solid", "points"])
def test_the_order_of_shapes_does_not_matter(shapes: ShapeSet, kind: str):
    """Bitwise: with an optimiser or statistics kept, or draws from a common stream, the second would differ."""
    field = model()
    inputs = {i: observe_shape(shapes, i, SECTIONS[kind], seed=0) for i in range(3)}
    forward = {i: fit(field, inputs[i], shapes.names[i])[0] for i in (0, 1, 2)}
    torch.rand(5)
    backward = {i: fit(field, inputs[i], shapes.names[i])[0] for i in (2, 1, 0)}
    alone = fit(model(), inputs[1], shapes.names[1])[0]
    assert all(torch.equal(forward[i], backward[i]) for i in range(3)) and torch.equal(alone, forward[1])


def test_the_decoder_does_not_move(shapes: ShapeSet, monkeypatch: pytest.MonkeyPatch):
    """Seen while the fitting is under way: its own weights, and the statistics of BatchNorm, stay what they are."""
    field, seen = model(), []
    before = {key: value.clone() for key, value in field.state_dict().items()}
    losses = field.losses

    def watched(batch):
        now = field.state_dict()
        seen.append({key for key in now if not torch.equal(now[key], before[key])})
        assert not field.training
        assert not any(parameter.requires_grad for parameter in field.decoder.parameters())
        return losses(batch)

    monkeypatch.setattr(field, "losses", watched)
    fit(field, observe_shape(shapes, 0, SECTIONS["solid"], seed=0), "a", steps=3)
    moved = set().union(*seen)
    assert moved == {f"encoder.{name}" for name in ("0.weight", "0.bias", "2.weight", "2.bias")}


def test_the_model_is_put_back_after_an_error(shapes: ShapeSet):
    field, observed = model(), observe_shape(shapes, 0, SECTIONS["solid"], seed=0)
    before = {key: value.clone() for key, value in field.state_dict().items()}
    with pytest.raises(ValueError, match=r"8 steps.*--fit-rate"):
        fit(field, observed, "a", steps=8, rate=1e30)
    assert all(torch.equal(value, before[key]) for key, value in field.state_dict().items())
    assert all(parameter.requires_grad for parameter in field.parameters())


def test_a_cloud_pulls_the_level_to_its_points_and_leaves_what_is_far(shapes: ShapeSet):
    field = model()
    observed = observe_shape(shapes, 0, SECTIONS["points"], seed=0)
    shown = observed.shown()
    assert isinstance(shown, PointCloud)
    points = torch.from_numpy(shown.points_N3).float()[None]
    far = torch.tensor(np.random.default_rng(0).uniform(-0.5, 0.5, (4000, 3))).float()
    distance = (far[:, None] - points[0][None]).abs().amax(-1).amin(1)
    far = far[distance > 3.5 / 16][None]
    plain = encoded(field, observed)
    fitted, _ = fit(field, observed, "a", steps=40)
    with torch.no_grad():
        assert field.decode(points, fitted).abs().mean() < 0.8 * field.decode(points, plain).abs().mean()
        sides = [field.decode(far, code) > 0 for code in (plain, fitted)]
    assert far.shape[1] > 20 and (sides[0] == sides[1]).float().mean() > 0.9


def test_a_model_that_cannot_tell_its_encoder_is_refused(shapes: ShapeSet):
    observed = observe_shape(shapes, 0, SECTIONS["solid"], seed=0)
    with pytest.raises(ValueError, match="--fit-steps: "):
        fitted_code(Echo(EchoConfig()), observed, name="a", steps=1, rate=1e-3, device=CPU)


def test_an_input_of_no_point_is_refused(shapes: ShapeSet):
    observed = observe_shape(shapes, 0, SECTIONS["points"], seed=0)
    empty = Observed(torch.zeros_like(observed.inputs), observed.to_world, lambda: PointCloud(np.zeros((0, 3))))
    with pytest.raises(ValueError, match="--fit-steps: "):
        fit(model(), empty, "a")
