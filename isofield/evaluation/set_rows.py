"""Samples judged as a set against references, and asked whether they are copies of training shapes.

One evaluation for each protocol, as plain data: `generative` by points of surfaces (Chamfer, earth mover's distance,
occupancy), `lfd` by silhouettes. A shape that cannot be read is a row with its reason, counted beside every number.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from isofield.evaluation.ground_truth import GroundTruth
from isofield.evaluation.names import GENERATIVE, LIGHT_FIELD
from isofield.evaluation.protocols import SCALE, SOURCE, UNIT
from isofield.evaluation.sets import Member, Sets
from isofield.metrics.light_field import Descriptor, descriptor_of_mesh, distance_matrix
from isofield.metrics.normalisations import NORMALISATIONS
from isofield.metrics.set_distances import Bounded, Solver
from isofield.metrics.set_scores import SetDistances, choose_equal_sizes, nearest, nearness, scores
from isofield.metrics.sets import MEANINGS, GenerativeConfig, judge_sets, normalise, stack_clouds
from isofield.runtime import seeds
from isofield.runtime.json_files import Row
from isofield.runtime.processes import in_order
from isofield.runtime.progress import Progress, with_progress
from isofield.runtime.reasons import reason_of

UNITS = {"cov": "share, 0 to 1", "1nna": "share, 0 to 1; 0.5 is best"}
KEPT_IN_1NNA = "of the larger set as many as of the smaller take part in 1-NNA, drawn by the seed"
Nearest = list[tuple[str, float]]  # of each usable shape of a side: name and distance
SIDES = ("samples", "references", "training")


@dataclass(frozen=True)
class Machine:
    """Where and with how many the work is done; none of it changes a number.

    `light_fields`: folder in which descriptors are kept; None keeps none.
    """

    device: torch.device = torch.device("cpu")  # noqa: RUF009 (immutable)
    workers: int = 0
    light_fields: Path | None = None
    progress: bool = True


@dataclass(frozen=True)
class SetScores:
    """Numbers of one protocol: scores by distance; the nearest shapes by side, distance and what is looked at."""

    scores: dict[str, Row]
    nearest: dict[tuple[str, str, str], Nearest]
    jsd: Row | None
    settings: Row


@dataclass(frozen=True)
class SetShape:
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


Sides = Mapping[str, Sequence[SetShape]]  # samples, references, training: those that a protocol can look at


def evaluate_sets(
    sets: Sets, protocols: Sequence[str], settings: GenerativeConfig, machine: Machine = Machine()
) -> list[Row]:
    """One evaluation for each protocol. Raises ValueError when a protocol has no sample or no reference to look at."""
    shapes_of = read_shapes(sets, protocols, settings, machine)
    evaluations = []
    for protocol in protocols:
        # What cannot be read has a row with its reason; a side without any shape ends the protocol.
        usable = {side: [shape for shape in shapes_of[side] if protocol not in shape.reasons] for side in SIDES}
        for side in ("samples", "references"):
            if not usable[side]:
                first = shapes_of[side][0]
                raise ValueError(
                    f"protocol {protocol}: none of {len(shapes_of[side])} {side} can be judged, the first because: "
                    f"{first.name}: {first.reasons[protocol]}"
                )
        judge = judge_clouds if protocol == GENERATIVE else judge_light_fields
        judged = judge(usable, settings, machine)
        evaluations.append(_evaluation(protocol, sets, shapes_of, judged))
    return evaluations


def judge_clouds(sides: Sides, settings: GenerativeConfig, machine: Machine) -> SetScores:
    """By points of the surfaces; training shapes by Chamfer alone."""
    clouds = {side: [s.cloud_N3 for s in shapes if s.cloud_N3 is not None] for side, shapes in sides.items()}
    names = {side: [shape.name for shape in shapes] for side, shapes in sides.items()}
    options: Row = {"device": machine.device, "workers": machine.workers, "progress": machine.progress}
    result = judge_sets(
        clouds["samples"],
        clouds["references"],
        settings,
        sample_names=names["samples"],
        reference_names=names["references"],
        **options,
    )
    # Which shape each is nearest to, in the other set, and among training shapes: copies show themselves there.
    nearest_shapes: dict[tuple[str, str, str], Nearest] = {}
    for side, other in (("samples", "reference"), ("references", "sample")):
        nearest_shapes |= {(side, kind, other): of_shapes for kind, of_shapes in result[f"nearest_{other}"].items()}
    if clouds["training"]:
        trained = stack_clouds(clouds["training"], names["training"], settings)
        for side in ("samples", "references"):
            own = stack_clouds(clouds[side], names[side], settings)
            between = Solver("chamfer", **options).between(own, trained, what=f"{side} to training shapes")
            nearest_shapes[side, "chamfer", "training"] = nearest(between, names["training"])
    units = {f"mmd_{kind}": f"{MEANINGS[kind]}; 1 is {settings.unit}" for kind in settings.distances}
    units["jsd"] = "bits, 0 to 1"
    described = _described(result["settings"], units, scale=NORMALISATIONS[settings.normalisation])
    return SetScores(result["scores"], nearest_shapes, result["jsd"], described)


def judge_light_fields(sides: Sides, settings: GenerativeConfig, machine: Machine) -> SetScores:
    """By silhouettes; of the settings only the seed counts, which draws the shapes of 1-NNA."""
    own = {side: [s.descriptor for s in shapes if s.descriptor is not None] for side, shapes in sides.items()}
    names = {side: [shape.name for shape in shapes] for side, shapes in sides.items()}
    # 1-NNA needs distances within each set as well, of equally many shapes; they are the dear part, and only of those
    # that take part.
    in_s, in_r = choose_equal_sizes(len(own["samples"]), len(own["references"]), seed=settings.seed)
    between = _light_fields(own["samples"], own["references"], machine, "samples to references")
    distances = SetDistances(between)
    if len(in_s) > 1:
        kept_s, kept_r = [own["samples"][i] for i in in_s], [own["references"][i] for i in in_r]
        among_s = _light_fields(kept_s, kept_s, machine, "among samples")
        distances = SetDistances(between, among_s, _light_fields(kept_r, kept_r, machine, "among references"))
    nearest_shapes = {("samples", "lfd", "reference"): nearest(between, names["references"])}
    nearest_shapes["references", "lfd", "sample"] = nearest(between.transpose_sets(), names["samples"])
    if own["training"]:
        for side in ("samples", "references"):
            to_training = _light_fields(own[side], own["training"], machine, f"{side} to training shapes")
            nearest_shapes[side, "lfd", "training"] = nearest(to_training, names["training"])
    means = {key: MEANINGS[key] for key in ("cov", "mmd", "mmd_of_samples", "1nna")}
    described = _described({"seed": settings.seed, "means": means, "source": SOURCE}, {"mmd_lfd": UNIT}, scale=SCALE)
    return SetScores({"lfd": scores(distances, seed=settings.seed)}, nearest_shapes, None, described)


def _described(settings: Row, units: dict[str, str], *, scale: str) -> Row:
    """Settings as every protocol has them, and what 1-NNA does with sets of two sizes."""
    kinds = [key.removeprefix("mmd_") for key in units if key.startswith("mmd_")]
    units |= {f"{score}_{kind}": unit for kind in kinds for score, unit in UNITS.items()}
    return {"compares": "sets"} | settings | {"scale": scale, "units": units, "1nna_shapes": KEPT_IN_1NNA}


def _evaluation(protocol: str, sets: Sets, shapes_of: dict[str, list[SetShape]], judged: SetScores) -> Row:
    rows = {side: [_row(shape, side, protocol) for shape in shapes_of[side]] for side in SIDES}
    failed = [row for side in SIDES for row in rows[side] if row["status"] != "done"]
    counts = {side: sum(row["status"] == "done" for row in rows[side]) for side in SIDES}
    # Distances were taken between shapes that could be read: their rows are the done ones, in the same order.
    for (side, kind, other), of_shapes in judged.nearest.items():
        done = [row for row in rows[side] if row["status"] == "done"]
        for row, (name, distance) in zip(done, of_shapes, strict=True):
            row |= {f"{other}_{kind}": name, f"{other}_{kind}_distance": distance}
    mean = {
        f"{score}_{kind}": row.get(score) for kind, row in judged.scores.items() for score in ("cov", "mmd", "1nna")
    }
    if judged.jsd is not None:
        mean["jsd"] = judged.jsd["jsd"]
    # How near samples are to training shapes means something only beside how near held-out shapes are.
    trained = [kind for side, kind, other in judged.nearest if (side, other) == ("samples", "training")]
    return {
        "protocol": protocol,
        "split": sets.split,
        "n": counts["samples"],
        "failed_count": len(failed),
        "failed": [{key: row[key] for key in ("set", "name", "reason")} for row in failed],
        "sets": {side: {"n": counts[side], "failed_count": len(rows[side]) - counts[side]} for side in SIDES},
        "mean": mean,
        "scores": judged.scores,
        "jsd": judged.jsd,
        "nearness_to_training": {
            kind: nearness(*(_distances(judged, side, kind) for side in ("samples", "references"))) for kind in trained
        },
        "per_shape": rows["samples"] + rows["references"],
        "settings": sets.about | judged.settings,
    }


def _row(shape: SetShape, side: str, protocol: str) -> Row:
    reason = shape.reasons.get(protocol, "")
    status = "failed" if protocol in shape.reasons else "done"
    return {"set": side, "name": shape.name, "status": status, "reason": reason}


def _distances(judged: SetScores, side: str, kind: str) -> NDArray[np.float64]:
    return np.array([distance for _, distance in judged.nearest[side, kind, "training"]])


def _light_fields(first: Sequence[Descriptor], second: Sequence[Descriptor], machine: Machine, what: str) -> Bounded:
    with Progress(len(first), what=f"lfd, {what}", unit="shape", shown=machine.progress) as progress:
        return Bounded.exact(distance_matrix(first, second, device=machine.device, progress=progress.update))


def read_shapes(
    sets: Sets, protocols: Sequence[str], settings: GenerativeConfig, machine: Machine
) -> dict[str, list[SetShape]]:
    """All shapes by side ("samples", "references", "training"), in the order of the members."""
    by_side = {side: getattr(sets, side) for side in SIDES}
    tasks = [_Task(member, side) for side in SIDES for member in by_side[side]]
    work = functools.partial(_read, protocols=tuple(protocols), settings=settings, light_fields=machine.light_fields)
    results = in_order(work, tasks, workers=machine.workers)
    # Results come in the order of the tasks, side after side: each side takes as many as it has members.
    shapes = iter(list(with_progress(results, total=len(tasks), what="read", unit="shape", shown=machine.progress)))
    return {side: [next(shapes) for _ in by_side[side]] for side in SIDES}


def _read(
    task: _Task, *, protocols: tuple[str, ...], settings: GenerativeConfig, light_fields: Path | None
) -> SetShape:
    # Each protocol fails by itself: a cloud has points to compare, and no silhouette.
    name, fields, reasons = task.member.name, dict[str, Any](), dict[str, str]()
    try:
        truth = task.member.load()
    except (ValueError, OSError) as error:
        return SetShape(name, reasons=dict.fromkeys(protocols, reason_of(error)))
    if GENERATIVE in protocols:
        try:
            fields["cloud_N3"] = draw_cloud(truth, settings, name=name, side=task.side)
        except ValueError as error:
            reasons[GENERATIVE] = reason_of(error)
    if LIGHT_FIELD in protocols:
        try:
            fields["descriptor"] = descriptor_of_mesh(truth.solid(), light_fields)
        except ValueError as error:
            reasons[LIGHT_FIELD] = reason_of(error)
    return SetShape(name, **fields, reasons=reasons)


def draw_cloud(truth: GroundTruth, settings: GenerativeConfig, *, name: str, side: str) -> NDArray[np.float64]:
    """Points of one shape's surface (points, 3), drawn by seed, name and side ("samples", "references").

    Raises ValueError when the shape is a cloud of fewer points, or they cannot be brought to one size.
    """
    generator = seeds.numpy_generator(settings.seed, name, "generative", side)
    points_N3 = truth.surface(settings.points, generator).points_N3
    if len(points_N3) != settings.points:
        raise ValueError(
            f"{name}: has {len(points_N3)} points, {settings.points} are compared; set fewer points (--points)"
        )
    if not np.isfinite(normalise(points_N3, settings.normalisation)).all():
        raise ValueError("its points are not finite: coordinates are too large to compare")
    return points_N3
