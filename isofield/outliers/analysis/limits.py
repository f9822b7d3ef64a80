"""Limits of the user's own: a metric, its direction and a value. Not calibrated: nobody knows how often they err."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SMALLER_IS_WORSE = ("dice", "nsd")
LARGER_IS_WORSE = ("asd", "assd", "hd95", "hd")


@dataclass(frozen=True)
class Limit:
    """Masks with a metric beyond the value are flagged: below it for dice and nsd, above it for distances (mm)."""

    metric: str
    value: float

    def exceeded_by(self, value: float) -> bool:
        """Not by the rounding of grids, which are stored as float32."""
        from isofield.metrics.mask_surfaces import WITHIN  # here: the command line waits for no numerics

        return value * WITHIN < self.value if self.metric in SMALLER_IS_WORSE else value > self.value * WITHIN


def limit_of(words: str) -> Limit:
    """Of "dice<0.8" or "hd95>10". ValueError for another metric or the wrong direction."""
    match = re.fullmatch(r"\s*(\w+)\s*([<>])\s*([0-9.]+)\s*", words)
    metric, sign, value = match.groups() if match else ("", "", "")
    wanted = "<" if metric in SMALLER_IS_WORSE else ">" if metric in LARGER_IS_WORSE else ""
    if not wanted or sign != wanted:
        metrics = ", ".join([f"{name}<" for name in SMALLER_IS_WORSE] + [f"{name}>" for name in LARGER_IS_WORSE])
        raise ValueError(f"--limit {words!r}: expected one of {metrics} and a number, such as hd95>10")
    return Limit(metric, float(value))


def describe_excess(limits: Sequence[Limit], metrics: Mapping[str, float]) -> list[str]:
    """What is beyond its limit, in words."""
    return [
        f"{limit.metric} {metrics[limit.metric]:.3g} is {'below' if limit.metric in SMALLER_IS_WORSE else 'above'} "
        f"{limit.value:g}"
        for limit in limits
        if limit.exceeded_by(metrics[limit.metric])
    ]
