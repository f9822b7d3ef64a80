"""What a model has to offer the engine. Structural: a model imports nothing from here."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import torch

from data_processing.batch import Batch


class Model(Protocol):
    """An nn.Module with these. `losses` yields (player, {"loss": ..., scalars to log}) once per optimiser step.

    A model that can be fitted to one input at generation also has `encoder_parameters() -> list[Parameter]`.
    """

    iso_level: float  # decoded values greater than this are inside

    def players(self) -> dict[str, list[torch.nn.Parameter]]: ...
    def encode(self, inputs: torch.Tensor) -> Any: ...
    def decode(self, points_BN3: torch.Tensor, code: Any) -> torch.Tensor: ...
    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, torch.Tensor]]]: ...

    # From torch.nn.Module.
    def parameters(self) -> Iterator[torch.nn.Parameter]: ...
    def state_dict(self) -> dict[str, torch.Tensor]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...
    def train(self, mode: bool = True) -> Any: ...
    def eval(self) -> Any: ...
    def to(self, device: torch.device) -> Any: ...
    def children(self) -> Iterator[torch.nn.Module]: ...


@runtime_checkable
class MakesShapes(Protocol):
    """A model of new shapes."""

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Codes (n, Z); the first of many are those of few."""
        ...


@runtime_checkable
class JudgesItself(Protocol):
    """A model whose losses do not tell which checkpoint is best."""

    def quality(self, batch: Batch) -> torch.Tensor:
        """A scalar for all of a batch, smaller for better."""
        ...


@runtime_checkable
class TrainsOnCodes(Protocol):
    """A model with a frozen autoencoder, out of the run `init_from` of its config, as part of its state."""

    autoencoder: torch.nn.Module

    def frozen_code(self, inputs: torch.Tensor) -> torch.Tensor:
        """Codes (B, Z) of what the autoencoder is shown."""
        ...


@runtime_checkable
class StepsAlike(Protocol):
    """A model that says whether all its steps on batches of one size are the same work, whatever the numbers are.

    Then nothing in `losses` looks at a value, and all draws come from the keys of the batch.
    """

    steps_alike: bool
