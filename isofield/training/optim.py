"""Optimisers, learning-rate schedule, gradient clipping and weight averaging. All configuration; off as published."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from isofield.config import OptimConfig


def build_optimiser(parameters: Iterable[nn.Parameter], section: OptimConfig) -> torch.optim.Optimizer:
    """Adam, with decoupled decay (AdamW) where a weight decay is set."""
    kind = torch.optim.AdamW if section.weight_decay else torch.optim.Adam
    return kind(
        [p for p in parameters if p.requires_grad],
        lr=section.learning_rate,
        betas=section.betas,
        weight_decay=section.weight_decay,
    )


def learning_rate(section: OptimConfig, *, step: int, steps: int) -> float:
    """At `step` (0-based) of `steps`: a pure function, so that resuming needs no state."""
    warmup = min(1.0, (step + 1) / section.warmup_steps) if section.warmup_steps else 1.0
    if section.schedule == "constant":
        return section.learning_rate * warmup
    done = min(1.0, step / max(1, steps))
    cosine = section.final_fraction + (1 - section.final_fraction) * (1 + math.cos(math.pi * done)) / 2
    return section.learning_rate * warmup * cosine


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
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
        decay = min(self.decay, self.steps / (self.steps + 9))
        for name, value in weights.items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)
