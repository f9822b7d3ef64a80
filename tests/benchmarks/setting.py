"""Under what a row of the suite is measured."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch

from tests.benchmarks.results import Goal

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """The options of the suite. Quick: smaller sizes and one round; what the sizes are stands in each row."""

    device: torch.device
    quick: bool = False
    rounds: int = 3

    @property
    def gpu(self) -> bool:
        return self.device.type == "cuda"

    def pick(self, full: T, quick: T) -> T:
        return quick if self.quick else full

    def goal(self, what: str, found: float, wanted: float, *, at_least: bool = True) -> Goal:
        return Goal(what, found, wanted, at_least, judged=not self.quick)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """As workers of the preparation and evaluation run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
