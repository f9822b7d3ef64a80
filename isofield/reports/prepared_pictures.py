"""Pictures of a data set: its shapes, where the inside tests disagree, and what a network would be shown of a shape."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_processing.formats.mesh_files import MESH_SUFFIXES, read_mesh
from data_processing.formats.pictures import Picture as GreyPicture
from data_processing.formats.point_clouds import PointCloud
from data_processing.geometry import rendering
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.loading.batches import BatchPlan, LoadingConfig, assemble, points_of, recipe_of, stack_rows
from data_processing.loading.single_inputs import cell_boxes, observe_shape
from data_processing.occupancy.inside_outside import InsideConfig, both_solids
from data_processing.store.bits import unpack_array
from data_processing.store.contract import ShapeSet
from isofield.config import TrainingStage
from isofield.reports.canvas import INK, Colour, Picture, blank
from isofield.reports.mask_slices import draw_slices
from isofield.reports.page import PICTURE_SIZE, picture_of
from isofield.runtime.config import build

MOST_CELLS = 64  # along an edge of a grid that is drawn
IN_SLICE = 400, 8, 4000  # points: as many at least, one of so many, at most
OUTSIDE: Colour = (205, 195, 185)
MARGIN = 8


def picture_of_shape(shapes: ShapeSet, index: int, *, up: rendering.Up) -> Picture | None:
    """What is stored of a shape as cells; None where it has no grid."""
    cells = _cells(shapes, index)
    if cells is None or not cells.any():
        return None
    return picture_of(cell_boxes(cells), up=up)


def _cells(shapes: ShapeSet, index: int) -> NDArray[np.bool_] | None:
    """The stored grid that is finest up to MOST_CELLS, or a finer one thinned out to it."""
    if 0 < shapes.voxel_resolution <= MOST_CELLS:
        return shapes.voxels(index) > 0
    if not shapes.layout.grids:
        return None
    resolution = max((each for each in shapes.layout.grids if each <= MOST_CELLS), default=min(shapes.layout.grids))
    packed = shapes.packed_row(index, [f"grid_{resolution}"])[f"grid_{resolution}"]
    cells: NDArray[np.bool_] = unpack_array(packed, (resolution,) * 3) > 0
    each = max(1, resolution // MOST_CELLS)
    # A cell is there if any that it stands for is: in a mean thin legs would vanish from the picture.
    parts = cells[tuple(slice(0, resolution - resolution % each) for _ in range(3))]
    count = parts.shape[0] // each
    return np.asarray(parts.reshape(count, each, count, each, count, each).any(axis=(1, 3, 5)))


def disagreement_of(shapes: ShapeSet, index: int) -> Picture | None:
    """Three slices where winding number and flood fill differ most, red and blue; None where the source is no mesh.

    ValueError, OSError where the source cannot be read any more.
    """
    source = shapes.source(index)
    if source is None or source.suffix.lower() not in MESH_SUFFIXES:
        return None
    settings = build(InsideConfig, shapes.settings.get("inside") or {}, where=f"{shapes.path}: settings: inside")
    numbered, flooded = both_solids(read_mesh(source), settings)
    differing = numbered != flooded
    # Where both agree everywhere, the slices go through the most of the shape.
    counted = differing if differing.any() else numbered
    place = np.array([counted.sum(axis=others).argmax() for others in ((1, 2), (0, 2), (0, 1))])
    masks = numbered.astype(np.uint8), flooded.astype(np.uint8)
    slices = draw_slices(*masks, spacing=np.ones(3), place=place, size=PICTURE_SIZE)
    return np.concatenate(slices, axis=1)


@dataclass(frozen=True, eq=False)
class NetworkView:
    """What a network sees of a shape, and the points that it is asked at: a slice of them, inside dark."""

    name: str
    shape: str
    inputs: Picture
    points: Picture | None
    asked: str


def network_view(
    shapes: ShapeSet, index: int, section: LoadingConfig, stage: TrainingStage, *, seed: int, up: rendering.Up
) -> NetworkView:
    """As the first step of a stage has it. ValueError where the data set does not hold what the config takes."""
    observed = observe_shape(shapes, index, section.input, seed=seed)
    name, shape = shapes.names[index], " x ".join(map(str, observed.inputs.shape[1:]))
    inputs = _shown(observed.shown(), up=up)
    if stage.level == "codes":
        return NetworkView(name, shape, inputs, None, "codes of the frozen model, no points")
    recipe = recipe_of(shapes, stage.level, section, seed=seed)
    plan = BatchPlan(np.array([index]), 0, min(stage.points, points_of(shapes, stage.level)))
    batch = assemble(stack_rows(shapes, [index], recipe.fields), plan, recipe)
    points_N3, inside_N = batch.points_BN3[0].numpy(), batch.values_BN[0].numpy() > 0.5
    asked = f"{len(points_N3):,} points of level {stage.level}, {inside_N.mean():.0%} inside"
    return NetworkView(name, shape, inputs, draw_points(points_N3, inside_N), asked)


def draw_points(points_N3: NDArray[np.floating], inside_N: NDArray[np.bool_]) -> Picture:
    """Points nearest to a plane through the shape, x to the right, y up: inside dark, outside pale."""
    picture, scale = blank(PICTURE_SIZE, PICTURE_SIZE), PICTURE_SIZE - 2 * MARGIN
    middle = float(np.median(points_N3[inside_N, 2])) if inside_N.any() else 0.0  # where the shape is
    least, one_of, most = IN_SLICE
    near = np.argsort(np.abs(points_N3[:, 2] - middle), kind="stable")[
        : min(most, max(least, len(points_N3) // one_of))
    ]
    for inside, colour in ((False, OUTSIDE), (True, INK)):
        for x, y, _ in points_N3[near][inside_N[near] == inside]:
            corner = MARGIN + round((float(x) + 0.5) * scale), MARGIN + round((0.5 - float(y)) * scale)
            cv2.circle(picture, corner, 1, colour, -1, cv2.LINE_AA)
    return picture


def _shown(shown: TriangleMesh | PointCloud | GreyPicture, *, up: rendering.Up) -> Picture:
    if isinstance(shown, PointCloud):
        return picture_of(rendering.splats(shown.points_N3, shown.normals_N3), up=up)
    if isinstance(shown, TriangleMesh):
        return picture_of(shown, up=up) if len(shown.faces) else blank(PICTURE_SIZE, PICTURE_SIZE)
    return shown.grey_HW
