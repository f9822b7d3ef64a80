"""Meshes out of a trained model: one shape after the other, each written whole or not at all, a row for every one."""

import functools
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.formats.mesh_files import write_mesh
from data_processing.loading.network_inputs import InputConfig
from data_processing.loading.single_inputs import Observed
from isofield.contract import Model
from isofield.generation.files_beside import write_beside
from isofield.generation.made_before import row_before
from isofield.generation.manifest import made_from, read_line, write_manifest
from isofield.generation.mesh_sizes import describe_sizes
from isofield.generation.out_of_distribution import InputCalibration
from isofield.generation.simplification import simplify_mesh
from isofield.generation.surfaces import Coded, GenerationConfig, ModelSurface, mask_of_surface, surface_of
from isofield.run_dir import exclusive, mesh_in
from isofield.runtime.atomic_files import remove_leftovers
from isofield.runtime.distributed import Group
from isofield.runtime.journal import RECORD, Journal
from isofield.runtime.progress import Progress
from isofield.runtime.reasons import reason_of

WHAT = "generation"  # in messages


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
