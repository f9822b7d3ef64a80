"""The shapes of sets, read once each in several processes: points of the surface, light field descriptors.

What is wrong with a shape becomes the reason why it is left out, for each protocol by itself; never an error.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from engine.generative import GenerativeSettings, draw_cloud, normalise
from engine.ground_truth import GroundTruth
from engine.light_field import Descriptor, described_mesh
from engine.processes import in_order
from engine.protocols import GENERATIVE, LIGHT_FIELD
from engine.sets import Member, Sets

SIDES = ("samples", "references", "training")


@dataclass(frozen=True)
class Shape:
    """What the protocols look at. `reasons`: by protocol, why it has nothing to look at."""

    name: str
    cloud_N3: NDArray[np.float64] | None = None
    descriptor: Descriptor | None = None
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Task:
    member: Member
    side: str

    @property
    def name(self) -> str:
        return f"{self.side}: {self.member.name}"


def read_shapes(
    sets: Sets,
    protocols: Sequence[str],
    settings: GenerativeSettings,
    *,
    workers: int = 0,
    light_fields: Path | None = None,
    progress: bool = True,
) -> dict[str, list[Shape]]:
    """All shapes by side ("samples", "references", "training"), in the order of the members.

    `light_fields`: folder in which descriptors are kept; None keeps none.
    """
    by_side = {side: getattr(sets, side) for side in SIDES}
    tasks = [_Task(member, side) for side in SIDES for member in by_side[side]]
    work = functools.partial(_read, protocols=tuple(protocols), settings=settings, light_fields=light_fields)
    results = in_order(work, tasks, workers=workers)
    shapes = iter(list(tqdm(results, total=len(tasks), desc="shapes", unit="shape", disable=not progress)))
    return {side: [next(shapes) for _ in by_side[side]] for side in SIDES}


def _read(task: _Task, *, protocols: tuple[str, ...], settings: GenerativeSettings, light_fields: Path | None) -> Shape:
    name, found, reasons = task.member.name, dict[str, Any](), dict[str, str]()
    try:
        truth = task.member.load()
    except (ValueError, OSError) as error:
        return Shape(name, reasons=dict.fromkeys(protocols, str(error)))
    if GENERATIVE in protocols:
        try:
            found["cloud_N3"] = _cloud(truth, settings, name=name, side=task.side)
        except ValueError as error:
            reasons[GENERATIVE] = str(error)
    if LIGHT_FIELD in protocols:
        try:
            found["descriptor"] = described_mesh(truth.solid(), light_fields)
        except ValueError as error:
            reasons[LIGHT_FIELD] = str(error)
    return Shape(name, **found, reasons=reasons)


def _cloud(truth: GroundTruth, settings: GenerativeSettings, *, name: str, side: str) -> NDArray[np.float64]:
    """Points of the surface. ValueError where there are too few, or none that can be brought to one size."""
    cloud_N3 = draw_cloud(truth, settings, name=name, side=side)
    if not np.isfinite(normalise(cloud_N3, settings.normalisation)).all():
        raise ValueError("its points are not finite: coordinates are too large to compare")
    return cloud_N3
