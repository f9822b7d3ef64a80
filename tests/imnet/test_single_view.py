"""The single-view network: published size, a plain twin, the loss by hand, modes of its normalisation."""

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from data_processing.batch import Batch
from imnet import autoencoder
from imnet.published import renamed_single_view
from imnet.single_view import Config, ImageEncoder, SingleView
from isofield.runtime.config import build, read_yaml
from tests.conftest import ROOT

TINY_AUTOENCODER = autoencoder.Config(latent=6, encoder_channels=(2, 3, 4, 5), decoder_widths=(16, 12, 8, 8, 8, 8))
TINY = Config(autoencoder=TINY_AUTOENCODER, channels=(4, 6, 8, 10))


def tiny(config: Config = TINY) -> SingleView:
    """Weights and statistics that show every difference."""
    torch.manual_seed(0)
    model = SingleView(config)
    for module in model.encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def views(count: int = 3, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 1, 128, 128, generator=torch.Generator().manual_seed(seed))


def batch_of(inputs: torch.Tensor, codes_BZ: torch.Tensor, **options: bool) -> Batch:
    return Batch(inputs, torch.zeros(len(inputs), 0, 3), codes_BZ, tuple(range(len(inputs))), **options)


def statistics(model: SingleView) -> dict[str, torch.Tensor]:
    names = ("running_mean", "running_var", "num_batches_tracked")
    return {name: value.clone() for name, value in model.state_dict().items() if name.endswith(names)}


def loss_of(model: SingleView, batch: Batch) -> torch.Tensor:
    ((player, values),) = model.losses(batch)
    assert player == "encoder"
    return values["loss"]


def test_the_published_size_is_met_exactly():
    model = SingleView(Config())
    assert sum(parameter.numel() for parameter in model.encoder.parameters()) == 17_462_976
    assert {id(p) for p in model.players()["encoder"]} == {id(p) for p in model.encoder.parameters()}
    assert sum(parameter.numel() for parameter in model.autoencoder.parameters()) == 10_003_713
    assert not any(parameter.requires_grad for parameter in model.autoencoder.parameters())
    assert model.iso_level == 0.5


def test_the_shipped_configs_are_these():
    published = read_yaml(ROOT / "configs/imnet/single_view.yaml")
    model = {key: value for key, value in published["model"].items() if key != "type"}
    assert dataclasses.replace(build(Config, model, where="test"), init_from=None) == Config()
    training = published["training"]
    assert training["optim"] == {"learning_rate": 5e-5, "betas": [0.5, 0.999]} and training["batch_shapes"] == 64
    assert training["stages"] == [{"level": "codes", "epochs": 1000}]
    assert published["data"]["input"] == {"kind": "view", "resolution": 128, "view": 23}


def plain_code(weights: dict[str, torch.Tensor], x: torch.Tensor, *, training: bool) -> torch.Tensor:
    """The published network in published names, layer by layer, with torch's own batch normalisation."""

    def convolved(x: torch.Tensor, name: str, stride: int, padding: int) -> torch.Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), stride, padding)

    def normed(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, var = weights[f"{name}.running_mean"].clone(), weights[f"{name}.running_var"].clone()
        return F.batch_norm(x, mean, var, weights[f"{name}.weight"], weights[f"{name}.bias"], training)

    x = F.leaky_relu(normed(convolved(1 - x, "img_encoder.conv_0", 2, 3), "img_encoder.bn_0"), 0.02)
    for block in range(1, 9):
        name = f"img_encoder.res_{block}"
        halved = block in (3, 5, 7)
        y = F.leaky_relu(normed(convolved(x, f"{name}.conv_1", 1 + halved, 1), f"{name}.bn_1"), 0.02)
        y = normed(convolved(y, f"{name}.conv_2", 1, 1), f"{name}.bn_2")
        x = F.leaky_relu(y + (normed(convolved(x, f"{name}.conv_s", 2, 0), f"{name}.bn_s") if halved else x), 0.02)
    x = F.leaky_relu(normed(convolved(x, "img_encoder.conv_9", 2, 1), "img_encoder.bn_9"), 0.02)
    assert x.shape[2:] == (4, 4)
    return torch.sigmoid(convolved(x, "img_encoder.conv_10", 1, 0)).view(len(x), -1)


@pytest.mark.parametrize("training", [True, False])
def test_the_encoder_computes_what_the_plain_network_does(training: bool):
    model = tiny().train(training)
    ours = model.state_dict()
    weights = {theirs: ours[name] for theirs, name in renamed_single_view().items()}
    expected = plain_code(weights, views(), training=training)
    torch.testing.assert_close(model.encode(views()), expected, rtol=1e-4, atol=1e-6)
    assert float(expected.std()) > 1e-3


def test_loss_and_gradients_are_those_of_the_formula():
    """mean (z - z_AE)^2 over codes and shapes; every weight of the image encoder learns, no other."""
    model, codes = tiny().train(), torch.rand(3, 6, generator=torch.Generator().manual_seed(2))
    loss = loss_of(model, batch_of(views(), codes))
    again = tiny().train()
    expected = ((again.encode(views()) - codes) ** 2).sum() / (3 * 6)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    for (name, one), other in zip(model.named_parameters(), again.parameters(), strict=True):
        if name.startswith("autoencoder"):
            assert one.grad is None
        else:
            torch.testing.assert_close(one.grad, other.grad)
            assert bool(one.grad.abs().sum() > 0), name


def test_training_moves_the_statistics_and_evaluation_does_not():
    model, codes = tiny().train(), torch.rand(3, 6)
    before = statistics(model)
    loss_of(model, batch_of(views(), codes))
    after = statistics(model)
    assert len(before) == 3 * 21 and all(not torch.equal(before[name], after[name]) for name in before)
    model.eval()
    loss_of(model, batch_of(views(seed=5), codes))
    model.encode(views(seed=6))
    assert all(torch.equal(after[name], value) for name, value in statistics(model).items())
    model.train()
    loss_of(model, batch_of(views(), codes))  # training goes on after a validation
    assert all(not torch.equal(after[name], value) for name, value in statistics(model).items())


def test_in_evaluation_a_picture_does_not_see_its_neighbours():
    model = tiny().eval()
    alone = torch.cat([model.encode(view[None]) for view in views()])
    torch.testing.assert_close(model.encode(views()), alone, rtol=1e-5, atol=1e-7)
    model.train()
    assert (model.encode(views()) - model.encode(views()[:2]).repeat(2, 1)[:3]).abs().max() > 1e-3


def test_the_frozen_autoencoder_stays_in_evaluation_mode():
    model = tiny()
    for mode in (True, False, True):
        model.train(mode)
        assert model.encoder.training == model.encoder.first_norm.training == mode
        assert not any(module.training for module in model.autoencoder.modules())


def test_white_is_nothing():
    """The network sees 1 - x: of a white picture the first convolution makes zeros."""
    model = tiny().eval()
    seen = []
    model.encoder.first.register_forward_hook(lambda module, inputs, output: seen.append(output))
    model.encode(torch.ones(1, 1, 128, 128))
    assert bool((seen[0] == 0).all())


def test_codes_and_fields_are_the_autoencoders():
    model = tiny().eval()
    voxels = (torch.rand(2, 1, 64, 64, 64) > 0.5).float()
    points = torch.rand(2, 50, 3) - 0.5
    code = model.frozen_code(voxels)
    assert torch.equal(code, model.autoencoder.encode(voxels)) and code.shape == (2, 6)
    assert torch.equal(model.decode(points, code), model.autoencoder.decode(points, code))
    unknown = SingleView(dataclasses.replace(TINY, voxel_encoder=False))
    assert not any(name.startswith("autoencoder.encoder") for name in unknown.state_dict())
    with pytest.raises(ValueError, match="--autoencoder FILE"):
        unknown.frozen_code(voxels)
    assert unknown.eval().encode(views()).shape == (3, 6)


def test_a_few_pictures_can_be_learnt():
    model = SingleView(TINY).train()
    codes = torch.rand(4, 6, generator=torch.Generator().manual_seed(3))
    optimiser = torch.optim.Adam(model.players()["encoder"], lr=3e-3)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = loss_of(model, batch_of(views(4), codes))
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("shape", [(2, 1, 137, 137), (2, 3, 128, 128), (2, 1, 64, 64, 64), (2, 6)])
def test_other_inputs_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="B x 1 x 128 x 128"):
        tiny().encode(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(3, 5), (3, 100, 1), (3,)])
def test_codes_of_another_width_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"codes \(B, 6\)"):
        loss_of(tiny(), batch_of(views(), torch.zeros(shape)))


@pytest.mark.parametrize("channels", [(1, 2, 3), (4, 4, 4, 0)])
def test_sizes_that_make_no_sense(channels: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"channels:.*4"):
        Config(channels=channels)


def test_equal_widths_still_halve():
    encoder = ImageEncoder(latent=3, channels=(4, 4, 4, 4)).eval()
    assert encoder(views()).shape == (3, 3)
    assert Path(ROOT / "configs/data/views.yaml").is_file()
