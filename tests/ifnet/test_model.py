"""IF-Net: sizes, choices, gradients, chunks of points, precision, dropout, bad input."""

import dataclasses
import io

import pytest
import torch
import torch.nn.functional as F

from data_processing.batch import Batch
from ifnet.model import Config, IFNet
from ifnet.published_weights import SETUPS
from isofield.config import read_run_config
from isofield.ops.feature_sampling import Sampling, sample_features_plain
from isofield.registry import build_model, resolve
from isofield.training.optim import Average
from tests.conftest import ROOT

SMALL = Config(
    resolution=16, stages=((3,), (4, 5), (6, 7)), decoder_widths=(16, 12, 8), displacement=0.1, points_per_chunk=40
)
COUNTS = {
    "voxels_32": 2_954_049,
    "voxels_128": 2_550_881,
    "points_300": 2_550_881,
    "points_3000": 2_550_881,
    "single_view": 4_623_457,
    "organs": 2_550_881,
}


def changed(config: Config = SMALL, **changes: object) -> Config:
    return dataclasses.replace(config, **changes)


def small_model(seed: int = 0, **changes: object) -> IFNet:
    """Random weights, and statistics that are not those of a fresh layer."""
    torch.manual_seed(seed)
    model = IFNet(changed(**changes))
    for name, value in model.state_dict().items():
        if name.endswith("running_mean"):
            value.uniform_(-0.1, 0.1)
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
    return model


def small_batch(shapes: int = 2, points: int = 100, *, resolution: int = 16, dtype=torch.float32) -> Batch:
    generator = torch.Generator().manual_seed(1)
    inputs = (torch.rand(shapes, 1, *(resolution,) * 3, generator=generator) > 0.5).to(dtype)
    points_BN3 = (torch.rand(shapes, points, 3, generator=generator) * 1.2 - 0.6).to(dtype)  # some outside
    values_BN = (torch.rand(shapes, points, generator=generator) > 0.5).to(dtype)
    return Batch(inputs, points_BN3, values_BN, tuple(range(shapes)))


def box(resolution: int) -> torch.Tensor:
    """An off-centre box with three different sides: (R, R, R) bool."""
    axis = (torch.arange(resolution) + 0.5) / resolution - 0.5
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    return ((x - 0.1).abs() < 0.3) & ((y + 0.1).abs() < 0.2) & ((z - 0.15).abs() < 0.12)


def loss_of(model: IFNet, batch: Batch) -> torch.Tensor:
    ((_, values),) = model.losses(batch)
    return values["loss"]


@pytest.mark.parametrize("setup", COUNTS)
def test_published_parameter_counts_and_configs(setup: str):
    """The YAML files say the same as the importer, and both have the published number of parameters."""
    file = ROOT / "configs" / "ifnet" / f"{setup}.yaml"
    config = resolve(read_run_config(file), where=str(file))
    expected = resolve(dataclasses.replace(config, model=plain(SETUPS[setup])), where=setup)
    different = {key for key, value in expected.model.items() if config.model[key] != value}
    assert different <= {"dropout"} and SETUPS[setup].dropout == 0
    with torch.device("meta"):
        model = build_model(config.model, where=str(file))
    assert sum(parameter.numel() for parameter in model.parameters()) == COUNTS[setup]


def plain(config: Config) -> dict[str, object]:
    return {"type": "ifnet", **dataclasses.asdict(config)}


def test_every_narrower_config_builds():
    files = sorted((ROOT / "configs" / "ifnet").glob("small_*.yaml"))
    assert len(files) >= 3
    for file in files:
        config = read_run_config(file)
        model = build_model(config.model, where=str(file))
        assert sum(parameter.numel() for parameter in model.parameters()) < 1_000_000
        assert config.model["resolution"] == config.data.input.resolution


def test_the_pyramid():
    model, batch = small_model(), small_batch(3)
    volumes = model.encode(batch.inputs)
    assert [tuple(v.shape) for v in volumes] == [(3, c, r, r, r) for c, r in ((1, 16), (3, 16), (5, 8), (7, 4))]
    assert torch.equal(volumes[0], batch.inputs)
    assert all(v.is_contiguous(memory_format=torch.channels_last_3d) for v in volumes)


def test_offsets_are_three_more_channels_of_the_input():
    model, batch = small_model(offsets=True), small_batch()
    inputs = torch.cat([batch.inputs, torch.rand(2, 3, 16, 16, 16) * batch.inputs], 1)
    assert [volume.shape[1] for volume in model.encode(inputs)] == [4, 3, 5, 7]
    assert torch.equal(model.encode(inputs)[0], inputs)
    before = model.decode(batch.points_BN3, model.encode(inputs))
    inputs[:, 2] = -inputs[:, 2]
    assert not torch.allclose(before, model.decode(batch.points_BN3, model.encode(inputs)))
    with pytest.raises(ValueError, match=r"4 x 16 x 16 x 16 .*data.input.offsets have to be alike.*got B x 1 x 16"):
        model.encode(batch.inputs)


@pytest.mark.parametrize("changes", [{}, {"append_point": True}, {"sampling_padding": "border", "align_corners": True}])
def test_decoding_is_the_plain_formulation_in_double(changes: dict):
    """Features of seven grid_samples, concatenated, through plain layers; the point last where it is appended."""
    model, batch = small_model(**changes).double().eval(), small_batch(dtype=torch.float64)
    config, volumes = model.config, model.encode(batch.inputs)
    sampling = Sampling(config.displacement, config.sampling_padding, config.align_corners)
    features = sample_features_plain(volumes, batch.points_BN3, sampling)
    h = torch.cat([features, 2 * batch.points_BN3], -1) if config.append_point else features
    *layers, last = model.decoder.layers
    for layer in layers:
        h = F.relu(layer(h))
    logits = model.decode(batch.points_BN3, volumes)
    assert logits.shape == (2, 100)
    assert torch.allclose(logits, last(h).squeeze(-1), rtol=0, atol=1e-12)


def test_the_places_of_features_follow_the_axes_of_the_volume():
    """A network whose logit is the input's value at the point answers with the box, wherever it lies."""
    model = IFNet(Config(resolution=16, stages=((2,), (2,)), decoder_widths=(2,))).eval()
    weights = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    weights["decoder.layers.0.weight"][0, 0] = weights["decoder.layers.1.weight"][0, 0] = 1
    weights["decoder.layers.1.bias"][0] = -0.5
    model.load_state_dict(weights)
    shape = box(16)
    axis = (torch.arange(16) + 0.5) / 16 - 0.5
    centres = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(1, -1, 3)
    with torch.no_grad():
        logits = model.decode(centres, model.encode(shape[None, None].float()))
    assert torch.equal(logits[0] > model.iso_level, shape.flatten())


@pytest.mark.parametrize("size", [7, 100, 1000])
def test_chunked_loss_and_gradients_equal_the_plain_ones(size: int):
    model, batch = small_model(points_per_chunk=size).double(), small_batch(dtype=torch.float64)
    model.train()
    logits = model.decode(batch.points_BN3, model.encode(batch.inputs))
    whole = F.binary_cross_entropy_with_logits(logits, batch.values_BN, reduction="none").sum(1).mean()
    expected = torch.autograd.grad(whole, list(model.parameters()))
    ((_, values),) = model.losses(batch)
    assert float(values["loss"].detach()) == pytest.approx(float(whole.detach()), rel=1e-6)
    assert float(values["loss_per_point"]) == pytest.approx(float(whole.detach()) / 100, rel=1e-6)
    right = ((logits > 0) == (batch.values_BN > 0.5)).double().mean()
    assert float(values["accuracy"]) == pytest.approx(float(right), abs=1e-6)
    values["loss"].backward()
    for (name, parameter), gradient in zip(model.named_parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, rtol=1e-8, atol=1e-9), name


@pytest.mark.parametrize("changes", [{}, {"append_point": True, "dropout": 0.2, "convolution_padding": "replicate"}])
def test_a_gradient_reaches_every_parameter(changes: dict):
    model = small_model(**changes).train()
    loss_of(model, small_batch()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and float(parameter.grad.abs().sum()) > 0, name


def test_only_the_encoder_is_fitted_when_the_decoder_is_frozen():
    """What fitting at test time asks for: evaluation mode, encoder parameters, nothing else touched."""
    model, batch = small_model().eval(), small_batch()
    fitted = model.encoder_parameters()
    assert {id(p) for p in fitted} == {id(p) for p in model.encoder.parameters()}
    model.decoder.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.Adam(fitted, lr=1e-3)
    first = loss_of(model, batch)
    first.backward()
    optimiser.step()
    assert all(parameter.grad is None for parameter in model.decoder.parameters())
    assert float(loss_of(model, batch).detach()) < float(first.detach())
    for name, value in model.state_dict().items():
        untouched = name.startswith("decoder") or "running" in name or "batches" in name
        assert torch.equal(value, before[name]) == untouched, name


def test_overfits_one_shape():
    torch.manual_seed(0)
    model = IFNet(Config(resolution=16, stages=((4,), (8, 8)), decoder_widths=(32, 32)))
    points = torch.rand(1, 2000, 3) - 0.5
    fine = box(64)[tuple(((points[0] + 0.5) * 64).long().unbind(-1))]
    batch = Batch(box(16)[None, None].float(), points, fine[None].float(), (0,))
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(80):
        loss = loss_of(model, batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    with torch.no_grad():
        wrong = (model.decode(points, model.encode(batch.inputs)) > model.iso_level) != (batch.values_BN > 0.5)
    assert float(wrong.float().mean()) < 0.02


def test_bfloat16_autocast_trains_and_agrees():
    model, batch = small_model().train(), small_batch(2, 400)
    exact = loss_of(model, batch)
    exact.backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(model, batch)
    loss.backward()
    loss, exact = loss.detach(), exact.detach()
    assert loss.dtype == torch.float32 and float(loss) != float(exact)  # bfloat16 was indeed used
    assert float(loss) == pytest.approx(float(exact), rel=0.02)
    ours, theirs = (torch.cat([g.flatten() for g in gs]) for gs in ([p.grad for p in model.parameters()], expected))
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())
    assert float(F.cosine_similarity(ours, theirs, dim=0)) > 0.95
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = model.decode(batch.points_BN3, model.encode(batch.inputs))
    with torch.no_grad():
        exact_logits = model.decode(batch.points_BN3, model.encode(batch.inputs))
    assert float((logits - exact_logits).abs().max()) < 0.1 * float(exact_logits.std()) + 0.05


def test_dropout_acts_in_training_only_and_is_seeded():
    model, batch = small_model(dropout=0.5), small_batch()
    plain_model = small_model()
    plain_model.load_state_dict(model.state_dict())
    model.eval()
    plain_model.eval()
    code = model.encode(batch.inputs)
    assert torch.equal(model.decode(batch.points_BN3, code), plain_model.decode(batch.points_BN3, code))
    model.train()
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(model.decode(batch.points_BN3, code))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_dropout_is_behind_the_first_two_layers_only():
    """With p so high that nearly nothing passes, what is left is the biases behind."""
    model, batch = small_model(dropout=1 - 1e-7).train(), small_batch()
    third, last = model.decoder.layers[2:]
    expected = last(F.relu(third.bias))
    logits = model.decode(batch.points_BN3, model.encode(batch.inputs))
    assert torch.allclose(logits, expected.expand_as(logits), atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_n_steps_and_the_rest_equal_all_steps_bitwise(precision: str):
    """Weights, running statistics and moments, over a checkpoint in between; with dropout."""

    def steps(model: IFNet, optimiser: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                loss = loss_of(model, small_batch())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    def fresh() -> tuple[IFNet, torch.optim.Optimizer]:
        model = small_model(dropout=0.3).train()
        return model, torch.optim.Adam(model.parameters(), lr=1e-3)

    torch.manual_seed(5)
    whole, optimiser = fresh()
    steps(whole, optimiser, 6)
    halves, optimiser = fresh()
    steps(halves, optimiser, 3)
    file = io.BytesIO()
    torch.save([halves.state_dict(), optimiser.state_dict(), torch.get_rng_state()], file)
    torch.manual_seed(99)
    resumed, optimiser = fresh()
    file.seek(0)
    weights, moments, generator = torch.load(file, weights_only=True)
    resumed.load_state_dict(weights)
    optimiser.load_state_dict(moments)
    torch.set_rng_state(generator)
    steps(resumed, optimiser, 3)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_an_average_of_weights_takes_the_statistics_along():
    """Averaged statistics lie between those of the steps; the count is the last one's; the average evaluates."""
    model, batch = small_model().train(), small_batch()
    average = Average(model.state_dict(), decay=0.9)
    means = []
    for _ in range(5):
        loss_of(model, batch)
        average.update(model.state_dict())
        means.append(model.state_dict()["encoder.stages.2.norm.running_mean"].clone())
    averaged = average.weights["encoder.stages.2.norm.running_mean"]
    low, high = torch.stack(means).amin(0), torch.stack(means).amax(0)
    assert bool(((averaged >= low) & (averaged <= high)).all())
    assert not torch.equal(averaged, means[-1])
    assert int(average.weights["encoder.stages.2.norm.num_batches_tracked"]) == 5
    assert all(bool((value > 0).all()) for name, value in average.weights.items() if name.endswith("running_var"))
    model.load_state_dict(average.weights)
    model.eval()
    assert bool(torch.isfinite(loss_of(model, batch)))


def test_inputs_of_another_size_are_refused_by_name():
    model = small_model()
    for shape, got in (
        ((2, 1, 8, 8, 8), "1 x 8 x 8 x 8"),
        ((2, 16, 16, 16), "16 x 16 x 16"),
        ((1, 2, 16, 16, 16), "2 x"),
    ):
        with pytest.raises(ValueError, match=rf"B x 1 x 16 x 16 x 16 .*B x {got}"):
            model.encode(torch.zeros(shape))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"stages": ()}, "stages"),
        ({"stages": ((4,), ())}, "stages"),
        ({"stages": ((4,), (0,))}, "at least 1"),
        ({"decoder_widths": ()}, "decoder_widths"),
        ({"resolution": 18}, "resolution 18: "),
        ({"resolution": 4}, "resolution 4: "),
        ({"displacement": 1.0}, "displacement"),
        ({"displacement": float("nan")}, "displacement"),
        ({"dropout": 1.0}, "dropout"),
        ({"points_per_chunk": -1}, "points_per_chunk"),
    ],
)
def test_sizes_that_make_no_network_are_refused(wrong: dict, message: str):
    with pytest.raises(ValueError, match=message):
        changed(**wrong)


def test_memory_of_a_step_does_not_hold_all_features(monkeypatch: pytest.MonkeyPatch):
    """Never more points at once than a chunk, in training as in decoding."""
    model, batch = small_model(points_per_chunk=30).train(), small_batch(2, 100)
    sizes = []
    forward = model.decoder.forward

    def noting(points_BN3: torch.Tensor, volumes: list[torch.Tensor]) -> torch.Tensor:
        sizes.append(points_BN3.shape[0] * points_BN3.shape[1])
        return forward(points_BN3, volumes)

    monkeypatch.setattr(model.decoder, "forward", noting)
    loss_of(model, batch).backward()
    assert max(sizes) == 30 and sum(sizes) == 200
    sizes.clear()
    model.decode(batch.points_BN3[:1], model.encode(batch.inputs[:1]))
    assert sizes == [30, 30, 30, 10]
