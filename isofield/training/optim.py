"""Optimisers, learning-rate schedule, gradient clipping and weight averaging. All configuration; off as published."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn


@dataclass(frozen=True)
class OptimSection:
    """The `training.optim:` section. Defaults are IM-NET's: Adam 5e-5, betas (0.5, 0.999), nothing else."""

    learning_rate: float = 5e-5
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = 0
    final_fraction: float = 0.0  # of the learning rate, at the end of `cosine`
    clip_norm: float | None = None
    ema_decay: float = 0.0  # 0: no averaging of weights
    restart_at_stage: bool = True  # Adam starts afresh at each stage, as published

    def __post_init__(self) -> None:
        if not (self.learning_rate > 0 and all(0 <= beta < 1 for beta in self.betas) and 0 <= self.ema_decay < 1):
            raise ValueError("learning_rate must be positive, betas and ema_decay in [0, 1)")
        if self.weight_decay < 0 or self.warmup_steps < 0 or not 0 <= self.final_fraction <= 1:
            raise ValueError("weight_decay and warmup_steps must not be negative, final_fraction must be in [0, 1]")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ValueError(f"clip_norm must be positive (or null for none), got {self.clip_norm}")


def build_optimiser(parameters: Iterable[nn.Parameter], section: OptimSection) -> torch.optim.Optimizer:
    """Adam, with decoupled decay (AdamW) where a weight decay is set."""
    kind = torch.optim.AdamW if section.weight_decay else torch.optim.Adam
    return kind(
        [p for p in parameters if p.requires_grad],
        lr=section.learning_rate,
        betas=section.betas,
        weight_decay=section.weight_decay,
    )


def learning_rate(section: OptimSection, *, step: int, steps: int) -> float:
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
