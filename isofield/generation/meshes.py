"""Meshes out of a trained model: one shape after the other, each written whole or not at all, a row for every one."""

import dataclasses
import functools
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.formats.mesh_files import write_mesh
from data_processing.formats.nifti import ScanGrid
from data_processing.formats.point_clouds import PointCloud
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.loading.network_inputs import InputConfig
from data_processing.loading.single_inputs import Observed
from data_processing.medical.masks import mask_on_scan
from isofield.contract import Model
from isofield.extraction.isosurface import Extraction, extract
from isofield.extraction.lattice import Field, evaluate_field, field_of
from isofield.generation.files_beside import write_beside
from isofield.generation.islands import without_islands
from isofield.generation.made_before import row_before
from isofield.generation.manifest import made_from, read_line, write_manifest
from isofield.generation.mesh_sizes import describe_sizes
from isofield.generation.out_of_distribution import InputCalibration, InputScore, measure_input
from isofield.generation.posed_inputs import averaged_field, encode_poses, poses_of
from isofield.generation.simplification import refuse_few, simplify_mesh
from isofield.generation.test_time_fitting import fitted_code
from isofield.run_dir import exclusive, mesh_in
from isofield.runtime.atomic_files import remove_leftovers
from isofield.runtime.distributed import Group
from isofield.runtime.journal import RECORD, Journal
from isofield.runtime.progress import Progress
from isofield.runtime.reasons import reason_of

WHAT = "generation"  # in messages
MASK_MARGIN = 2.0  # samples beyond the mesh within which voxels of a scan are asked


@dataclass(frozen=True)
class GenerationConfig:
    """What decides how a mesh comes out; a mesh made with other settings is made again."""

    model_hash: str
    resolution: int
    frame: int
    refine_steps: int
    suffix: str
    iso_level: float
    with_input: bool = False  # write the input as the network saw it beside the mesh
    fit_steps: int = 0  # the encoder is tuned on each input
    fit_rate: float = 1e-4
    faces: int | None = None  # at most so many in each mesh; None: all that it has
    input_points: int | None = None  # points that are shown of each cloud; None: as in training
    islands: Literal["drop"] | None = None  # pieces that no shown point is near: left out, or (None) kept
    poses: int | None = None  # in which each input is shown, the fields averaged; None: as it stands
    input_calibration: str | None = None  # its fingerprint, where inputs are compared with those of training

    def __post_init__(self) -> None:
        if self.fit_steps < 0 or not 0 < self.fit_rate < float("inf"):
            got = f"got {self.fit_steps} at {self.fit_rate}"
            raise ValueError(f"--fit-steps: expected no negative steps of fitting, at a positive --fit-rate; {got}")
        if self.resolution < 2 or self.frame < 1 or self.refine_steps < 0:
            raise ValueError(
                f"expected a --resolution of at least 2, a --frame of at least 1, no negative --refine; got "
                f"{self.resolution}, {self.frame}, {self.refine_steps}"
            )
        if self.poses is not None and self.fit_steps:
            raise ValueError("--poses: an encoder is fitted to an input as it stands; leave out --poses or --fit-steps")
        refuse_few(self.faces)

    def made_with(self) -> dict[str, Any]:
        """What a mesh is made with, for its fingerprint; what came later counts where it is set: older meshes stand."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, eq=False)
class Coded:
    """A shape given by its code instead of an input; `to_world` and `scan` as of `Observed`.

    `points_N3`: what was shown of it, in the cube, where islands are to be told by that.
    """

    code: Any
    to_world: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.eye(4))
    scan: ScanGrid | None = None
    points_N3: NDArray[np.floating] | None = None


@dataclass(frozen=True)
class Item:
    """One shape to generate.

    `load` gets at its input, or at its code. `origin` tells what it is made from: a mesh made from something else under
    the same name is made again. Both raise ValueError when the shape cannot be had.
    """

    name: str
    load: Callable[[], Observed | Coded]
    origin: Callable[[], str]


def generate(
    model: Model,
    items: Sequence[Item],
    folder: Path,
    *,
    settings: GenerationConfig,
    batch_points: int,
    group: Group,
    header: dict[str, Any],
    only: Collection[str] | None = None,
    unfinished: str = "",
    keep_failed: bool = False,
    count: int | None = None,
    usual: InputCalibration | None = None,
    section: InputConfig | None = None,
) -> list[dict[str, Any]]:
    """Write a mesh for each item into `folder` and the manifest beside them; returns this rank's rows.

    Shapes that are there, of the same origin and with the same settings, are not made again. A shape that fails is a
    row with its reason. The manifest lists what was ever generated into the folder with these settings, or `only` those
    names. `unfinished`: of a model whose training is not, told where it draws nothing. `count`: shapes of all ranks, of
    which the first rank tells how large they will be. `keep_failed`: what failed with these settings is not tried
    again. `usual`: what inputs are compared with; rows then say how far theirs is. `section`: of `surface_of`. Of a
    part only the meshes are made. ValueError when another process is at it.
    """
    if batch_points < 1:
        raise ValueError(f"--batch-points: expected at least one point, got {batch_points}")
    with exclusive(folder, group.rank, what=WHAT, part=group.part):
        if group.part is None:  # others may be writing
            remove_leftovers({folder} | {mesh_in(folder, item.name, "").parent for item in items})
        journal = Journal(folder, group.rank, read=read_line, record=RECORD, takes_record=group.part is None)
        group.wait()  # nobody writes before all have
        work = (model, folder, settings, batch_points, group.device, unfinished, keep_failed, usual, section)
        job = _GenerationJob(*work)
        rows = _rows(job, items, journal, group, count=len(items) if count is None else count)
        group.wait()
        if group.is_first:
            write_manifest(journal, folder, settings.made_with(), header, only)
            journal.keep_record()
        group.wait()
    return rows


@dataclass(frozen=True)
class ModelSurface:
    """What a model makes of an input or a code: the mesh in cube coordinates, the field that it is the surface of."""

    extraction: Extraction
    field: Field
    to_world: NDArray[np.float64]  # 4x4, cube -> frame of the input
    fitting: dict[str, float]  # losses before and after fitting; empty without
    input_score: InputScore | None = None  # of an input, where the run says what is usual
    note: str = ""  # what was left out of the mesh

    @property
    def mesh(self) -> TriangleMesh:
        """In the cube."""
        return self.extraction.mesh


def surface_of(
    model: Model,
    given: Observed | Coded,
    settings: GenerationConfig,
    *,
    name: str,
    batch_points: int,
    device: torch.device,
    unfinished: str = "",
    usual: InputCalibration | None = None,
    section: InputConfig | None = None,
) -> ModelSurface:
    """The surface of one shape. `name` keys the draws of fitting. ValueError when the field has no surface.

    `section`: the input that the run is shown, where settings ask for several poses of it.

    `unfinished`: what is to be said of a model whose training did not come to its end. `usual`: what inputs are
    compared with; a code that is given alone is not.
    """
    code, fitting = _code_of(model, given, settings, name=name, device=device)
    field = field_of(model, code)
    if settings.poses is not None and section is not None and not isinstance(given, Coded):
        poses = poses_of(section, settings.poses)
        others = encode_poses(model, given.inputs, points_of(given), section, poses[1:], device=device)
        field = averaged_field(model, [code, *others], poses)
    extraction = extract(
        field,
        iso_level=settings.iso_level,
        resolution=settings.resolution,
        frame=settings.frame,
        refine_steps=settings.refine_steps,
        batch_points=batch_points,
        device=device,
    )
    if len(extraction.mesh.faces) == 0:
        reason = f"the field crosses {settings.iso_level} nowhere at {settings.resolution}^3: no surface"
        raise ValueError(f"{reason} yet: {unfinished}" if unfinished else reason)
    score = None
    if usual is not None and not isinstance(given, Coded):
        # The encoder as it was trained: what was fitted to this very input finds it usual.
        own = _encoded(model, given, device) if fitting else code
        about = (own, field_of(model, own), extraction.mesh)
        values, points = measure_input(usual.distance, usual.parts, given, *about, iso_level=settings.iso_level)
        score = usual.judge(values, points)
    note = ""
    # Of a scan a mask is made as well, out of the field, which keeps its islands: the mesh is not to differ from it.
    if settings.islands == "drop" and given.scan is None and (points_N3 := points_of(given)) is not None:
        mesh, note = without_islands(extraction.mesh, points_N3)
        extraction = dataclasses.replace(extraction, mesh=mesh)
    return ModelSurface(extraction, field, given.to_world, fitting, score, note)


def points_of(given: Observed | Coded) -> NDArray[np.floating] | None:
    """The points (N, 3) that the network was shown, in the cube; None of what is no cloud."""
    if isinstance(given, Coded):
        return given.points_N3
    shown = given.shown()
    return shown.points_N3 if isinstance(shown, PointCloud) else None


def mask_of_surface(
    surface: ModelSurface, scan: ScanGrid, settings: GenerationConfig, *, batch_points: int, device: torch.device
) -> NDArray[np.uint8]:
    """The field at the scan's own voxel centres, 0/1 of `scan.shape`: nothing is asked far from the mesh."""
    lower, upper = surface.mesh.bounds()
    margin = MASK_MARGIN / settings.resolution
    return mask_on_scan(
        functools.partial(evaluate_field, surface.field, batch_points=batch_points),
        iso_level=settings.iso_level,
        to_world=surface.to_world,
        scan=scan,
        device=device,
        box=(lower - margin, upper + margin),
    )


@dataclass(frozen=True)
class _GenerationJob:
    """What is the same for all shapes."""

    model: Model
    folder: Path
    settings: GenerationConfig
    batch_points: int
    device: torch.device
    unfinished: str = ""
    keep_failed: bool = False
    usual: InputCalibration | None = None
    section: InputConfig | None = None


def _rows(
    job: _GenerationJob, items: Sequence[Item], journal: Journal, group: Group, *, count: int
) -> list[dict[str, Any]]:
    """Of these items, each noted as soon as its mesh is written: by a thread, while the next one is extracted."""
    rows, made_with, under_way = [], job.settings.made_with(), deque[tuple[Item, Future[dict[str, Any]]]]()

    def note() -> None:
        while under_way:
            item, written = under_way.popleft()
            row = written.result()
            journal.add(item.name, made_from(made_with, row.get("origin")), row)
            rows.append(row)
            if told or row["status"] == "failed":
                continue
            told.append(item.name)
            if group.is_first:
                progress.write(describe_sizes(row, job.folder, count=count))

    told: list[str] = []  # the shape by which was told how large all will be
    with (
        journal,
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="meshes") as writer,
        Progress(len(items), what="generate", unit="shape", shown=group.is_shown) as progress,
    ):
        try:
            for item in items:
                row = row_before(item, journal, made_with, job.folder, keep_failed=job.keep_failed)
                write = _attempt(job, item) if row is None else None
                note()  # of the item before: a disk that is full ends it here
                if write is not None:
                    under_way.append((item, writer.submit(write)))
                elif row is not None:
                    rows.append(row)
                progress.update()
        finally:  # also when it is stopped: what is written is noted
            note()
    return rows


Write = Callable[[], dict[str, Any]]  # files, and their row


def _attempt(job: _GenerationJob, item: Item) -> Write:
    """All that takes the device, now; what is left to do needs files only. Its row has the seconds of both."""
    began = time.perf_counter()
    try:
        write = _make(job, item)
    except ValueError as error:
        write = functools.partial(_failed, item, reason_of(error))
    spent = time.perf_counter() - began

    def attempt() -> dict[str, Any]:
        began = time.perf_counter()
        try:
            row = write()
        except ValueError as error:
            row = _failed(item, reason_of(error))
        return {**row, "seconds": round(spent + time.perf_counter() - began, 3)}

    return attempt


def _failed(item: Item, reason: str) -> dict[str, Any]:
    return {"name": item.name, "status": "failed", "reason": reason}


def _make(job: _GenerationJob, item: Item) -> Write:
    given = item.load()
    how: dict[str, Any] = {"batch_points": job.batch_points, "device": job.device}
    about: dict[str, Any] = {
        "name": item.name,
        "unfinished": job.unfinished,
        "usual": job.usual,
        "section": job.section,
    }
    surface = surface_of(job.model, given, job.settings, **about, **how)
    mask = None
    if given.scan is not None and not isinstance(given, Coded):
        mask = mask_of_surface(surface, given.scan, job.settings, **how)
    return functools.partial(_write, job, item, given, surface, mask)


def _write(
    job: _GenerationJob,
    item: Item,
    given: Observed | Coded,
    surface: ModelSurface,
    mask: NDArray[np.uint8] | None,
) -> dict[str, Any]:
    extraction, to_world, settings = surface.extraction, surface.to_world, job.settings
    files: dict[str, str] = {}
    if not isinstance(given, Coded):
        shown = settings.with_input or given.cut_out
        files = write_beside(job.folder, item.name, given, mask, suffix=settings.suffix, with_input=shown)
    mesh, notes = surface.mesh, [given.note] if isinstance(given, Observed) and given.note else []
    if settings.faces is not None:
        mesh, note = simplify_mesh(mesh, settings.faces)
        notes.append(note)
    notes.append(surface.note)
    if surface.input_score is not None:
        notes.append(surface.input_score.note())
    notes = list(filter(None, notes))
    # The mesh is written last: where it lies, everything beside it lies as well.
    file = mesh_in(job.folder, item.name, job.settings.suffix)
    write_mesh(file, mesh.transform(to_world))
    return {
        "name": item.name,
        "origin": item.origin(),
        "file": file.relative_to(job.folder).as_posix(),
        **files,
        "status": "done",
        "reason": "",
        **({"note": "; ".join(notes)} if notes else {}),
        **surface.fitting,
        **({} if surface.input_score is None else surface.input_score.row()),
        "evaluations": extraction.evaluations,
        "refinement_evaluations": extraction.refinement_evaluations,
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        **({} if settings.faces is None else {"faces_before": len(surface.mesh.faces)}),
        "to_world": to_world.tolist(),
    }


def _code_of(
    model: Model, given: Observed | Coded, settings: GenerationConfig, *, name: str, device: torch.device
) -> tuple[Any, dict[str, float]]:
    """The code of a shape: its own, that of its input, or that of an encoder fitted to it, then with the losses."""
    if isinstance(given, Coded):
        return given.code, {}
    if settings.fit_steps:
        steps, rate = settings.fit_steps, settings.fit_rate
        return fitted_code(model, given, name=name, steps=steps, rate=rate, device=device)
    return _encoded(model, given, device), {}


def _encoded(model: Model, given: Observed, device: torch.device) -> Any:
    with torch.no_grad():
        return model.encode(given.inputs[None].to(device))
