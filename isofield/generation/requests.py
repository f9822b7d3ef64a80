"""What `generate.py` was asked for: shapes of a split, the user's own files, new shapes, or a walk between two."""

import dataclasses
import functools
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path

import torch

from data_processing.loading.network_inputs import CLOUDS, InputConfig
from data_processing.store.shape_set import open_shapes
from isofield.config import RunConfig
from isofield.contract import Model
from isofield.generation.inputs import items_of_files, items_of_split
from isofield.generation.latent_shapes import end_of_walk, items_of_samples, items_of_walk, walk_name
from isofield.generation.meshes import Item
from isofield.packs.find_run import find_data
from isofield.run_dir import RunDir


@dataclass(frozen=True)
class Requests:
    """Shapes to generate, and the folder of the run they go to.

    whole: these shapes alone belong to the folder; others that are there are of an earlier request. `about` goes into
    the manifest.
    """

    items: list[Item]
    folder: Path
    whole: bool = False
    about: dict[str, int | str] = field(default_factory=dict)


def requests_of(
    arguments: Namespace, model: Model, config: RunConfig, run: RunDir, *, device: torch.device
) -> Requests:
    """The items of a command line (generate.py). ValueError, FileNotFoundError for what is not there."""
    data, seed = config.data, config.training.seed
    shown = _shown(data.input, arguments.points)
    shapes_here = functools.cache(lambda: open_shapes(find_data(run, data.path, arguments.data)))
    # Exactly one of the four is there: the parser saw to it. Each has a folder of its own in the run.
    files = functools.partial(items_of_files, run=run, section=shown, overrides=arguments.set, device=device)
    if arguments.split:
        shapes = shapes_here()
        items = items_of_split(shapes, arguments.split, data.categories, section=shown, seed=seed)
        return Requests(items, run.meshes(arguments.split))
    if arguments.samples is not None:
        items = items_of_samples(model, arguments.samples, seed=arguments.seed)
        return Requests(items, run.meshes("samples"), whole=True, about={"seed": arguments.seed})
    if arguments.interpolate:
        ends = [
            end_of_walk(text, shapes_here, lambda file: files([file]), section=shown, seed=seed)
            for text in arguments.interpolate
        ]
        first, last = arguments.interpolate
        items = items_of_walk(model, ends, arguments.steps, device=device)
        return Requests(items, run.meshes(walk_name(first, last)), whole=True, about={"from": first, "to": last})
    folder = run.meshes("input")
    return Requests(files(arguments.input, out=arguments.out or folder), folder)


def _shown(section: InputConfig, points: int | None) -> InputConfig:
    """The input of the run, with another number of points where one was asked for. ValueError where none are shown."""
    if points is None:
        return section
    if section.kind not in CLOUDS:
        raise ValueError(f"--points: this run is shown {section.kind}, no points: leave it out")
    if points < 0:
        raise ValueError(f"--points: expected a number of points (0: all there are), got {points}")
    return dataclasses.replace(section, points=points, fewest=0)
