"""The evaluation as one self-contained HTML page: summary, tables, failed shapes, pictures side by side, settings.

Nothing is fetched from anywhere when the page, templates/pairs.html.j2, is opened, and every name is escaped.
Numbers come from evaluation/rows.py; here they are only shown.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.mesh_files import read_mesh
from data_processing.geometry import rendering
from data_processing.geometry.mask_surface import isotropic_cells
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.medical.crops import Crop, place_on
from isofield.evaluation.ground_truth import GroundTruth
from isofield.evaluation.mask_pairs import in_one_box
from isofield.evaluation.pairs import Pair
from isofield.evaluation.protocols import FLAGS, LOWER_IS_BETTER, NO_BETTER, AnyProtocol, MaskProtocol
from isofield.evaluation.rows import Draw, load_masks
from isofield.reports.canvas import Picture
from isofield.reports.disagreement import SignedSurface, colour_limit, signed_surfaces
from isofield.reports.mask_slices import draw_slices, name_sides
from isofield.reports.page import PICTURE_SIZE, address_of, choose_shown, picture_of, settings_rows, write_page
from isofield.reports.turnable import Packed, pack_mesh

LABELS = {
    "chamfer": "Chamfer",
    "chamfer_l1": "Chamfer L1",
    "chamfer_l2": "Chamfer L2",
    "normal_consistency": "Normals",
    "signed_normal_agreement": "Normals, signed",
    "f_score": "F-score",
    "iou": "IoU",
    "lfd": "LFD",
    "watertight": "Watertight",
    "dice": "Dice",
    "nsd": "Surface Dice",
    "asd": "ASD",
    "assd": "ASSD",
    "hd95": "HD95",
    "hd": "Hausdorff",
    "volume": "Volume",
    "predicted_volume": "Predicted volume",
}
SLICES = "Slices through the largest difference"
KEY = (
    "Reconstruction black, ground truth green; extra is red, missing is blue. R is the patient's right. Surfaces have "
    "the signed disagreement in mm as their colour."
)
LETTERS = 0.65  # of the slices, which the page shows at three quarters of their size
SIDES = "ground truth", "reconstruction"
MOST_CELLS = 80  # along a mask that is turned
PATIENT = (-148.0, 20.0)  # from the left front of a patient: azimuth and elevation
Evaluation = dict[str, Any]
Drawn = dict[str, Any]  # `pictures`: addresses by what they show; `meshes`: packed ones; `up`: the axis of both


def write_report(
    path: Path,
    evaluations: Sequence[Evaluation],
    pairs: Sequence[Pair],
    *,
    title: str,
    up: rendering.Up = "y",
    pictures: int = 60,
    drawn: Mapping[str, Drawn | None] = MappingProxyType({}),
) -> None:
    """Replace the report, atomically.

    `evaluations`: one for each protocol, over the same shapes; the first decides what is worst. `pictures`: the most
    shapes to show; of more, a third are the worst, a third the best, the rest evenly between. `drawn`: pictures by the
    name of the shape that `drawing_of` made already; the files of others are read.
    """
    of_masks = "tolerance_mm" in evaluations[0]["settings"]
    # What was drawn while the shapes were judged spares reading their files a second time.
    cards = [
        _card(pair, evaluations, up=up, drawn=drawn.get(pair.name))
        for pair in chosen_pairs(pairs, evaluations[0], most=pictures)
    ]
    write_page(
        path,
        "pairs.html.j2",
        title=title,
        evaluations=evaluations,
        failures=_failures(evaluations),
        suspects={shape["name"]: shape["reason"] for evaluation in evaluations for shape in evaluation["suspect"]},
        heading=SLICES if of_masks else "Ground truth (left) and reconstruction (right)",
        key=KEY if of_masks else "",
        cards=cards,
        count=len(pairs),
        turnable=any(card["meshes"] for card in cards),
        labels=LABELS,
        number=_number,
        conditions=_conditions,
        columns_of=_columns,
        cells_of=_cells,
        settings_of=_settings,
    )


def chosen_pairs(pairs: Sequence[Pair], evaluation: Evaluation, *, most: int) -> list[Pair]:
    """At most `most` pairs, worst first; failed shapes are the worst of all."""
    badness = {row["name"]: _badness(row, evaluation) for row in evaluation["per_shape"]}
    ordered = sorted(pairs, key=lambda pair: (-badness[pair.name], pair.name))
    return choose_shown(ordered, most=most)


def drawing_of(protocols: Sequence[AnyProtocol], *, up: rendering.Up) -> Draw:
    """What makes the pictures of a shape out of what its evaluation has loaded."""
    of_masks = any(isinstance(protocol, MaskProtocol) for protocol in protocols)
    return functools.partial(_draw_masks if of_masks else _draw_meshes, up=up)


def _draw_meshes(reconstruction: TriangleMesh | None, truth: GroundTruth, *, up: rendering.Up) -> Drawn:
    return _drawn_meshes(truth.surface_to_show(), reconstruction, up=up)


def _drawn_meshes(truth: TriangleMesh | None, reconstruction: TriangleMesh | None, *, up: rendering.Up) -> Drawn:
    """Both sides as pictures and as meshes to turn, in one ball."""
    meshes = dict(zip(SIDES, (truth, reconstruction), strict=True))
    ball = ball_of(truth, reconstruction)
    pictures = dict(zip(SIDES, _in_one_ball(truth, reconstruction, up=up), strict=True))
    return {
        "up": up,
        "pictures": {side: address_of(picture) for side, picture in pictures.items()},
        "meshes": {
            side: None if mesh is None else pack_mesh(mesh, view_ball=ball, up=up) for side, mesh in meshes.items()
        },
    }


def _draw_masks(predicted: Crop, true: Crop, *, up: rendering.Up) -> Drawn:
    """Slices of both, and their surfaces to turn; the head of a patient is always up."""
    try:
        predicted, _ = place_on(predicted, true)
    except ValueError:  # of another grid; the row says so
        return {"up": up, "pictures": {"slices": None}, "meshes": {}}
    slices = address_of(lattice_slices(predicted, true, size=PICTURE_SIZE))
    return {"up": up, "pictures": {"slices": slices}, "meshes": _mask_meshes(predicted, true)}


def _mask_meshes(predicted: Crop, true: Crop) -> dict[str, Packed | None]:
    """Both surfaces, coloured by the signed disagreement in mm."""
    surfaces = mask_surfaces(predicted, true)
    if surfaces is None:
        return {}
    limit, ball = colour_limit(*surfaces), ball_of_all(surfaces)
    # SIDES begin with the ground truth, the surfaces with the prediction.
    return {
        side: pack_surface(surface, view_ball=ball, limit=limit)
        for side, surface in zip(SIDES, surfaces[::-1], strict=True)
    }


def mask_surfaces(predicted: Crop, true: Crop) -> tuple[SignedSurface, SignedSurface] | None:
    """Those of the prediction and of its ground truth, on the lattice of the latter; None of two empty masks."""
    filled = [crop for crop in (predicted, true) if crop.occupancy.size]
    if not filled:
        return None
    lower = np.min([crop.lower for crop in filled], axis=0)
    matrix = true.index_to_world.copy()
    matrix[:3, 3] += matrix[:3, :3] @ (lower - true.lower)
    (mask, reference), cells_to_world = isotropic_cells(in_one_box(predicted, true), matrix, most=MOST_CELLS)
    return signed_surfaces(mask, reference, cells_to_world)


def pack_surface(surface: SignedSurface, *, view_ball: rendering.ViewBall | None, limit: float | None) -> Packed | None:
    """As it is turned: from the left front of a patient; its disagreement up to `limit` mm is its colour, if given."""
    values = None if limit is None else surface.distance_V
    return pack_mesh(surface.mesh, view_ball=view_ball, up="z", look=PATIENT, values_V=values, limit=limit)


def _card(pair: Pair, evaluations: Sequence[Evaluation], *, up: rendering.Up, drawn: Drawn | None = None) -> Evaluation:
    """Both sides of one shape and its rows under every protocol."""
    rows = [next(row for row in evaluation["per_shape"] if row["name"] == pair.name) for evaluation in evaluations]
    # An evaluation that was stopped may have had another --up, or be of the version before.
    if drawn is None or drawn["up"] != up or "meshes" not in drawn:
        drawn = _drawn_again(pair, up=up, of_masks="tolerance_mm" in evaluations[0]["settings"])
    meshes = {side: mesh for side, mesh in drawn["meshes"].items() if mesh}
    return {
        "name": pair.name,
        "rows": rows,
        "failed": rows[0]["status"] != "done",
        "badness": f"{_badness(rows[0], evaluations[0]):.9g}".replace("inf", "Infinity"),  # as JavaScript reads it
        "pictures": drawn["pictures"],
        "meshes": meshes,
        "limit": next((mesh["limit"] for mesh in meshes.values()), None),
    }


def _drawn_again(pair: Pair, *, up: rendering.Up, of_masks: bool) -> Drawn:
    """From the files of a pair; None for what cannot be shown: the reason is in the row of the shape."""
    if not of_masks:
        return _drawn_meshes(*meshes_of(pair), up=up)
    try:
        return _draw_masks(*load_masks(pair), up=up)
    except (ValueError, OSError):
        return {"up": up, "pictures": {"slices": None}, "meshes": {}}


def slices_of(pair: Pair, *, size: int) -> Picture | None:
    """Axial, coronal and sagittal slice side by side, (size, 3 size, 3); None for what cannot be shown."""
    masks = masks_of(pair)
    return None if masks is None else lattice_slices(*masks, size=size)


def masks_of(pair: Pair) -> tuple[Crop, Crop] | None:
    """Prediction and ground truth in one lattice; None for what cannot be shown: the reason is in the row."""
    try:
        predicted, true = load_masks(pair)
        return place_on(predicted, true)[0], true
    except (ValueError, OSError):
        return None


def lattice_slices(predicted: Crop, true: Crop, *, size: int) -> Picture | None:
    """Of two masks in one lattice; None where both are empty."""
    masks = in_one_box(predicted, true)
    if not masks[0].size:
        return None
    spacing = np.linalg.norm(true.index_to_world[:3, :3], axis=0)
    slices = draw_slices(*masks, spacing=spacing, place=_place_of_difference(*masks), size=size)
    return np.concatenate(name_sides(slices, letters=LETTERS), axis=1)


def _place_of_difference(predicted: NDArray[np.uint8], true: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The planes with most voxels that differ; of equal masks, with most voxels: (3,) indices."""
    difference = predicted != true
    counted = difference if difference.any() else true > 0
    return np.array([counted.sum(axis=others).argmax() for others in ((1, 2), (0, 2), (0, 1))])


def pictures_of(pair: Pair, *, up: rendering.Up) -> tuple[Picture | None, Picture | None]:
    """Ground truth and reconstruction in the same frame, that of the ground truth; None for what cannot be shown."""
    return _in_one_ball(*meshes_of(pair), up=up)


def meshes_of(pair: Pair) -> tuple[TriangleMesh | None, TriangleMesh | None]:
    """Ground truth and reconstruction, in the frame of the ground truth; None for what cannot be shown."""
    truth = _loaded(lambda: pair.truth.load().surface_to_show() if pair.truth else None)
    return truth, _loaded(lambda: read_mesh(pair.prediction) if pair.prediction else None)


def _in_one_ball(
    truth: TriangleMesh | None, reconstruction: TriangleMesh | None, *, up: rendering.Up
) -> tuple[Picture | None, Picture | None]:
    ball = ball_of(truth, reconstruction)
    shown = [None if mesh is None else picture_of(mesh, up=up, view_ball=ball) for mesh in (truth, reconstruction)]
    return shown[0], shown[1]


def ball_of(truth: TriangleMesh | None, reconstruction: TriangleMesh | None) -> rendering.ViewBall | None:
    """The ball of the ground truth; without one, of what there is, if anything."""
    first = next((mesh for mesh in (truth, reconstruction) if mesh is not None and len(mesh.faces)), None)
    return None if first is None else rendering.view_ball_around(*first.bounds())


def ball_of_all(surfaces: Sequence[SignedSurface]) -> rendering.ViewBall | None:
    """The ball of all surfaces: what a mask has too much lies outside of its ground truth, and is to be seen."""
    points = [surface.mesh.vertices for surface in surfaces if len(surface.mesh.faces)]
    if not points:
        return None
    together = np.concatenate(points)
    return rendering.view_ball_around(together.min(axis=0), together.max(axis=0))


def _loaded(load: Any) -> TriangleMesh | None:
    try:
        return load()
    except (ValueError, OSError):  # the reason is in the row of the shape
        return None


def _first(evaluation: Evaluation) -> str:
    """The metric that decides what is worst."""
    return str(evaluation["settings"]["published_metrics"][0])


def _badness(row: Evaluation, evaluation: Evaluation) -> float:
    """Higher is worse; a failed shape is the worst of all."""
    key = _first(evaluation)
    if row.get(key) is None:
        return float("inf")
    return float(row[key]) if key in LOWER_IS_BETTER else 1 - float(row[key])


def _number(key: str, value: float | bool | None) -> str:
    """Four digits of a distance, three decimals of a share; a dash where there is no number."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key not in LOWER_IS_BETTER | NO_BETTER:
        return f"{value:.3f}"
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:#.4g}"


def _conditions(settings: Evaluation) -> str:
    if "tolerance_mm" in settings:
        return f"surfaces within {settings['tolerance_mm']:g} mm count as equal"
    return f"{settings['points']:,} points, seed {settings['seed']}" if "points" in settings else settings["scale"]


class Column(NamedTuple):
    """A metric or flag of a table: its words, which way is better, its unit, and whether the protocol publishes it."""

    key: str
    label: str
    arrow: str
    unit: str
    is_published: bool


def _columns(evaluation: Evaluation) -> list[Column]:
    settings = evaluation["settings"]
    return [
        Column(
            key,
            LABELS[key],
            "" if key in FLAGS or key in NO_BETTER else " ↓" if key in LOWER_IS_BETTER else " ↑",
            settings["units"].get(key, "closed, consistently oriented"),
            key in settings["published_metrics"],
        )
        for key in (*settings["metrics"], *settings["flags"])
    ]


def _cells(columns: Sequence[Column], values: Evaluation) -> list[tuple[str, bool]]:
    """The numbers of a line as text, each with whether the protocol publishes it."""
    return [(_number(column.key, values.get(column.key)), column.is_published) for column in columns]


def _failures(evaluations: Sequence[Evaluation]) -> dict[tuple[str, str], list[str]]:
    """The protocols under which a shape failed, by its name and the reason."""
    protocols: dict[tuple[str, str], list[str]] = {}
    for evaluation in evaluations:
        for failure in evaluation["failed"]:
            protocols.setdefault((failure["name"], failure["reason"]), []).append(evaluation["protocol"])
    return protocols


def _settings(evaluation: Evaluation) -> dict[str, str]:
    settings = dict(evaluation["settings"])
    units = {f"unit of {LABELS[key]}": unit for key, unit in settings.pop("units").items()}
    undefined = {f"{LABELS[key]}: shapes without it": count for key, count in evaluation["undefined"].items()}
    return settings_rows(settings | units | undefined)
