"""How the points of a shape are brought into a common frame before sets of shapes are compared: names, in words."""

from typing import Literal

Normalisation = Literal["as_is", "box", "sphere", "diagonal"]
NORMALISATIONS: dict[Normalisation, str] = {
    "as_is": "none: all clouds in one frame as they are",
    "box": "each cloud by itself: middle of its points' box to 0, its longest edge to [-1, 1]",
    "sphere": "each cloud by itself: middle of its points' box to 0, its farthest point to distance 0.5",
    "diagonal": "each cloud by itself: middle of its points' box to 0, the box's diagonal to 1",
}
