"""How far an input lies from those that a run was trained on: a number without a ground truth, and its p-value.

Three things are measured. `features`: the Mahalanobis distance of the encoder's features, pooled over the volume, from
those of training shapes (Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples, NeurIPS
2018; here of one class). `misfit`: how far from the level the field is where the input says that it crosses it: noise
does not lie on the surface that the model draws. `unseen`: the share of the drawn surface that has no shown point near.
Each is counted in deviations of held-out shapes of the data set, and the largest is the score; its p-value is
split-conformal among these shapes, of clouds among those shown as nearly as many points.
"""

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.formats.point_clouds import PointCloud
from data_processing.geometry.connected import have_close
from data_processing.geometry.triangle_mesh import TriangleMesh, sample_surface
from data_processing.loading.batches import all_members
from data_processing.loading.network_inputs import CLOUDS, InputConfig
from data_processing.loading.single_inputs import Observed, observe_shape
from data_processing.store.shape_set import ShapeSet
from isofield.config import RunConfig
from isofield.contract import Model
from isofield.extraction.isosurface import extract
from isofield.extraction.lattice import Field, evaluate_field, field_of
from isofield.metrics.conformal import conformal_p, conformal_threshold, is_flagged, scores_needed
from isofield.metrics.mahalanobis import Mahalanobis, fit_mahalanobis, fit_tail
from isofield.run_dir import RunDir
from isofield.runtime.atomic_files import write_text
from isofield.runtime.fingerprint import fingerprint
from isofield.runtime.invocation import next_command
from isofield.runtime.json_files import read_object
from isofield.runtime.progress import with_progress
from isofield.runtime.reasons import DAMAGED, reason_of
from isofield.runtime.seeds import numpy_generator

Array = NDArray[np.float64]
FORMAT = 1
TRAIN = "train"
FPR = 0.05  # of inputs like those of training, the share that is called far from it
MOST_FITTED = 500  # training shapes that the distance is fitted on
COUNTS = (300, 1000, 3000, 10_000, 30_000, 100_000)  # points at which held-out clouds are shown
CELLS = 64  # of the meshes that held-out shapes are measured by
NEAR = 2 / 64  # of the cube: a point of the surface that is farther from all shown points is unseen
SAMPLES = 6000  # points of the surface, and at most so many of the input
SMALLEST = 3e-3  # added to misfit and share: what lies below is chance
FEATURES, MISFIT, UNSEEN = "features", "misfit", "unseen"
FEWEST = 20  # training shapes: with fewer nothing can be said of what is usual
DIGITS = 4  # of the numbers in the file
MOST_POINTS = 1 << 40  # that a file may say were shown


@dataclass(frozen=True)
class InputScore:
    """Of one input: its score, the p-value, and the largest score that is not called far from the training.

    `most`: which of the three measurements is the score.
    """

    score: float
    p: float
    threshold: float
    most: str

    @property
    def is_far(self) -> bool:
        return is_flagged(self.p, FPR)

    def row(self) -> dict[str, float | str]:
        """For the manifest."""
        return {"ood_score": self.score, "ood_p": self.p, "ood_threshold": self.threshold, "ood_most": self.most}

    def note(self) -> str:
        """In words where the input is far from the training; empty where it is not."""
        if not self.is_far:
            return ""
        return (
            f"unlike the shapes that the model was trained on (out-of-distribution score {self.score:.2f}, threshold "
            f"{self.threshold:.2f}, most by {self.most}): look at the mesh before you use it"
        )


@dataclass(frozen=True, eq=False)
class InputCalibration:
    """What is usual of a run's inputs. `values_CNP`: measurements `parts` of held-out shapes, for each of `counts`.

    `counts`: points that were shown of each shape, ascending; of other inputs than clouds one 0.
    """

    distance: Mahalanobis
    parts: tuple[str, ...]
    counts: tuple[int, ...]
    values_CNP: Array
    model_hash: str
    data: str
    split: str

    @functools.cached_property
    def scores_CN(self) -> Array:
        """Of the held-out shapes, ascending for each number of points; each is counted in deviations of the others."""
        return np.sort(
            [
                [strangeness(row[None], np.delete(of, i, 0))[0].max() for i, row in enumerate(of)]
                for of in self.values_CNP
            ],
            axis=1,
        )

    def judge(self, values_P: Array, points: int = 0) -> InputScore:
        """Of the measurements of one input; `points`: how many were shown, of a cloud."""
        # Measurements depend on how densely a surface is marked: compared is what was shown alike.
        ratios = [abs(math.log(max(points, 1) / max(count, 1))) for count in self.counts]
        place = int(np.argmin(ratios))
        strangeness_P = strangeness(values_P[None], self.values_CNP[place])[0]
        score, scores_N = float(strangeness_P.max()), self.scores_CN[place]
        threshold = conformal_threshold(scores_N, FPR)
        assert threshold is not None  # enough scores: looked at when it was made and when it was read
        return InputScore(score, conformal_p(scores_N, score), threshold, self.parts[int(strangeness_P.argmax())])

    def fingerprint(self) -> str:
        """Of what decides the scores."""
        numbers = (self.distance.mean_D, self.distance.spread_D, self.distance.inverse_DD, self.values_CNP)
        return fingerprint([str((self.parts, self.counts)), *(array.tobytes() for array in numbers)], size=8)

    def description(self) -> str:
        """For the person at the terminal."""
        limits = [conformal_threshold(scores, FPR) for scores in self.scores_CN]
        by_count = zip(self.counts, limits, strict=True)
        of = ", ".join(f"{limit:.2f}" + (f" of {count} points" if count else "") for count, limit in by_count)
        return (
            f"{self.values_CNP.shape[1]} held-out shapes of {self.data} ({self.split}): inputs with a score above {of} "
            f"are called unlike the training, at a rate of {FPR:g}"
        )


def measure_input(
    distance: Mahalanobis,
    parts: Sequence[str],
    observed: Observed,
    code: Any,
    field: Field,
    mesh: TriangleMesh,
    *,
    iso_level: float,
) -> tuple[Array, int]:
    """The measurements `parts` (P,) of one input, and how many points were shown; 0 of what is no cloud.

    `code` and `field` are the model's of this input, `mesh` what it draws, in the cube.
    """
    features = features_of(code)
    if len(features) != len(distance.mean_D):
        raise ValueError(
            f"input_calibration.json: made of {len(distance.mean_D)} features, the model's code has {len(features)}: "
            "it is damaged; make it again (isofield evaluate --calibrate inputs), or take it away"
        )
    values, points = {FEATURES: float(distance.distances(features[None])[0])}, 0
    generator = numpy_generator(0, "out_of_distribution")
    if UNSEEN in parts:
        cloud = observed.shown()
        assert isinstance(cloud, PointCloud)
        points = len(cloud.points_N3)
        asked = torch.from_numpy(_some(cloud.points_N3, generator)).to(observed.inputs)
        values[MISFIT] = float((_values(field, asked, code) - iso_level).abs().mean())
        surface = sample_surface(mesh, SAMPLES, generator)[0]
        values[UNSEEN] = float((~have_close(surface, cloud.points_N3, NEAR)).mean())
    elif MISFIT in parts:
        cells = observed.inputs[0]
        index = _some(np.arange(cells.numel()), generator)
        centres = (np.stack(np.unravel_index(index, cells.shape), 1) + 0.5) / len(cells) - 0.5
        asked = torch.from_numpy(centres).to(observed.inputs)
        # On the wrong side of the level, by how much.
        side = 2 * cells.flatten()[torch.from_numpy(index)] - 1
        values[MISFIT] = float((-side * (_values(field, asked, code) - iso_level)).relu().mean())
    return np.array([values[part] + (SMALLEST if part != FEATURES else 0.0) for part in parts]), points


def parts_of(section: InputConfig) -> tuple[str, ...]:
    """What is measured of such an input."""
    if section.kind in CLOUDS:
        return (FEATURES, MISFIT, UNSEEN)
    return (FEATURES,) if section.kind == "view" else (FEATURES, MISFIT)


def strangeness(values_NP: Array, usual_MP: Array) -> Array:
    """(N, P): how many deviations of what is usual the logarithm of each measurement lies above its median."""
    tails = [fit_tail(column) for column in usual_MP.T]
    return np.stack([tail.strangeness(column) for tail, column in zip(tails, values_NP.T, strict=True)], axis=1)


def features_of(code: Any) -> Array:
    """(D,) of the code of one input: mean and deviation of each channel of its volumes; a vector is taken as it is."""
    volumes = [code] if isinstance(code, torch.Tensor) else list(code)
    parts = []
    for volume in volumes:
        channels = volume[0].flatten(1) if volume.ndim > 2 else volume[0][:, None]
        parts.append(channels.mean(1))
        if channels.shape[1] > 1:
            parts.append(channels.std(1, correction=0))
    return torch.cat(parts).double().cpu().numpy()


def calibrate_inputs(
    model: Model, config: RunConfig, shapes: ShapeSet, *, split: str, model_hash: str, device: torch.device | str
) -> InputCalibration:
    """Fit the distance on training shapes, measure held-out ones of `split`.

    ValueError for too few of either, for a split that the model learned from, and where the model draws nothing of one.
    """
    if split == TRAIN:
        raise ValueError(f"--split {split}: expected shapes that the run did not learn from, such as val")
    training, held_out = (_members(shapes, config, name) for name in (TRAIN, split))
    needed = scores_needed(FPR)
    if len(training) < FEWEST or len(held_out) < needed:
        raise ValueError(
            f"{shapes.path}: {len(training)} training shapes and {len(held_out)} of split '{split}'; to say which "
            f"inputs are unlike the training takes at least {FEWEST} and {needed} (splits.val_share keeps shapes back)"
        )
    section = config.data.input
    counts, parts = counts_of(section), parts_of(section)

    def look(index: int, count: int) -> tuple[Observed, Any]:
        shown = replace(section, points=count, fewest=0) if count else section
        observed = observe_shape(shapes, index, shown, seed=config.training.seed)
        with torch.no_grad():
            return observed, model.encode(observed.inputs[None].to(torch.device(device)))

    # Each training shape is shown once, in turn with each number of points.
    wanted = [(index, counts[place % len(counts)]) for place, index in enumerate(training)]
    learned = with_progress(wanted, what="calibrate", unit="training shape", total=len(wanted))
    fine = fit_mahalanobis(np.stack([features_of(look(*one)[1]) for one in learned]))
    # As the file will hold it: what is read back scores to the bit alike.
    inverse_DD = (fine.inverse_DD + fine.inverse_DD.T) / 2
    distance = Mahalanobis(*(_short(array) for array in (fine.mean_D, fine.spread_D, inverse_DD)))

    def measured(index: int, count: int) -> Array:
        observed, code = look(index, count)
        field = field_of(model, code)
        mesh = extract(field, iso_level=model.iso_level, resolution=CELLS, device=device).mesh
        if len(mesh.faces) == 0:
            raise ValueError(f"{shapes.names[index]}: the model draws nothing of it: train it longer, then calibrate")
        return measure_input(distance, parts, observed, code, field, mesh, iso_level=model.iso_level)[0]

    every = [(index, count) for count in counts for index in held_out]
    rows = [measured(*one) for one in with_progress(every, what="calibrate", unit="held-out input", total=len(every))]
    values = np.reshape(rows, (len(counts), len(held_out), len(parts)))
    return InputCalibration(distance, parts, counts, values, model_hash, str(shapes.path), split)


def counts_of(section: InputConfig) -> tuple[int, ...]:
    """Numbers of points at which held-out shapes are shown: those between the fewest and the most of training."""
    if section.kind not in CLOUDS:
        return (0,)
    between = (count for count in COUNTS if section.fewest < count < section.points) if section.fewest else ()
    return tuple(sorted({*between, section.fewest or section.points, section.points}))


def save_input_calibration(run: RunDir, calibration: InputCalibration) -> None:
    """Write the run's input_calibration.json."""
    write_text(run.input_calibration_file, calibration_text(calibration))


def calibration_text(calibration: InputCalibration) -> str:
    """The file, as JSON."""
    distance = calibration.distance
    content = {
        "format": FORMAT,
        "model_hash": calibration.model_hash,
        "data": calibration.data,
        "split": calibration.split,
        "parts": list(calibration.parts),
        "counts": list(calibration.counts),
        "values": calibration.values_CNP.tolist(),
        "mean": distance.mean_D.tolist(),
        "spread": distance.spread_D.tolist(),
        # Of a symmetric matrix each row from the diagonal on.
        "inverse": [row[place:].tolist() for place, row in enumerate(distance.inverse_DD)],
    }
    return json.dumps(content) + "\n"


def load_input_calibration(run: RunDir, *, model_hash: str, section: InputConfig) -> InputCalibration | None:
    """That of a run; None where it has none. ValueError when it is damaged, of another model than this, or of another
    input than `section` (what the run is shown).
    """
    file = run.input_calibration_file
    if not (file.exists() or file.is_symlink()):
        return None
    again = f"make it again: {next_command('evaluate', '--run', run.path, '--calibrate', 'inputs')}, or take it away"
    if not file.is_file():
        raise ValueError(f"{file}: expected a file, got a folder or a link that leads nowhere; {again}")
    content = read_object(file, again=again)
    try:
        calibration = _calibration_of(content)
        if calibration.parts != parts_of(section):
            raise ValueError(f"it measures {calibration.parts}, of {section.kind} are measured {parts_of(section)}")
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        said = reason_of(error, otherwise=DAMAGED)
        raise ValueError(f"{file} is damaged ({said}); {again}") from error
    if calibration.model_hash != model_hash:
        raise ValueError(
            f"{file} was made with another model (hash {calibration.model_hash}, the run's is "
            f"now {model_hash}): its scores say nothing of this one; {again}"
        )
    return calibration


def _calibration_of(content: dict[str, Any]) -> InputCalibration:
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']}, expected {FORMAT}")
    arrays = {key: np.array(content[key], dtype=np.float64) for key in ("mean", "spread", "values")}
    mean, spread, values = arrays.values()
    arrays["inverse"] = inverse = _symmetric(content["inverse"])
    parts, counts = tuple(content["parts"]), tuple(content["counts"])
    if mean.ndim != 1 or spread.shape != mean.shape or inverse.shape != (len(mean), len(mean)):
        raise ValueError("mean, spread and inverse do not belong together")
    if not all(np.isfinite(array).all() for array in arrays.values()) or not (spread > 0).all():
        raise ValueError("it holds numbers that are none, or no deviations")
    # What is measured is never negative, nor is a distance: rounded as the file is, more cannot be asked of the matrix.
    if (values < 0).any() or not (inverse.diagonal() > 0).all():
        raise ValueError("it holds negative measurements, or an inverse that is none of correlations")
    if parts not in {(FEATURES, MISFIT, UNSEEN)[:length] for length in (1, 2, 3)}:
        raise ValueError(f"it measures {parts}")
    if not counts or not all(type(count) is int and 0 <= count <= MOST_POINTS for count in counts):
        raise ValueError(f"it was made with {counts} points")
    if values.ndim != 3 or values.shape[::2] != (len(counts), len(parts)) or values.shape[1] < scores_needed(FPR):
        raise ValueError(f"expected measurements of at least {scores_needed(FPR)} shapes for each number of points")
    texts = {key: str(content[key]) for key in ("model_hash", "data", "split")}
    return InputCalibration(Mahalanobis(mean, spread, inverse), parts, counts, values, **texts)


def _members(shapes: ShapeSet, config: RunConfig, split: str) -> Sequence[int]:
    """Shapes of a split in the categories of the run, at most so many, spread evenly; to train on, those it trained on.

    Held-out ones are as a user's are: that inside and outside cannot be told for sure makes no other input of a shape.
    """
    chosen = [int(index) for index in all_members(shapes, split, config.data.categories)[0]]
    if split == TRAIN and config.data.suspect == "drop":
        chosen = [index for index in chosen if not shapes.qualities[index].startswith("suspect")]
    if len(chosen) <= MOST_FITTED:
        return chosen
    return [chosen[int(place)] for place in np.linspace(0, len(chosen) - 1, MOST_FITTED)]


def _symmetric(rows: list[list[float]]) -> Array:
    """(D, D) of its rows from the diagonal on. ValueError where they are no triangle."""
    if [len(row) for row in rows] != list(range(len(rows), 0, -1)):
        raise ValueError("inverse: expected rows that get one number shorter each")
    matrix = np.zeros((len(rows), len(rows)))
    for place, row in enumerate(rows):
        matrix[place, place:] = matrix[place:, place] = row
    return matrix


def _short(values: Array) -> Array:
    return np.array([float(f"{value:.{DIGITS}g}") for value in values.flat]).reshape(values.shape)


def _some(rows: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
    """All of them, or SAMPLES at random."""
    return rows if len(rows) <= SAMPLES else rows[generator.choice(len(rows), SAMPLES, replace=False)]


def _values(field: Field, points_N3: torch.Tensor, code: Any) -> torch.Tensor:
    """Of the field at points, wherever its code lies."""
    where = code if isinstance(code, torch.Tensor) else code[0]
    return evaluate_field(field, points_N3.to(where.device)).cpu()
