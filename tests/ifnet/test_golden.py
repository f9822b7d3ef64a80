"""The published networks' numbers: every set-up they were computed for, both paddings, both alignments."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from tests.ifnet.golden import CHOICES, read_golden


@pytest.mark.parametrize(("setup", "padding", "align_corners"), CHOICES)
def test_logits_loss_gradients_and_statistics(
    setup: str, padding: str, align_corners: bool, monkeypatch: pytest.MonkeyPatch
):
    """3e-4; but training-mode logits of `points_3000` within 1.2e-5 of their spread of 134.

    There the golden float32 numbers lie 1.7e-3 to 2.7e-3 from float64, as ours do: exact ones would be further off.
    """
    golden = read_golden(setup, padding, align_corners)
    model, batch, numbers = golden.model, golden.batch, golden.numbers
    model.eval()
    with torch.no_grad():
        logits = model.decode(batch.points_BN3, model.encode(batch.inputs)).numpy()
    assert np.abs(logits - numbers["logits"]).max() < 3e-4

    model.train()
    seen: list[torch.Tensor] = []
    decode = model.decode

    def noting(points_BN3: torch.Tensor, code: Sequence[torch.Tensor]) -> torch.Tensor:
        seen.append(decode(points_BN3, code))
        return seen[-1]

    monkeypatch.setattr(model, "decode", noting)
    ((player, values),) = model.losses(batch)
    assert player == "ifnet"
    train_logits = torch.cat([part.detach().flatten() for part in seen]).numpy()
    expected = numbers["train_logits"].flatten()
    assert np.abs(train_logits - expected).max() < (1.2e-5 * expected.std() if setup == "points_3000" else 3e-4)
    assert float(values["loss"].detach()) == pytest.approx(float(numbers["train_loss"]), rel=3e-4 / 512)
    right = ((expected > 0) == (batch.values_BN.numpy().flatten() > 0.5)).mean()
    assert float(values["accuracy"]) == pytest.approx(right, abs=1e-6)

    values["loss"].backward()
    parameters = dict(model.named_parameters())
    assert set(golden.names) == set(parameters)
    norms = np.array([float(parameters[name].grad.norm()) for name in golden.names])
    assert np.allclose(norms, numbers["grad_norms"], rtol=3e-4, atol=0)
    last = len(model.config.stages) - 1
    mean = model.state_dict()[f"encoder.stages.{last}.norm.running_mean"].numpy()
    assert np.abs(mean - numbers["last_bn_running_mean_after"]).max() < 1e-6


def test_one_step_of_adam():
    """1e-3: its first step moves every weight by the learning rate, with the sign of a gradient that may round to 0."""
    golden = read_golden("voxels_128", "zeros", True)
    model, batch = golden.model.train(), golden.batch
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)
    next(iter(model.losses(batch)))[1]["loss"].backward()
    optimiser.step()
    model.eval()
    with torch.no_grad():
        logits = model.decode(batch.points_BN3, model.encode(batch.inputs)).numpy()
    assert np.abs(logits - golden.numbers["logits_after_1_adam_step"]).max() < 1e-3


def test_a_wrong_choice_shows():
    """What the numbers above are worth: the other alignment or padding moves logits by far more than 3e-4."""
    right = read_golden("voxels_32", "zeros", True)
    for wrong in (("voxels_32", "zeros", False), ("voxels_32", "replicate", True)):
        model = read_golden(*wrong).model.eval()
        with torch.no_grad():
            logits = model.decode(right.batch.points_BN3, model.encode(right.batch.inputs)).numpy()
        assert np.abs(logits - right.numbers["logits"]).max() > 0.5
