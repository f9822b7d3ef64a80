"""Optimisers, learning-rate schedule, gradient clipping and weight averaging. All configuration; off as published."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from isofield.config import OptimConfig

FUSED = ("cuda",)  # devices whose optimisers run as one kernel
COMPUTED = ("foreach", "fused", "capturable")  # entries of a group that say how, not what


def build_optimiser(
    parameters: Iterable[nn.Parameter], section: OptimConfig, *, recordable: bool = False
) -> torch.optim.Optimizer:
    """Adam, with decoupled decay (AdamW) where a weight decay is set.

    One kernel for all parameters where they are on a GPU. Its count of steps lies there too, so that nothing waits.
    `recordable`: there its learning rate does as well, for steps that are played back (static_step.py).
    """
    kind = torch.optim.AdamW if section.weight_decay else torch.optim.Adam
    learning = [p for p in parameters if p.requires_grad]
    fused = bool(learning) and all(p.device.type in FUSED for p in learning)
    recorded = recordable and fused
    return kind(
        learning,
        lr=torch.tensor(section.learning_rate, device=learning[0].device) if recorded else section.learning_rate,
        betas=section.betas,
        weight_decay=section.weight_decay,
        fused=True if fused else None,
        capturable=recorded,
    )


def saved_optimiser(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Its state for a checkpoint, with the learning rate as a number."""
    state = optimiser.state_dict()
    groups = [{**group, "lr": float(group["lr"])} for group in state["param_groups"]]
    return {**state, "param_groups": groups}


def load_optimiser(optimiser: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Moments and steps of a checkpoint, from wherever it was trained: how a step is computed stays this device's own.

    ValueError when they are of other parameters.
    """
    groups = []
    for saved, own in zip(state["param_groups"], optimiser.param_groups, strict=True):
        kept = {key: own[key] for key in COMPUTED if key in own}
        if isinstance(own["lr"], torch.Tensor):
            kept["lr"] = torch.full_like(own["lr"], saved["lr"])
        groups.append({**saved, **kept})
    optimiser.load_state_dict({**state, "param_groups": groups})


def learning_rate(section: OptimConfig, *, step: int, steps: int) -> float:
    """At `step` (0-based) of `steps`: a pure function, so that resuming needs no state."""
    warmup = min(1.0, (step + 1) / section.warmup_steps) if section.warmup_steps else 1.0
    if section.schedule == "constant":
        return section.learning_rate * warmup
    # A half cosine from 1 down to `final_fraction` (Loshchilov and Hutter, SGDR, 2017, without restarts).
    done = min(1.0, step / max(1, steps))
    cosine = section.final_fraction + (1 - section.final_fraction) * (1 + math.cos(math.pi * done)) / 2
    return section.learning_rate * warmup * cosine


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)  # where a recorded step reads it
        else:
            group["lr"] = rate


class Average:
    """Exponential moving average of a model's weights; its early steps weigh less, so that it starts unbiased."""

    def __init__(self, weights: Mapping[str, torch.Tensor], decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.weights = {name: value.detach().clone() for name, value in weights.items()}

    @torch.no_grad()
    def update(self, weights: Mapping[str, torch.Tensor]) -> None:
        self.steps += 1
        # (1 + n) / (10 + n) after n earlier steps: the first weights, which are random, are forgotten within some ten
        # steps instead of within 1 / (1 - decay).
        decay = min(self.decay, self.steps / (self.steps + 9))
        moving = [name for name, value in weights.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.weights[name] for name in moving], [weights[name] for name in moving], 1 - decay)
        # Counters cannot be averaged: the newest one is true.
        for name in weights.keys() - set(moving):
            self.weights[name].copy_(weights[name])
