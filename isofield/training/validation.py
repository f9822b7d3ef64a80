"""A fixed set of shapes, judged every so often: a loss that decides what is best, and reconstructions to look at
and to measure."""

import functools
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.geometry.rendering import THREE_QUARTER, render
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.loading.batches import BatchPlan, Codes, open_source, points_of, select_shapes
from data_processing.loading.single_inputs import FIXED, observe_shape
from data_processing.store.shape_set import ShapeSet
from isofield.config import RunConfig
from isofield.contract import JudgesItself, MakesShapes, Model
from isofield.extraction.isosurface import extract
from isofield.extraction.lattice import field_of
from isofield.runtime.commandline import say
from isofield.runtime.distributed import Group
from isofield.training.schedule import local_part
from isofield.training.shape_scores import ScoredShapes, means
from isofield.training.state import State, ema_weights
from isofield.training.trackers.protocol import Tracker

WIDTH, HEIGHT, BORDER = 480, 240, 28
COLOURS = ((60, 60, 60), (220, 90, 30), (40, 110, 200), (30, 140, 70))  # RGB, in the order of the sets
BINS = 64


def judged_shapes(
    shapes: ShapeSet, config: RunConfig, group: Group, *, fallback: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The fixed set, ascending: spread evenly over the validation split, or over `fallback` where there is none."""
    section, indices = config.training.validation, fallback
    if section.split in shapes.splits:
        own = select_shapes(shapes, section.split, config.data.categories)
        indices = own if len(own) else fallback
    if indices is fallback and group.is_first:
        say(f"{shapes.path}: no split '{section.split}': validating on training shapes")
    return np.sort(indices[np.linspace(0, len(indices) - 1, min(section.shapes, len(indices))).astype(int)])


class Validator:
    """Holds the fixed set. Always the level of the last stage, so that losses compare across stages."""

    def __init__(
        self,
        shapes: ShapeSet,
        config: RunConfig,
        group: Group,
        *,
        indices: NDArray[np.int64],
        by_quality: bool = False,
        codes: Codes | None = None,
    ) -> None:
        self.measure = "distance" if by_quality else "loss"
        self.section, self.group, self.shapes, self.indices = config.training.validation, group, shapes, indices
        self.bfloat16 = config.training.precision == "bfloat16"
        last = config.training.stages[-1]
        points = min(last.points, points_of(shapes, last.level))
        # A distance of sets needs the whole set at once; losses add up batch by batch.
        size = len(indices) if by_quality else config.training.batch_shapes
        data, seed = config.data, config.training.seed
        parts = [self.indices[i : i + size] for i in range(0, len(self.indices), size)]
        self.draws = [BatchPlan(part, 0, points, epoch=FIXED) for part in parts]
        self.source, _ = open_source(
            shapes, self.indices, level=last.level, device=group.device, section=data, seed=seed, codes=codes
        )
        self.seed, self.scored = seed, ScoredShapes(shapes, seed=seed)
        self.look = functools.partial(observe_shape, shapes, section=data.input, seed=seed)

    def judge(self, state: State) -> float:
        """What decides which checkpoint is best, smaller for better: the model's own measure where it has one."""
        return self._quality(state) if self.measure == "distance" else self._loss(state)

    @torch.no_grad()
    def _quality(self, state: State) -> float:
        """Of the whole fixed set, on each rank: sets do not add up."""
        with ema_weights(state) as model:
            assert isinstance(model, JudgesItself)
            (batch,) = self.source.batches(self.draws)
            return float(model.quality(batch))

    @torch.no_grad()
    def _loss(self, state: State) -> float:
        """Mean loss of the first player over the fixed set, over all ranks."""
        total = torch.zeros((), device=self.group.device, dtype=torch.float64)
        parts = [local_part(draw, self.group) for draw in self.draws]
        with ema_weights(state) as model, torch.autocast(self.group.device.type, torch.bfloat16, enabled=self.bfloat16):
            for draw, (_, weight), batch in zip(
                self.draws, parts, self.source.batches(part for part, _ in parts), strict=True
            ):
                _, values = next(iter(model.losses(batch)))
                # The mean of a batch times its size, this rank's share of it: summed over ranks and batches, divided by
                # all shapes.
                total += values["loss"].double() * weight * len(draw.shapes)
        return float(self.group.total(total)) / len(self.indices)

    @torch.no_grad()
    def show(self, state: State, tracker: Tracker | None, *, value: float) -> dict[str, float]:
        """The judgement, and shapes: the first ones reconstructed, or new ones beside histograms of their codes.

        Returns the numbers: the judgement, and of reconstructions how good they are (shape_scores.py).
        """
        if tracker is None:
            return {}
        values = {self.measure: value}
        with ema_weights(state) as model:
            if isinstance(model, MakesShapes):
                self._show_samples(model, tracker, state.step)
            else:
                values |= self._show_reconstructions(model, tracker, state.step)
        tracker.scalars({f"validation/{name}": number for name, number in values.items()}, state.step)
        return values

    def _show_reconstructions(self, model: Model, tracker: Tracker, step: int) -> dict[str, float]:
        """The first shapes of the fixed set, and the means of their scores."""
        scores = []
        for index in self.indices[: self.section.pictures].tolist():
            code = model.encode(self.look(index).inputs[None].to(self.group.device))
            mesh = self._show_shape(model, code, tracker, f"reconstruction/{self.shapes.names[index]}", step)
            scores.append(self.scored.score(mesh, index))
        return means([score for score in scores if score is not None])

    def _show_samples(self, model: Any, tracker: Tracker, step: int) -> None:
        (batch,) = self.source.batches(self.draws)
        made_BZ = model.sample(len(self.indices), torch.Generator().manual_seed(self.seed))
        for name, codes_BZ in (("real", batch.inputs), ("generated", made_BZ)):
            tracker.histogram(f"codes/{name}", codes_BZ, step)
        picture = code_histograms({"real": batch.inputs.cpu().numpy(), "generated": made_BZ.cpu().numpy()})
        tracker.picture("codes", picture, step)
        for number in range(min(self.section.pictures, len(made_BZ))):
            self._show_shape(model, made_BZ[number : number + 1], tracker, f"sample/{number}", step)

    def _show_shape(self, model: Model, code: Any, tracker: Tracker, name: str, step: int) -> TriangleMesh:
        """Picture and mesh of a shape, where its field has a surface yet; the mesh in any case."""
        mesh = extract(
            field_of(model, code),
            iso_level=model.iso_level,
            resolution=self.section.resolution,
            device=self.group.device,
        ).mesh
        if len(mesh.faces):
            tracker.picture(name, render(mesh, [THREE_QUARTER], size=256)[0], step)
            tracker.mesh(name, mesh, step)
        return mesh


def code_histograms(codes: Mapping[str, NDArray[np.floating]]) -> NDArray[np.uint8]:
    """Histograms of sets of codes (N, Z) with values in [0, 1], one over the other, as a picture (H, W, 3).

    Left: all values. Right: the standard deviation of each of the Z numbers over a set; a generator that makes the same
    shape again and again stands at 0 there. Each histogram is scaled by the highest bar of the picture's half.
    """
    spreads = {name: values.std(axis=0) for name, values in codes.items()}
    most = max(float(spread.max()) for spread in spreads.values()) or 1.0
    halves = [
        _histograms({name: values.ravel() for name, values in codes.items()}, 1.0, "all values"),
        _histograms(spreads, most, "spread of each"),
    ]
    return np.concatenate(halves, axis=1)


def _histograms(values: Mapping[str, NDArray[np.floating]], upto: float, title: str) -> NDArray[np.uint8]:
    picture = np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8)
    shares = {name: np.histogram(each, BINS, (0, upto))[0] / max(len(each), 1) for name, each in values.items()}
    highest = max(float(share.max()) for share in shares.values()) or 1.0
    left, right, low, high = BORDER, WIDTH - BORDER, HEIGHT - BORDER, BORDER
    cv2.line(picture, (left, low), (right, low), (0, 0, 0))
    # Each bar has a left and a right corner, and shares both with its neighbours.
    ticks = np.repeat(np.linspace(left, right, BINS + 1), 2)[1:-1]
    for row, ((name, share), colour) in enumerate(zip(shares.items(), COLOURS, strict=False)):
        heights = np.repeat(low - share / highest * (low - high), 2)
        outline = np.round(np.stack([ticks, heights], axis=1)).astype(np.int32)
        cv2.polylines(picture, [outline], False, colour, 2, cv2.LINE_AA)
        _write(picture, name, (right - 110, high + 16 * row), colour)
    _write(picture, title, (left, high - 10), (0, 0, 0))
    _write(picture, "0", (left - 4, low + 16), (0, 0, 0))
    _write(picture, f"{upto:.2g}", (right - 12, low + 16), (0, 0, 0))
    return picture


def _write(picture: NDArray[np.uint8], text: str, place: tuple[int, int], colour: tuple[int, int, int]) -> None:
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
