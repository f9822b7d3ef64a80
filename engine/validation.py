"""A fixed set of shapes, judged every so often: a loss that decides what is best, and reconstructions to look at."""

import functools

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from data_processing.commandline import say
from data_processing.dataset import Draw, open_source, points_of, selected
from data_processing.meshes import TriangleMesh
from data_processing.observed import FIXED, observe_shape
from data_processing.storage import ShapeSet
from data_processing.views import THREE_QUARTER, render
from engine.config import RunConfig
from engine.contract import Model
from engine.distributed import Group
from engine.extraction import extract
from engine.generation import field_of
from engine.schedule import local_part
from engine.state import State, averaged

BATCH_POINTS = 1 << 16


class Validator:
    """Holds the fixed set. Always the level of the last stage, so that losses compare across stages."""

    def __init__(self, shapes: ShapeSet, config: RunConfig, group: Group, *, fallback: np.ndarray) -> None:
        self.section, self.group, self.shapes = config.training.validation, group, shapes
        self.bfloat16 = config.training.precision == "bfloat16"
        indices = fallback
        if self.section.split in shapes.splits:
            own = selected(shapes, self.section.split, config.data.categories)
            indices = own if len(own) else fallback
        if indices is fallback and group.is_first:
            say(f"{shapes.path}: no split '{self.section.split}': validating on training shapes")
        self.indices = np.sort(
            indices[np.linspace(0, len(indices) - 1, min(self.section.shapes, len(indices))).astype(int)]
        )
        last = config.training.stages[-1]
        points = min(last.points, points_of(shapes, last.level))
        size, data, seed = config.training.batch_shapes, config.data, config.training.seed
        parts = [self.indices[i : i + size] for i in range(0, len(self.indices), size)]
        self.draws = [Draw(part, 0, points, epoch=FIXED) for part in parts]
        self.source, _ = open_source(
            shapes, self.indices, level=last.level, device=group.device, section=data, seed=seed
        )
        self.look = functools.partial(observe_shape, shapes, section=data.input, seed=seed)

    @torch.no_grad()
    def loss(self, state: State) -> float:
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

    def show(self, state: State, writer: SummaryWriter | None, *, loss: float) -> None:
        """The loss, and the first shapes reconstructed: pictures and meshes in TensorBoard."""
        if writer is None:
            return
        writer.add_scalar("validation/loss", loss, state.step)
        with averaged(state) as model:
            for index in self.indices[: self.section.pictures]:
                mesh = self._reconstruct(model, int(index))
                name = f"reconstruction/{self.shapes.names[int(index)]}"
                if len(mesh.faces):
                    writer.add_image(name, render(mesh, [THREE_QUARTER], size=256)[0], state.step, dataformats="HW")
                    vertices, faces = torch.from_numpy(mesh.vertices)[None], torch.from_numpy(mesh.faces)[None]
                    writer.add_mesh(name, vertices.float(), faces=faces, global_step=state.step)

    @torch.no_grad()
    def _reconstruct(self, model: Model, index: int) -> TriangleMesh:
        code = model.encode(self.look(index).inputs_1RRR[None].to(self.group.device))
        return extract(
            field_of(model, code),
            iso_level=model.iso_level,
            resolution=self.section.resolution,
            batch_points=BATCH_POINTS,
            device=self.group.device,
        ).mesh
