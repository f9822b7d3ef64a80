"""Learning rates, optimisers, averages of weights, against what they should be."""

import itertools
import math

import pytest
import torch
from torch import nn

from isofield.config import OptimConfig
from isofield.training import optim
from isofield.training.optim import Average, build_optimiser, learning_rate, load_optimiser, set_learning_rate


def test_published_defaults_are_plain_adam():
    weight = torch.nn.Parameter(torch.ones(3))
    optimiser = build_optimiser([weight], OptimConfig())
    assert type(optimiser) is torch.optim.Adam
    (group,) = optimiser.param_groups
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (5e-5, (0.5, 0.999), 1e-8, 0.0)
    assert [learning_rate(OptimConfig(), step=step, steps=100) for step in (0, 50, 99)] == [5e-5] * 3


def test_weight_decay_is_decoupled():
    weight = torch.nn.Parameter(torch.full((3,), 2.0))
    optimiser = build_optimiser([weight], OptimConfig(learning_rate=0.1, weight_decay=0.5))
    weight.grad = torch.zeros(3)
    optimiser.step()
    assert torch.allclose(weight.detach(), torch.full((3,), 2.0 * (1 - 0.1 * 0.5)))


def test_frozen_parameters_are_left_out():
    frozen = torch.nn.Parameter(torch.ones(1), requires_grad=False)
    optimiser = build_optimiser([frozen, torch.nn.Parameter(torch.ones(2))], OptimConfig())
    assert [p.numel() for p in optimiser.param_groups[0]["params"]] == [2]


def test_cosine_falls_from_the_rate_to_its_final_fraction():
    section = OptimConfig(learning_rate=2.0, schedule="cosine", final_fraction=0.1)
    rates = [learning_rate(section, step=step, steps=1000) for step in range(1001)]
    assert rates[0] == 2.0 and rates[1000] == pytest.approx(0.2)
    assert rates[500] == pytest.approx((2.0 + 0.2) / 2)
    assert rates[250] == pytest.approx(0.2 + 1.8 * (1 + math.sqrt(0.5)) / 2)
    assert all(a > b for a, b in itertools.pairwise(rates))
    assert learning_rate(section, step=2000, steps=1000) == pytest.approx(0.2)


def test_warmup_rises_in_equal_steps_and_never_starts_at_zero():
    section = OptimConfig(learning_rate=1.0, warmup_steps=4)
    rates = [learning_rate(section, step=step, steps=10) for step in range(6)]
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert learning_rate(OptimConfig(schedule="cosine"), step=0, steps=0) == 5e-5


def test_the_rate_reaches_every_group():
    a, b = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
    optimiser = torch.optim.Adam([{"params": [a]}, {"params": [b]}])
    set_learning_rate(optimiser, 0.5)
    assert [group["lr"] for group in optimiser.param_groups] == [0.5, 0.5]


def test_an_average_of_a_constant_is_the_constant():
    average = Average({"w": torch.zeros(2)}, decay=0.999)
    for _ in range(200):
        average.update({"w": torch.full((2,), 3.0)})
    assert torch.allclose(average.weights["w"], torch.full((2,), 3.0), atol=1e-5)  # the start is soon forgotten


def test_an_average_follows_its_recursion_late_and_copies_integers():
    average = Average({"w": torch.zeros(1), "count": torch.tensor(0)}, decay=0.9)
    average.steps = 1000
    expected = 0.0
    for step in range(5):
        average.update({"w": torch.full((1,), float(step)), "count": torch.tensor(step)})
        expected = 0.9 * expected + 0.1 * step
    assert float(average.weights["w"]) == pytest.approx(expected) and int(average.weights["count"]) == 4


def test_an_average_holds_its_own_memory():
    weight = torch.ones(2)
    average = Average({"w": weight}, decay=0.9)
    weight += 1
    assert torch.equal(average.weights["w"], torch.ones(2))


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"betas": (0.5, 1.0)},
        {"betas": (-0.1, 0.9)},
        {"ema_decay": 1.0},
        {"weight_decay": -1.0},
        {"warmup_steps": -1},
        {"final_fraction": 1.5},
        {"clip_norm": 0.0},
    ],
)
def test_values_out_of_range_are_refused_by_name(wrong: dict):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OptimConfig(**wrong)


def test_a_checkpoint_of_another_device_keeps_this_ones_way_of_computing():
    """Fused on a GPU, loops on a CPU: bits of a resumed run are those of an unbroken one on the same device."""
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    elsewhere = torch.optim.Adam([weight], fused=True, lr=0.5)
    elsewhere.step()
    ours = build_optimiser([weight], OptimConfig())
    load_optimiser(ours, elsewhere.state_dict())
    assert ours.param_groups[0]["fused"] is None and ours.param_groups[0]["lr"] == 0.5
    assert torch.equal(ours.state[weight]["exp_avg"], elsewhere.state[weight]["exp_avg"])
    with pytest.raises(ValueError):
        load_optimiser(ours, torch.optim.Adam([weight, nn.Parameter(torch.ones(2))]).state_dict())


def test_on_a_gpu_one_kernel_steps_all(monkeypatch: pytest.MonkeyPatch):
    weight = nn.Parameter(torch.ones(3))
    assert build_optimiser([weight], OptimConfig()).defaults["fused"] is None
    monkeypatch.setattr(optim, "FUSED", ("cpu",))
    assert build_optimiser([weight], OptimConfig()).defaults["fused"] is True
