"""Light field distance: how unlike two shapes look from all sides, by their silhouettes alone. No display is needed.

Place and size do not matter. Rotation does: 6,000 ways to lay one shape's views onto the other's are tried, which makes
a turned shape more like itself than others are, but not equal to itself (a chair turned by 90 degrees: 1,210, other
chairs: 4,893 and more). Source: Chen, Tian, Shen and Ouhyoung, "On Visual Similarity Based 3D Model Retrieval",
Eurographics 2003; the numbers are those of the authors' program, 3DRetrieval v1.8.
"""

from isofield.metrics.light_field.cache import descriptor_of_mesh
from isofield.metrics.light_field.descriptors import Descriptor, describe
from isofield.metrics.light_field.distance import distance_matrix

__all__ = ["Descriptor", "describe", "descriptor_of_mesh", "distance_matrix"]
