"""A fixed set of shapes, judged every so often: a loss that decides what is best, and reconstructions to look at."""

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from data_processing.geometry.rendering import THREE_QUARTER, render
from data_processing.loading.batches import Codes, Draw, open_source, points_of, selected
from data_processing.loading.single_inputs import FIXED, observe_shape
from data_processing.store.shape_set import ShapeSet
from isofield.config import RunConfig
from isofield.contract import JudgesItself, MakesShapes, Model
from isofield.extraction.isosurface import extract
from isofield.generation.meshes import field_of
from isofield.runtime.commandline import say
from isofield.runtime.distributed import Group
from isofield.training.code_pictures import code_histograms
from isofield.training.schedule import local_part
from isofield.training.state import State, averaged

BATCH_POINTS = 1 << 16


def judged_shapes(
    shapes: ShapeSet, config: RunConfig, group: Group, *, fallback: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The fixed set, ascending: spread evenly over the validation split, or over `fallback` where there is none."""
    section, indices = config.training.validation, fallback
    if section.split in shapes.splits:
        own = selected(shapes, section.split, config.data.categories)
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
        size = len(indices) if by_quality else config.training.batch_shapes
        data, seed = config.data, config.training.seed
        parts = [self.indices[i : i + size] for i in range(0, len(self.indices), size)]
        self.draws = [Draw(part, 0, points, epoch=FIXED) for part in parts]
        self.source, _ = open_source(
            shapes, self.indices, level=last.level, device=group.device, section=data, seed=seed, codes=codes
        )
        self.seed = seed
        self.look = functools.partial(observe_shape, shapes, section=data.input, seed=seed)

    def judge(self, state: State) -> float:
        """What decides which checkpoint is best, smaller for better: the model's own measure where it has one."""
        return self._quality(state) if self.measure == "distance" else self._loss(state)

    @torch.no_grad()
    def _quality(self, state: State) -> float:
        """Of the whole fixed set, on each rank: sets do not add up."""
        with averaged(state) as model:
            assert isinstance(model, JudgesItself)
            (batch,) = self.source.batches(self.draws)
            return float(model.quality(batch))

    @torch.no_grad()
    def _loss(self, state: State) -> float:
        """Mean loss of the first player over the fixed set, over all ranks."""
        total = torch.zeros((), device=self.group.device, dtype=torch.float64)
        parts = [local_part(draw, self.group) for draw in self.draws]
        with averaged(state) as model, torch.autocast(self.group.device.type, torch.bfloat16, enabled=self.bfloat16):
            for draw, (_, weight), batch in zip(
                self.draws, parts, self.source.batches(part for part, _ in parts), strict=True
            ):
                _, values = next(iter(model.losses(batch)))
                total += values["loss"].double() * weight * len(draw.shapes)
        return float(self.group.total(total)) / len(self.indices)

    @torch.no_grad()
    def show(self, state: State, writer: SummaryWriter | None, *, value: float) -> None:
        """The judgement, and shapes: the first ones reconstructed, or new ones beside histograms of their codes."""
        if writer is None:
            return
        writer.add_scalar(f"validation/{self.measure}", value, state.step)
        with averaged(state) as model:
            if isinstance(model, MakesShapes):
                self._show_samples(model, writer, state.step)
                return
            for index in self.indices[: self.section.pictures].tolist():
                code = model.encode(self.look(index).inputs[None].to(self.group.device))
                self._show_shape(model, code, writer, f"reconstruction/{self.shapes.names[index]}", state.step)

    def _show_samples(self, model: Any, writer: SummaryWriter, step: int) -> None:
        (batch,) = self.source.batches(self.draws)
        made_BZ = model.sample(len(self.indices), torch.Generator().manual_seed(self.seed))
        for name, codes_BZ in (("real", batch.inputs), ("generated", made_BZ)):
            writer.add_histogram(f"codes/{name}", codes_BZ, step)
        picture = code_histograms({"real": batch.inputs.cpu().numpy(), "generated": made_BZ.cpu().numpy()})
        writer.add_image("codes", picture, step, dataformats="HWC")
        for number in range(min(self.section.pictures, len(made_BZ))):
            self._show_shape(model, made_BZ[number : number + 1], writer, f"sample/{number}", step)

    def _show_shape(self, model: Model, code: Any, writer: SummaryWriter, name: str, step: int) -> None:
        """Picture and mesh of a shape, where its field has a surface yet."""
        mesh = extract(
            field_of(model, code),
            iso_level=model.iso_level,
            resolution=self.section.resolution,
            batch_points=BATCH_POINTS,
            device=self.group.device,
        ).mesh
        if len(mesh.faces):
            writer.add_image(name, render(mesh, [THREE_QUARTER], size=256)[0], step, dataformats="HW")
            vertices, faces = torch.from_numpy(mesh.vertices)[None], torch.from_numpy(mesh.faces)[None]
            writer.add_mesh(name, vertices.float(), faces=faces, global_step=step)
