"""The latent GAN: golden losses and gradients, whose turn moves whom, samples by seed, the frozen autoencoder."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn

from data_processing.batch import Batch
from imnet import autoencoder
from imnet.latent_gan import Config, LatentGAN, Layers
from isofield.runtime.counter_random import keys_of
from isofield.runtime.seeds import seed_of
from tests.golden import FOLDER

TINY_AUTOENCODER = autoencoder.Config(latent=6, encoder_channels=(2, 3, 4, 5), decoder_widths=(16, 12, 8))
TINY = Config(autoencoder=TINY_AUTOENCODER, noise=8, generator_widths=(32, 32), critic_widths=(32, 32))


def tiny(**changes) -> LatentGAN:
    torch.manual_seed(0)
    model = LatentGAN(Config(**{**TINY.__dict__, **changes}))
    with torch.no_grad():  # as published everything is near 0: here differences should show
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


def linears(network: Layers) -> list[nn.Linear]:
    return [layer for layer in network.layers if isinstance(layer, nn.Linear)]


def batch_of(codes_BZ: torch.Tensor, *, seed: int = 0) -> Batch:
    shapes = tuple(range(len(codes_BZ)))
    keys_B, key_1 = keys_of(seed_of(seed, shape) for shape in shapes), keys_of([seed_of(seed, "step")])
    keys_B, key_1 = keys_B.to(codes_BZ.device), key_1.to(codes_BZ.device)
    return Batch(codes_BZ, torch.zeros(len(shapes), 0, 3), codes_BZ, shapes, keys_B=keys_B, key_1=key_1)


def codes(count: int = 5) -> torch.Tensor:
    return torch.rand(count, 6, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def golden():
    return np.load(FOLDER / "wgan_gp.npz", allow_pickle=False)


@pytest.fixture
def golden_model(golden) -> LatentGAN:
    model = tiny()
    with torch.no_grad():
        for letter, network in (("g", model.generator), ("d", model.critic)):
            for number, layer in enumerate(linears(network), start=1):
                layer.weight.copy_(torch.from_numpy(golden[f"{letter}_{number}_W"].T))
                layer.bias.copy_(torch.from_numpy(golden[f"{letter}_{number}_b"]))
    return model


def assert_golden_gradients(golden, letter, network):
    for number, layer in enumerate(linears(network), start=1):
        for name, gradient in (("W", layer.weight.grad.T), ("b", layer.bias.grad)):
            expected = golden[f"grad_{letter}_{number}_{name}"]
            np.testing.assert_allclose(gradient, expected, atol=1e-5 * max(abs(expected).max(), 1e-3))


def test_golden_codes_and_critic(golden, golden_model):
    fake = golden_model.generate(torch.from_numpy(golden["z"]))
    np.testing.assert_allclose(fake.detach(), golden["fake"], rtol=1e-5)
    for name in ("real", "fake"):
        value = golden_model.critic(torch.from_numpy(golden[name]))
        np.testing.assert_allclose(value.detach(), golden[f"D_{name}"], rtol=1e-5, atol=1e-6)


def test_golden_loss_and_gradients_of_the_critic(golden, golden_model):
    real, fake = torch.from_numpy(golden["real"]), torch.from_numpy(golden["fake"])
    values = golden_model.critic_losses(real, fake, torch.full((1, 1), float(golden["eps"])))
    assert float(values["loss"].detach()) == pytest.approx(float(golden["d_loss"]), rel=1e-5)
    assert float(values["penalty"]) == pytest.approx(float(golden["gp"]), rel=1e-5)
    assert float(values["distance"]) == pytest.approx(-float(golden["w_term"]), rel=1e-5)
    assert float(values["slope"]) == pytest.approx(golden["slopes"].mean(), rel=1e-5)
    values["loss"].backward()
    assert_golden_gradients(golden, "d", golden_model.critic)
    assert all(parameter.grad is None for parameter in golden_model.generator.parameters())


def test_golden_loss_and_gradients_of_the_generator(golden, golden_model):
    loss = golden_model.generator_loss(torch.from_numpy(golden["z"]))
    assert float(loss.detach()) == pytest.approx(float(golden["g_loss"]), rel=1e-5)
    loss.backward()
    assert_golden_gradients(golden, "g", golden_model.generator)
    assert all(parameter.grad is None for parameter in golden_model.critic.parameters())
    assert all(parameter.requires_grad for parameter in golden_model.critic.parameters())


def test_published_sizes_and_initialisation():
    model = LatentGAN(Config())
    shapes = {
        name: [tuple(layer.weight.shape) for layer in linears(network)]
        for name, network in (("generator", model.generator), ("critic", model.critic))
    }
    assert shapes["generator"] == [(2048, 256), (2048, 2048), (256, 2048)]
    assert shapes["critic"] == [(2048, 256), (2048, 2048), (1, 2048)]
    for layer in linears(model.generator) + linears(model.critic):
        assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
        assert (layer.bias == 0).all()
    noise = model._noise(batch_of(torch.rand(1000, 256)), "critic")
    assert noise.shape == (1000, 256)
    assert float(noise.std()) == pytest.approx(0.2, rel=0.01)
    assert float(tiny(noise_std=3.0)._noise(batch_of(codes(1000)), "critic").std()) == pytest.approx(3, rel=0.05)


def test_slopes_are_those_of_finite_differences_and_the_penalty_differentiates_them():
    """In double precision, twice: the slope against differences of D, its derivative against differences of slopes."""
    model = tiny().double()
    place = codes(4).double()
    slope = model._slopes(place)
    step = 1e-6
    differences = torch.stack(
        [(model.critic(place + step * e) - model.critic(place - step * e))[:, 0] / (2 * step) for e in torch.eye(6)], 1
    )
    torch.testing.assert_close(slope, differences.norm(dim=1), rtol=1e-7, atol=1e-9)
    weight = linears(model.critic)[1].weight
    (gradient,) = torch.autograd.grad(slope.sum(), weight)
    with torch.no_grad():
        weight[3, 5] += step
        above = model._slopes(place).sum()
        weight[3, 5] -= 2 * step
        below = model._slopes(place).sum()
    assert float(gradient[3, 5]) == pytest.approx(float((above - below) / (2 * step)), rel=1e-6)
    assert float(gradient[3, 5]) != 0


def test_the_critic_has_the_first_turn_and_each_turn_moves_its_player():
    """As the engine does: an optimiser for each player, stepped between the turns."""
    model = tiny()
    optimisers = {who: torch.optim.Adam(owned, lr=1e-2) for who, owned in model.players().items()}
    order: list[str] = []
    for who, values in model.losses(batch_of(codes())):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        optimisers[who].zero_grad(set_to_none=True)
        values["loss"].backward()
        touched = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None} - set(order)
        assert touched == {who}  # the other's gradients are neither computed nor added to
        optimisers[who].step()
        order.append(who)
        for name, value in model.state_dict().items():
            if name != "critic.layers.2.bias":  # a constant of the critic cancels: it never learns
                assert torch.equal(value, before[name]) == (not name.startswith(who)), name
    assert order == ["critic", "generator"]
    assert set(order) == set(model.players())


def test_a_step_draws_noise_and_places_anew():
    """Both turns on noise of their own, all of it from the keys of the batch: other keys, other noise."""
    model, batch = tiny(), batch_of(codes())
    turns = {who: values["loss"] for who, values in model.losses(batch)}
    critic, generator = (batch.normals(who, 8) * 0.2 for who in ("critic", "generator"))
    assert not torch.isclose(critic, generator).any()
    expected = model.critic_losses(codes(), model.generate(critic).detach(), batch.uniforms("share"))["loss"]
    torch.testing.assert_close(turns["critic"], expected)
    torch.testing.assert_close(turns["generator"], model.generator_loss(generator))
    other = {who: values["loss"] for who, values in model.losses(batch_of(codes(), seed=1))}
    assert all(other[who] != turns[who] for who in turns)


def test_parts_of_a_batch_draw_what_the_whole_draws():
    """Ranks share a batch out: the mean of their losses is that of one process, to rounding."""
    model, whole = tiny(interpolation="batch"), batch_of(codes(6))
    parts = [
        dataclasses.replace(whole, inputs=whole.inputs[a:b], shapes=whole.shapes[a:b], keys_B=whole.keys_B[a:b])
        for a, b in ((0, 4), (4, 6))
    ]
    shared = [{who: values["loss"] for who, values in model.losses(part)} for part in parts]
    for who, values in model.losses(whole):
        torch.testing.assert_close((4 * shared[0][who] + 2 * shared[1][who]) / 6, values["loss"])


def test_quality_is_the_energy_distance_between_the_sets():
    model, batch = tiny(), batch_of(codes(7))
    fake = model.generate(batch.normals("quality", 8) * 0.2).detach().double().numpy()
    between, real, made = (cdist(a, b).mean() for a, b in ((codes(7), fake), (codes(7), codes(7)), (fake, fake)))
    assert float(model.quality(batch)) == pytest.approx(2 * between - real - made, rel=1e-4)
    assert float(model.quality(dataclasses.replace(batch, inputs=torch.from_numpy(fake).float()))) < 1e-6


def test_places_between_real_and_generated(monkeypatch):
    """`sample` draws one for each code, `batch` (as published) one for all."""
    seen = {}
    for how in ("sample", "batch"):
        model = tiny(interpolation=how)
        shown: list[torch.Tensor] = []

        def slopes(between_BZ: torch.Tensor, shown: list[torch.Tensor] = shown) -> torch.Tensor:
            shown.append(between_BZ)
            return torch.ones(len(between_BZ))

        monkeypatch.setattr(model, "_slopes", slopes)
        batch = batch_of(codes())
        next(iter(model.losses(batch)))
        fake = model.generate(batch.normals("critic", 8) * 0.2).detach()
        seen[how] = ((shown[0] - codes()) / (fake - codes())).detach()
        assert (seen[how] > 0).all()
        assert (seen[how] < 1).all()
        torch.testing.assert_close(seen[how], seen[how][:, :1].expand(-1, 6), rtol=1e-3, atol=1e-4)
    assert seen["sample"][:, 0].std() > 0.05
    assert seen["batch"][:, 0].std() < 1e-4


@pytest.mark.parametrize("count", [1, 2, 7])
def test_any_number_of_codes_is_a_batch(count):
    for _, values in tiny().losses(batch_of(codes(count))):
        assert values["loss"].isfinite()


def test_a_validation_without_gradients_sees_the_same_loss():
    model = tiny()
    _, trained = next(iter(model.losses(batch_of(codes()))))
    with torch.no_grad():
        _, judged = next(iter(model.losses(batch_of(codes()))))
    torch.testing.assert_close(judged["loss"], trained["loss"].detach())
    assert not judged["loss"].requires_grad


def test_losses_are_float32_whatever_the_precision_of_the_run():
    model = tiny()
    expected = {who: values["loss"].detach() for who, values in model.losses(batch_of(codes()))}
    losses = model.losses(batch_of(codes()))
    while True:
        with torch.autocast("cpu", torch.bfloat16):  # as the engine does: not around the step
            turn = next(losses, None)
        if turn is None:
            break
        assert torch.equal(turn[1]["loss"].detach(), expected[turn[0]])


@pytest.mark.parametrize("wrong", [(5, 7), (5, 1, 6), (5,)])
def test_codes_of_another_width_are_refused(wrong):
    with pytest.raises(ValueError, match=r"codes \(B, 6\)"):
        next(iter(tiny().losses(batch_of(torch.zeros(wrong)))))


def test_samples_by_seed():
    model = tiny()
    many, few = (model.sample(count, torch.Generator().manual_seed(4)) for count in (20, 3))
    assert many.shape == (20, 6)
    torch.testing.assert_close(many[:3], few)
    assert ((many > 0) & (many < 1)).all()
    assert not many.requires_grad
    assert (many[0] != many[1]).any()
    assert (model.sample(3, torch.Generator().manual_seed(5)) != few).any()


def test_shapes_come_from_the_frozen_autoencoder():
    model = tiny()
    alone = autoencoder.Autoencoder(TINY_AUTOENCODER)
    alone.load_state_dict(model.autoencoder.state_dict())
    voxels = (torch.rand(2, 1, 64, 64, 64, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    points = torch.rand(2, 9, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    torch.testing.assert_close(model.encode(voxels), alone.encode(voxels).detach())
    torch.testing.assert_close(model.decode(points, codes(2)), alone.decode(points, codes(2)).detach())
    assert not torch.allclose(alone.decode(points, codes(2)), alone.decode(points, 0.5 * codes(2)), rtol=0.01)
    assert model.iso_level == alone.iso_level == 0.5
    assert not any(parameter.requires_grad for parameter in model.autoencoder.parameters())
    owned = [id(p) for parameters in model.players().values() for p in parameters]
    assert len(set(owned)) == len(owned)
    assert not set(owned) & {id(p) for p in model.autoencoder.parameters()}


def test_the_state_holds_the_autoencoder_too(tmp_path):
    """What is saved makes the same shapes in a model that never saw the autoencoder's run."""
    model = tiny()
    torch.save(model.state_dict(), tmp_path / "state.pt")
    torch.manual_seed(9)
    other = LatentGAN(TINY)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    points = torch.rand(1, 9, 3) - 0.5
    for one, two in ((model, other),):
        code_one, code_two = (m.sample(1, torch.Generator().manual_seed(4)) for m in (one, two))
        assert torch.equal(one.decode(points, code_one), two.decode(points, code_two))


def test_compiling_its_parts_changes_nothing():
    """The penalty's second derivative is beyond compiled code, so the engine's request passes by both players."""
    model = tiny()
    model.critic.compile()
    model.generator.compile()
    assert model.critic._compiled_call_impl is None
    next(iter(model.losses(batch_of(codes()))))[1]["loss"].backward()


def test_it_learns_a_small_distribution():
    """Two clusters of codes: after some hundred steps samples lie at both, as often at one as at the other."""
    model = tiny(noise_std=1.0)
    optimisers = {who: torch.optim.Adam(owned, lr=5e-3, betas=(0.5, 0.999)) for who, owned in model.players().items()}
    draw = torch.Generator().manual_seed(3)
    for step in range(300):
        side = (torch.rand(64, 1, generator=draw) > 0.5).float()
        real = 0.2 + 0.6 * side + 0.02 * torch.randn(64, 6, generator=draw)
        for who, values in model.losses(batch_of(real, seed=step)):
            optimisers[who].zero_grad(set_to_none=True)
            values["loss"].backward()
            optimisers[who].step()
    made = model.sample(400, torch.Generator().manual_seed(1)).mean(1)
    low, high = (made < 0.4).float().mean(), (made > 0.6).float().mean()
    assert float(low + high) > 0.75
    assert 0.2 < float(low) < 0.8


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"noise": -1}, "noise"),
        ({"critic_widths": (0,)}, "critic_widths"),
        ({"noise_std": 0.0}, "noise_std"),
        ({"penalty": -1.0}, "penalty"),
    ],
)
def test_bad_sizes(wrong, message):
    with pytest.raises(ValueError, match=message):
        tiny(**wrong)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_samples_on_a_gpu():
    model = tiny()
    expected = model.sample(4, torch.Generator().manual_seed(4))
    model.to("cuda")
    torch.testing.assert_close(model.sample(4, torch.Generator().manual_seed(4)).cpu(), expected)
    for _, values in model.losses(batch_of(codes().cuda())):
        values["loss"].backward()
