"""Meshes out of a trained model: one shape after the other, each written whole or not at all, a row for every one."""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from data_processing.files import write_text
from data_processing.meshes import write_mesh
from engine.contract import Model
from engine.distributed import Group
from engine.extraction import extract
from engine.run_dir import journal_file, journal_files, manifest_file, mesh_in


@dataclass(frozen=True)
class Settings:
    """What decides how a mesh comes out; a mesh made with other settings is made again."""

    model_hash: str
    resolution: int
    frame: int
    refine_steps: int
    suffix: str
    iso_level: float

    def __post_init__(self) -> None:
        if self.resolution < 2 or self.frame < 1 or self.refine_steps < 0:
            raise ValueError(
                f"expected a resolution of at least 2, a frame of at least 1, no negative refinement; got "
                f"{self.resolution}, {self.frame}, {self.refine_steps}"
            )


@dataclass(frozen=True)
class Item:
    """One shape to generate.

    `load` gets at its voxels (R, R, R) 0/1 and `to_world` (4, 4). `origin` tells what it is made from: a mesh made from
    something else under the same name is made again. Both raise ValueError when the shape cannot be had.
    """

    name: str
    load: Callable[[], tuple[NDArray[np.uint8], NDArray[np.float64]]]
    origin: Callable[[], str]


def generate(
    model: Model,
    items: Sequence[Item],
    folder: Path,
    *,
    settings: Settings,
    batch_points: int,
    group: Group,
    header: dict[str, Any],
) -> list[dict[str, Any]]:
    """Write a mesh for each item into `folder` and the manifest beside them; returns this rank's rows.

    Shapes that are there, of the same origin and with the same settings, are not made again. A shape that fails is a
    row with its reason.
    """
    if batch_points < 1:
        raise ValueError(f"expected at least one point in a batch, got {batch_points}")
    folder.mkdir(parents=True, exist_ok=True)
    done = _done_before(folder, settings)
    rows = []
    with open(journal_file(folder, group.rank), "a", encoding="utf-8") as journal:
        journal.write("\n")  # a kill may have cut the last line
        for item in tqdm(items, unit="shape", disable=not group.is_first):
            row = done.get(item.name)
            if row is None or row.get("origin") != _origin_of(item):
                row = _attempt(model, item, folder, settings, batch_points, group.device)
                journal.write(json.dumps({**row, "settings": asdict(settings)}) + "\n")
                journal.flush()
                os.fsync(journal.fileno())
            rows.append(row)
    group.wait()
    if group.is_first:
        write_manifest(folder, settings, header)
    group.wait()
    return rows


def write_manifest(folder: Path, settings: Settings, header: dict[str, Any]) -> None:
    """manifest.json out of the journals of all ranks: the last row of each shape, sorted by name."""
    rows = {name: row for name, (row, made_with) in _journal(folder).items() if made_with == asdict(settings)}
    shapes = [rows[name] for name in sorted(rows)]
    content = {**header, **asdict(settings), "shapes": shapes}
    write_text(manifest_file(folder), json.dumps(content, indent=1) + "\n")


def field_of(model: Model, code: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """The field of one code: (N, 3) cube coordinates to (N,)."""
    return lambda points_N3: model.decode(points_N3[None], code)[0]


def _attempt(
    model: Model, item: Item, folder: Path, settings: Settings, batch_points: int, device: torch.device
) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        row = _make(model, item, folder, settings, batch_points, device)
    except ValueError as error:
        row = {"name": item.name, "status": "failed", "reason": str(error)}
    return {**row, "seconds": round(time.perf_counter() - began, 3)}


def _make(
    model: Model, item: Item, folder: Path, settings: Settings, batch_points: int, device: torch.device
) -> dict[str, Any]:
    voxels_RRR, to_world = item.load()
    with torch.no_grad():
        code = model.encode(torch.from_numpy(voxels_RRR).to(device).float()[None, None])
    extraction = extract(
        field_of(model, code),
        iso_level=settings.iso_level,
        resolution=settings.resolution,
        frame=settings.frame,
        refine_steps=settings.refine_steps,
        batch_points=batch_points,
        device=device,
    )
    mesh = extraction.mesh
    if len(mesh.faces) == 0:
        raise ValueError(f"the field crosses {settings.iso_level} nowhere at {settings.resolution}^3: no surface")
    file = mesh_in(folder, item.name, settings.suffix)
    write_mesh(file, mesh.transformed(to_world))
    return {
        "name": item.name,
        "origin": item.origin(),
        "file": file.relative_to(folder).as_posix(),
        "status": "done",
        "reason": "",
        "evaluations": extraction.evaluations,
        "refinement_evaluations": extraction.refinement_evaluations,
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        "to_world": np.asarray(to_world).tolist(),
    }


def _done_before(folder: Path, settings: Settings) -> dict[str, dict[str, Any]]:
    """Rows of shapes whose mesh is there, made with the same settings. Failed ones are tried again."""
    return {
        name: row
        for name, (row, made_with) in _journal(folder).items()
        if made_with == asdict(settings) and row["status"] == "done" and (folder / row["file"]).is_file()
    }


def _journal(folder: Path) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """The last row of each shape, with the settings it was made with; a line cut by a kill is left out."""
    found = {}
    for file in journal_files(folder):
        for row in _lines(file):
            made_with = row.pop("settings")
            found[row["name"]] = (row, made_with)
    return found


def _origin_of(item: Item) -> str | None:
    """None when the shape cannot be had: making it then says why."""
    try:
        return item.origin()
    except ValueError:
        return None


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # cut by a kill: that shape is made again
        if isinstance(row, dict) and {"name", "status", "settings"} <= set(row):
            yield row
