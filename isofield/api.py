"""The tool in Python: a trained run, what it makes of a shape, and how good that is.

    import isofield

    run = isofield.load("runs/mine")
    mesh = run.reconstruct("chair.ply", resolution=128)  # a trimesh.Trimesh in the frame of the file
    isofield.evaluate(mesh, "chair.ply")["chamfer"]

What is in memory goes the very way of files: the same preparation, the same bytes as generate.py, the numbers of
evaluate.py, the same errors (ValueError, FileNotFoundError).
"""

import contextlib
import dataclasses
import functools
import numbers
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray

from data_processing.formats.nifti import OpenScan
from data_processing.geometry.coordinates import normalising_to_world, transform_points
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.loading.memory_inputs import InMemory, content_digest, loaded_input
from data_processing.loading.single_inputs import Observed, observe_in_memory
from data_processing.medical.scan_grid import scan_mask_image
from data_processing.medical.structures import find_part, part_keys
from data_processing.occupancy.inside_outside import InsideConfig, occupancy_grid
from data_processing.preparation.config import DataConfig, NormalisationConfig
from data_processing.preparation.shape import SHAPE_ERRORS
from isofield.config import RunConfig
from isofield.contract import MakesShapes, Model
from isofield.evaluation.one_pair import evaluate, mesh_of
from isofield.extraction.lattice import BATCH_POINTS, evaluate_field, field_of
from isofield.generation.inputs import items_of_files
from isofield.generation.islands import drops_islands
from isofield.generation.latent_shapes import codes_between
from isofield.generation.out_of_distribution import InputCalibration, load_input_calibration
from isofield.generation.posed_inputs import poses_of
from isofield.generation.simplification import simplify_mesh
from isofield.generation.surfaces import Coded, GenerationConfig, ModelSurface, mask_of_surface, points_of, surface_of
from isofield.packs.find_run import find_run
from isofield.registry import LoadedRun, load_run
from isofield.run_dir import RunDir, preparation_of
from isofield.runtime.compiled import sparing_kernels
from isofield.runtime.contention import watch_contention
from isofield.runtime.distributed import resolve_device
from isofield.runtime.reasons import reason_of
from isofield.runtime.threads import threads_for_mesh

__all__ = ["Run", "Shape", "evaluate", "load", "occupancy"]

INPUT_NAME = "input"  # of a shape in memory that was given none

Shape = str | Path | InMemory  # what stands for a shape; see docs/how-to/python.md


def load(path: str | Path, *, checkpoint: str | int = "best", device: str = "auto") -> "Run":
    """A trained run, such as runs/mine, ready to reconstruct; a packed one by its folder, a zip, or hf:OWNER/NAME@REV.

    `checkpoint`: best, last or a step. `device`: auto (CUDA where there is one), cpu, cuda or cuda:N.
    Raises FileNotFoundError for a folder that is no run and for a checkpoint that it has not (it names those that are
    there), ValueError for one that is damaged and for a device that is not there.
    """
    if not isinstance(path, str | Path):
        raise ValueError(f"expected the path of a run, such as runs/mine, got {path!r}")
    watch_contention()  # a notebook on a shared machine waits as the commands do
    run, own = find_run(path), resolve_device(device)
    return Run(run, load_run(run, which=str(checkpoint), device=own), own)


class Run:
    """A trained model and how its shapes were prepared; made by `load`."""

    def __init__(self, run: RunDir, loaded: LoadedRun, device: torch.device) -> None:
        self._run, self._loaded, self.device = run, loaded, device
        self._last: tuple[tuple[str, ...], Observed] | None = None  # what was prepared last, and of what

    def __repr__(self) -> str:
        kind, shown = self.config.model["type"], self.config.data.input
        return f"<isofield.Run {self.path}: {kind}, step {self.step}, shown {shown.kind} at {shown.resolution}>"

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._run.path

    @property
    def config(self) -> RunConfig:
        """The resolved config that it was trained with."""
        return self._loaded.config

    @property
    def model(self) -> Model:
        """The network, in evaluation mode, on `device`."""
        return self._loaded.model

    @property
    def step(self) -> int:
        """Steps that the checkpoint was trained for."""
        return self._loaded.step

    @property
    def iso_level(self) -> float:
        """Values of the field greater than this are inside."""
        return self.model.iso_level

    def reconstruct(
        self,
        x: Shape | Coded,
        *,
        resolution: int = 256,
        frame: int = 32,
        refine: int = 0,
        fit_steps: int = 0,
        faces: int | None = None,
        poses: int = 1,
        keep_islands: bool = False,
        as_mask: bool = False,
        part: str = "",
        name: str = "",
        batch_points: int = BATCH_POINTS,
    ) -> Any:
        """The model's surface of a shape: a trimesh.Trimesh in the frame of x, the same bytes as of generate.py.

        x: the path of a file, a trimesh.Trimesh, an array (D, H, W) of booleans or 0/1 (axes x, y, z; its longest axis
        is the cube's edge), an array (N, 3) of points, a PIL image, a nibabel image, or what `encode` gave.
        `resolution`: samples along each edge of the cube; `frame`: coarse grid, which finds parts thicker than
        1 / frame; `refine`, `fit_steps`, `faces`, `poses`, `keep_islands`: as those options of generate.py. `as_mask`:
        of a scan, a nibabel image (uint8, 0/1) on its own grid instead. `part`: of label volumes with several
        structures, which one (kidney/left). `name` of what is in memory keys what is drawn, of points and in fitting,
        as the stem does of a file.

        Raises FileNotFoundError; ValueError for an object of another kind, for what no file may hold either, for a kind
        of input that the run is not shown, and where the field has no surface. A UserWarning says what generate.py
        notes of a file: an input unlike those of training (where the run knows), points left out, inside and outside in
        doubt, too few `faces` for the shape.
        """
        asked = {"resolution": resolution, "frame": frame, "refine": refine, "fit_steps": fit_steps, "poses": poses}
        settings = self._settings(**asked, faces=faces)
        settings = dataclasses.replace(settings, islands=None) if keep_islands else settings
        # Whatever comes is what a file would hold: from here on it goes the way of generate.py, to the same bytes.
        given, name = (x, name) if isinstance(x, Coded) else self._input(x, part=part, name=name)
        if isinstance(given, Coded) and (fit_steps or poses > 1):
            raise ValueError("fit_steps, poses: a code is that of one input, as it was; give the shape itself")
        if as_mask and given.scan is None:
            raise ValueError("as_mask: expected a scan (a nibabel image or a NIfTI file): only it has a grid of voxels")
        if as_mask and faces is not None:
            raise ValueError("faces: a mask has none; ask for the mesh, without as_mask")
        surface = self._surface(given, settings, name=name, batch_points=batch_points)
        if surface.input_score is not None and (unlike := surface.input_score.note()):
            warnings.warn(f"{name}: {unlike}", stacklevel=2)
        if surface.note and not as_mask:
            warnings.warn(f"{name}: {surface.note}", stacklevel=2)
        if as_mask and given.scan is not None:
            values = mask_of_surface(surface, given.scan, settings, batch_points=batch_points, device=self.device)
            return scan_mask_image(values, given.scan)
        mesh, note = (surface.mesh, "") if faces is None else simplify_mesh(surface.mesh, faces)
        if note:
            warnings.warn(f"{name}: {note}", stacklevel=2)
        return _trimesh(mesh.transform(surface.to_world))

    def encode(self, x: Shape, *, part: str = "", name: str = "") -> Coded:
        """The code of a shape (`.code`: a tensor (1, Z), or the model's own volumes) and its place (`.to_world`, 4x4).

        Given to `reconstruct`, `field` and `interpolate` instead of the shape, it is not encoded again. Arguments and
        errors are those of `reconstruct`.
        """
        observed, _ = self._input(x, part=part, name=name)
        with torch.no_grad():
            code = self.model.encode(observed.inputs[None].to(self.device))
        return Coded(code, observed.to_world, observed.scan, points_of(observed))

    def field(
        self, points_N3: NDArray[np.floating], x: Shape | Coded, *, batch_points: int = BATCH_POINTS
    ) -> NDArray[np.float32]:
        """Values (N,) float32 of the field of x at points (N, 3) in the frame of x; inside is greater than `iso_level`.

        NaN beyond the cube that the model was trained in. Raises ValueError for points of another shape, NaN among
        them, and what `encode` raises.
        """
        points_N3 = np.asarray(points_N3)
        if points_N3.ndim != 2 or points_N3.shape[1] != 3 or points_N3.dtype.kind not in "fiu":
            raise ValueError(f"points: expected numbers (N, 3), got {points_N3.shape} {points_N3.dtype}")
        if not np.isfinite(points_N3).all():
            raise ValueError(f"points: {int((~np.isfinite(points_N3)).any(axis=1).sum())} of them hold NaN or infinity")
        # Points may come in the frame of the shape: the network knows its cube alone.
        given = x if isinstance(x, Coded) else self.encode(x)
        cube_N3 = transform_points(points_N3, np.linalg.inv(given.to_world))
        # Beyond the cube the model was never asked in training: what it would say there means nothing.
        within_N = (np.abs(cube_N3) <= 0.5).all(axis=1)
        asked = torch.from_numpy(cube_N3[within_N].astype(np.float32)).to(self.device)
        values_N = np.full(len(cube_N3), np.nan, dtype=np.float32)
        with torch.no_grad():
            field = field_of(self.model, given.code)
            values_N[within_N] = evaluate_field(field, asked, batch_points=_batch(batch_points)).cpu().numpy()
        return values_N

    def sample(
        self, n: int, seed: int = 0, *, resolution: int = 256, frame: int = 32, refine: int = 0
    ) -> list[trimesh.Trimesh]:
        """`n` new shapes out of noise, in the cube: the same for a seed, the first of many being those of few.

        Raises ValueError when the model makes no new shapes, or one of them has no surface.
        """
        if not isinstance(self.model, MakesShapes):
            raise ValueError(f"{self.path}: its model makes no new shapes: sample() wants a run of imnet_latent_gan")
        if n < 1:
            raise ValueError(f"n: expected at least one sample, got {n}")
        # A generator of its own: the caller's random numbers are not moved, and a seed says all.
        codes_NZ = self.model.sample(n, torch.Generator().manual_seed(seed))
        settings = self._settings(resolution=resolution, frame=frame, refine=refine)
        return self._meshes([code_Z[None] for code_Z in codes_NZ], settings, what="sample")

    def interpolate(
        self,
        a: Shape | Coded,
        b: Shape | Coded,
        steps: int = 9,
        *,
        resolution: int = 256,
        frame: int = 32,
        refine: int = 0,
    ) -> list[trimesh.Trimesh]:
        """`steps` shapes from a to b, both included, in the cube: straight in the space of codes.

        Raises ValueError when the model's code is not one vector, for fewer than two steps, and what `encode` raises.
        """
        if steps < 2:
            raise ValueError(f"steps: expected at least 2 (the two shapes themselves), got {steps}")
        first, last = (end.code if isinstance(end, Coded) else self.encode(end).code for end in (a, b))
        settings = self._settings(resolution=resolution, frame=frame, refine=refine)
        return self._meshes(codes_between(first, last, steps), settings, what="step")

    @functools.cached_property
    def _usual(self) -> InputCalibration | None:
        return load_input_calibration(self._run, model_hash=self._loaded.model_hash, section=self.config.data.input)

    @functools.cached_property
    def _preparation(self) -> DataConfig:
        return preparation_of(self._run)

    def _settings(self, *, faces: int | None = None, **asked: int) -> GenerationConfig:
        for key, value in [*asked.items(), *([] if faces is None else [("faces", faces)])]:
            if not isinstance(value, numbers.Integral):
                raise ValueError(f"{key}: expected a whole number, got {value!r}")
        section, poses = self.config.data.input, asked.get("poses", 1)
        poses_of(section, poses)  # one error before any work
        return GenerationConfig(
            model_hash=self._loaded.model_hash,
            resolution=asked["resolution"],
            frame=asked["frame"],
            refine_steps=asked["refine"],
            suffix=".ply",
            iso_level=self.iso_level,
            fit_steps=asked.get("fit_steps", 0),
            faces=faces,
            islands="drop and fill" if drops_islands(section) else None,
            poses=poses if poses > 1 else None,
        )

    def _input(self, x: Shape, *, part: str, name: str) -> tuple[Observed, str]:
        """A shape as the network sees it, and the name that keys its draws. Warns of what generate.py would note."""
        with sparing_kernels():  # as generate.py: one shape is there before they are compiled
            observed, name = self._observed(x, part=part, name=name)
        if observed.note:
            warnings.warn(f"{name}: {observed.note}", stacklevel=3)
        return observed, name

    def _observed(self, x: Shape, *, part: str, name: str) -> tuple[Observed, str]:
        if isinstance(x, str | Path):
            return self._observed_file(Path(x), part=part, name=name)
        loaded, where = loaded_input(x)
        # Of label volumes the part is in the name, as in that of a file: the name keys what is drawn.
        name, labels = name or INPUT_NAME, self._preparation.labels
        if labels is not None and isinstance(loaded, OpenScan):
            name = find_part(part, labels).name(name)
        observe = functools.partial(
            observe_in_memory,
            loaded,
            self._preparation,
            self.config.data.input,
            name=name,
            where=where,
            part=part,
            device=self.device,
        )
        # Under one roof with files: what a library raises on odd numbers is an error of the shape, not of the caller's
        # program.
        with _one_error():
            if isinstance(loaded, OpenScan):
                return observe(), name
            with _threads_for(loaded) if isinstance(loaded, TriangleMesh) else contextlib.nullcontext():
                return self._once((content_digest(loaded), name), observe), name

    def _once(self, key: tuple[str, ...], observe: Callable[[], Observed]) -> Observed:
        """The same content again, at another resolution or other points, is not prepared again."""
        if self._last is None or self._last[0] != key:
            self._last = key, observe()
        return self._last[1]

    def _observed_file(self, file: Path, *, part: str, name: str) -> tuple[Observed, str]:
        """As generate.py --input does."""
        if not file.is_file():
            raise FileNotFoundError(f"{file} does not exist, or is no file")
        # The very listing of the command: names, parts and errors are its own.
        items = items_of_files([file], self._run, section=self.config.data.input, device=self.device)
        if len(items) > 1 or part:
            labels = self._preparation.labels
            if labels is None or len(items) != len(part_keys(labels)):
                raise ValueError(f"part: {file} is not a label volume of this run's structures, got part {part!r}")
            items = [items[part_keys(labels).index(find_part(part, labels).key)]]
        item = items[0]
        if name not in ("", item.name):
            raise ValueError(f"name: a file is called by its stem, {item.name}; got {name!r}: name what is in memory")
        observe = cast(Callable[[], Observed], item.load)  # of a file, no code
        return self._once((item.origin(), item.name), observe), item.name

    def _surface(
        self, given: Observed | Coded, settings: GenerationConfig, *, name: str, batch_points: int = BATCH_POINTS
    ) -> ModelSurface:
        points = _batch(batch_points)
        return surface_of(
            self.model,
            given,
            settings,
            name=name,
            batch_points=points,
            device=self.device,
            unfinished=self._loaded.unfinished,
            usual=self._usual,
            section=self.config.data.input,
        )

    def _meshes(self, codes: list[torch.Tensor], settings: GenerationConfig, *, what: str) -> list[trimesh.Trimesh]:
        meshes = []
        for number, code in enumerate(codes):
            try:
                meshes.append(_trimesh(self._surface(Coded(code), settings, name="").mesh))
            except ValueError as error:
                raise ValueError(f"{what} {number} of {len(codes)}: {reason_of(error)}") from error
        return meshes


def occupancy(mesh: str | Path | trimesh.Trimesh, resolution: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """What is inside any triangle mesh, closed or not: (R, R, R) bool, axes x, y, z, and `to_world` (4, 4).

    Voxel i has its centre at (i + 0.5) / R - 0.5 of the cube; the mesh's box stands in its middle, its longest edge
    0.9 long, as `isofield prepare` puts it. `to_world` takes cube coordinates to the frame of the mesh. A UserWarning
    says where inside and outside are doubtful. Raises FileNotFoundError, ValueError.
    """
    if resolution < 2:
        raise ValueError(f"resolution: expected at least 2 voxels along an edge, got {resolution}")
    shape, by = mesh_of(mesh), NormalisationConfig()
    to_world = normalising_to_world(*shape.bounds(), by=by.by, length=by.length)
    with sparing_kernels(), _threads_for(shape):
        solid = occupancy_grid(shape.transform(np.linalg.inv(to_world)), resolution, InsideConfig(), device="cpu")
    if solid.quality != "ok":
        warnings.warn(f"{mesh}: {solid.quality} (by method {solid.method})", stacklevel=2)
    return solid.grid_RRR.numpy().astype(bool), to_world


@contextlib.contextmanager
def _one_error() -> Iterator[None]:
    """Whatever a library chokes on becomes a ValueError, as in generate.py."""
    try:
        yield
    except (ValueError, FileNotFoundError):
        raise
    except SHAPE_ERRORS as error:
        raise ValueError(reason_of(error)) from error


def _threads_for(mesh: TriangleMesh) -> contextlib.AbstractContextManager[None]:
    return threads_for_mesh(mesh.vertices.nbytes + mesh.faces.nbytes)


def _batch(points: int) -> int:
    if points < 1:
        raise ValueError(f"batch_points: expected at least 1, got {points}")
    return points


def _trimesh(mesh: TriangleMesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False, validate=False)
