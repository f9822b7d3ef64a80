"""How masks of scans are compared: Dice and distances between surfaces, in the scan's own millimetres."""

from dataclasses import dataclass
from typing import Any

MASK_METRICS = ("dice", "nsd", "asd", "assd", "hd95", "hd", "volume", "predicted_volume")
TOLERANCE = 1.0


@dataclass(frozen=True)
class MaskProtocol:
    """Both masks lie on one grid. `tolerance`: mm within which surfaces count as equal, for the surface Dice (nsd)."""

    tolerance: float = TOLERANCE
    name: str = "masks"
    source: str = "surface distances as Nikolov et al., JMIR 2021 (DeepMind's surface-distance)"
    metrics: tuple[str, ...] = MASK_METRICS
    flags: tuple[str, ...] = ()
    published: tuple[str, ...] = ("dice", "nsd", "asd", "hd95", "hd")

    def __post_init__(self) -> None:
        if not self.tolerance >= 0:
            raise ValueError(f"expected a tolerance of at least 0 mm, got {self.tolerance}")

    def units(self) -> dict[str, str]:
        """The unit of every metric, in words."""
        return {
            "dice": "overlap of the voxels, 0 to 1",
            "nsd": f"share of both surfaces within {self.tolerance:g} mm of the other, 0 to 1",
            "asd": "average surface distance, mean of the two directions, mm",
            "assd": "average surface distance, both surfaces pooled, mm",
            "hd95": "95th percentile of the surface distances, the larger of the two directions, mm",
            "hd": "largest surface distance, mm",
            "volume": "of the ground truth, ml",
            "predicted_volume": "of the prediction, ml",
        }

    def describe(self) -> dict[str, Any]:
        """What has to stand beside every number."""
        return {
            "tolerance_mm": self.tolerance,
            "scale": "none: millimetres of the scan",
            "empty_masks": "one empty: Dice and nsd 0, distances infinite; both: Dice and nsd 1, distances 0",
            "units": self.units(),
            "metrics": list(self.metrics),
            "flags": list(self.flags),
            "published_metrics": list(self.published),
            "source": self.source,
        }
