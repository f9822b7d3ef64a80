"""How meshes are compared by how they look: the light field distance of pairs, named like the other protocols."""

from dataclasses import dataclass
from typing import Any

SOURCE = "Chen et al., On Visual Similarity Based 3D Model Retrieval, Eurographics 2003; numbers of 3DRetrieval v1.8"
SCALE = "each mesh by itself: middle of its box to 0, its longest edge to 1; not turned"
UNIT = "sum of differences of 8-bit numbers of ten silhouettes, at the best of 6,000 alignments; 0 to 147,900"


@dataclass(frozen=True)
class LightFieldProtocol:
    """Silhouettes from all sides; see engine/light_field."""

    name: str = "lfd"
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
