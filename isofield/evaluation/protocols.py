"""The evaluation protocols of the literature, by name: points, scale, unit and which formula is "chamfer".

Numbers of two protocols are never comparable. The formulas themselves live in metrics/surfaces.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isofield.evaluation.names import GENERATIVE, KNOWN, LIGHT_FIELD, MASKS, OF_SETS
from isofield.metrics.surfaces import Combine
from isofield.runtime.hints import did_you_mean

Scale = Literal["longest_edge", "diagonal", "none"]
IouDomain = Literal["boxes", "cube"]

METRICS = ("chamfer", "chamfer_l1", "chamfer_l2", "normal_consistency", "signed_normal_agreement", "f_score", "iou")
FLAGS = ("watertight",)
LOWER_IS_BETTER = frozenset({"chamfer", "chamfer_l1", "chamfer_l2", "asd", "assd", "hd95", "hd", "lfd"})
NO_BETTER = frozenset({"volume", "predicted_volume"})


@dataclass(frozen=True)
class Protocol:
    """One way to compare a reconstruction with its ground truth.

    scale, length: the box of the GROUND TRUTH is brought to this length (both shapes move alike); "none" keeps the
    units of the files. power, combine, factor: "chamfer" is factor * the (half) sum of mean distances to that power.
    iou_domain: "boxes" draws points in the box around both shapes; "cube" in the scaled cube, `iou_side` long, as
    the published data do. published: the metrics the papers report this way; the others are ours, in the same unit.
    """

    name: str
    source: str
    points: int
    scale: Scale
    length: float
    power: Literal[1, 2]
    combine: Combine
    factor: float
    iou_points: int
    iou_domain: IouDomain
    f_threshold: float
    published: tuple[str, ...]
    iou_side: float = 0.0

    def normalising(self, lower: NDArray[np.floating], upper: NDArray[np.floating]) -> NDArray[np.float64]:
        """4x4 from the frame of the files to the protocol's frame, from the ground truth's box (3,), (3,).

        Raises ValueError when the box has no size.
        """
        edges = np.asarray(upper, dtype=np.float64) - lower
        size = {"longest_edge": edges.max(), "diagonal": np.linalg.norm(edges), "none": self.length}[self.scale]
        if not np.isfinite(size) or size <= 0:
            raise ValueError(f"the ground truth's box {lower} to {upper} has no size, so {self.name} has no unit")
        # The middle of the ground truth's box goes to 0, and its edge or diagonal to the protocol's length: the
        # prediction moves alike, so its own size stays an error.
        matrix = np.eye(4)
        if self.scale != "none":
            matrix[:3, :3] *= self.length / size
            matrix[:3, 3] = -(np.asarray(lower, dtype=np.float64) + upper) / 2 * self.length / size
        return matrix

    @property
    def metrics(self) -> tuple[str, ...]:
        return METRICS

    @property
    def flags(self) -> tuple[str, ...]:
        """Yes or no for each shape; the mean is a share."""
        return FLAGS

    @property
    def unit(self) -> str:
        """What a distance of 1 is."""
        if self.scale == "none":
            return "unit of the files"
        edge = "longest edge" if self.scale == "longest_edge" else "bounding-box diagonal"
        return f"ground truth's {edge}" + ("" if self.length == 1 else f" / {self.length:g}")

    def units(self) -> dict[str, str]:
        """The unit of every metric, in words, for tables and JSON."""
        lengths = {1: self.unit, 2: f"({self.unit})^2"}
        factor = "" if self.factor == 1 else f"{1 / self.factor:g} "
        both = "sum" if self.combine == "sum" else "half sum"
        words = {1: "distances", 2: "squared distances"}
        return {
            "chamfer": f"{both} of mean {words[self.power]}, in {factor}{lengths[self.power]}",
            "chamfer_l1": f"{both} of mean distances, in {lengths[1]}",
            "chamfer_l2": f"{both} of mean squared distances, in {lengths[2]}",
            "normal_consistency": "mean |cosine|, 0 to 1",
            "signed_normal_agreement": "mean cosine, -1 to 1",
            "f_score": f"0 to 1, within {self.f_threshold:g} {self.unit}",
            "iou": f"0 to 1, uniform points in {self._domain()}",
        }

    def describe_scale(self) -> str:
        """The scale in words."""
        if self.scale == "none":
            return "none: distances in the unit of the files"
        edge = "longest edge" if self.scale == "longest_edge" else "bounding-box diagonal"
        return f"{edge} of the ground truth = {self.length:g}"

    def _domain(self) -> str:
        if self.iou_domain == "boxes":
            return "the box around both shapes"
        return f"the cube of side {self.iou_side:g}"


SOURCE = "Chen et al., On Visual Similarity Based 3D Model Retrieval, Eurographics 2003; numbers of 3DRetrieval v1.8"


SCALE = "each mesh by itself: middle of its box to 0, its longest edge to 1; not turned"


UNIT = "sum of differences of 8-bit numbers of ten silhouettes, at the best of 6,000 alignments; 0 to 147,900"


@dataclass(frozen=True)
class LightFieldProtocol:
    """Silhouettes from all sides; see isofield/metrics/light_field."""

    name: str = LIGHT_FIELD
    source: str = SOURCE
    metrics: tuple[str, ...] = ("lfd",)
    flags: tuple[str, ...] = ()
    published: tuple[str, ...] = ("lfd",)

    def units(self) -> dict[str, str]:
        """The unit of every metric, in words."""
        return {"lfd": UNIT}

    def describe(self) -> dict[str, Any]:
        """What has to stand beside every number."""
        return {
            "scale": SCALE,
            "units": self.units(),
            "metrics": list(self.metrics),
            "flags": list(self.flags),
            "published_metrics": list(self.published),
            "source": self.source,
        }


MASK_METRICS = ("dice", "nsd", "asd", "assd", "hd95", "hd", "volume", "predicted_volume")


TOLERANCE = 1.0


@dataclass(frozen=True)
class MaskProtocol:
    """Both masks lie on one grid. `tolerance`: mm within which surfaces count as equal, for the surface Dice (nsd)."""

    tolerance: float = TOLERANCE
    name: str = MASKS
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


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="imnet",
            source="Chen and Zhang, Learning Implicit Fields for Generative Shape Modeling, CVPR 2019",
            points=4096,
            scale="diagonal",
            length=1.0,
            power=2,
            combine="sum",
            factor=1000.0,
            iou_points=100_000,
            iou_domain="boxes",
            f_threshold=0.01,
            published=("chamfer", "normal_consistency"),
        ),
        Protocol(
            name="onet",
            source="Mescheder et al., Occupancy Networks, CVPR 2019",
            points=100_000,
            scale="longest_edge",
            length=1.0,
            power=1,
            combine="half_sum",
            factor=10.0,
            iou_points=100_000,
            iou_domain="cube",
            iou_side=1.1,  # their points are drawn with a padding of 0.1
            f_threshold=0.01,
            published=("chamfer", "normal_consistency", "iou"),
        ),
        Protocol(
            name="ifnet",
            source="Chibane, Alldieck, Pons-Moll, Implicit Functions in Feature Space, CVPR 2020",
            points=100_000,
            scale="longest_edge",
            length=1.0,
            power=2,
            combine="half_sum",
            factor=1.0,
            iou_points=1_000_000,
            iou_domain="boxes",
            f_threshold=0.01,
            published=("chamfer", "normal_consistency", "iou"),
        ),
        Protocol(
            name="deepsdf",
            source="Park et al., DeepSDF, CVPR 2019",
            points=30_000,
            scale="none",
            length=1.0,
            power=2,
            combine="sum",
            factor=1.0,
            iou_points=100_000,
            iou_domain="boxes",
            f_threshold=0.01,
            published=("chamfer",),
        ),
        Protocol(
            name="3dshape2vecset",
            source="Zhang et al., 3DShape2VecSet, SIGGRAPH 2023",
            points=50_000,
            scale="longest_edge",
            length=2.0,
            power=1,
            combine="sum",
            factor=1.0,
            iou_points=50_000,
            iou_domain="cube",
            iou_side=2.0,
            f_threshold=0.02,
            published=("chamfer", "f_score", "iou"),
        ),
    )
}


AnyProtocol = Protocol | LightFieldProtocol | MaskProtocol


def find_protocol(name: str) -> Protocol:
    """The protocol for surfaces of that name. Raises ValueError that names the known ones and the nearest."""
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    raise unknown(name)


def unknown(name: str) -> ValueError:
    """The error of a name that is no protocol; it names the known ones and the nearest."""
    hint = f"{did_you_mean(name, KNOWN)} known protocols: {', '.join(KNOWN)}".lstrip()
    return ValueError(f"unknown protocol '{name}'; {hint}")


def find_protocols(names: Sequence[str], *, tolerance: float | None = None) -> list[AnyProtocol]:
    """Protocols of pairs by name, each once, in the order given. `tolerance`: of masks, in mm.

    ValueError when masks, which are judged on other files, or sets stand among them.
    """
    unique = list(dict.fromkeys(names))
    if unique == [MASKS]:
        return [MaskProtocol() if tolerance is None else MaskProtocol(tolerance)]
    if MASKS in unique:
        raise ValueError(f"protocol {MASKS} judges masks, {unique} meshes too: run it on its own")
    if GENERATIVE in unique:
        raise ValueError(f"protocol {GENERATIVE} judges one set of shapes against another: add --samples")
    return [LightFieldProtocol() if name == LIGHT_FIELD else find_protocol(name) for name in unique]


def protocols_of_sets(names: Sequence[str]) -> list[str]:
    """Names of protocols that judge sets, each once, in the order given. ValueError for those of pairs."""
    for name in names:
        if name not in KNOWN:
            raise unknown(name)
        if name not in OF_SETS:
            raise ValueError(
                f"protocol {name} compares shapes with their own ground truth, and sets of shapes (--samples, or "
                f"--protocol {GENERATIVE}) have none: only {' and '.join(OF_SETS)} judge sets; run {name} on its own"
            )
    return list(dict.fromkeys(names))
