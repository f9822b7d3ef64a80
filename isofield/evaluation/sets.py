"""Which shapes a set of samples is judged against: of a run and its data set, or of two folders. Names need not match.

Nothing is dropped here: a sample or reference that is missing is a member that says why. Shapes of a data set are
brought into its cube, where samples are: in the frames of their files they would not even share their axes.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_processing.formats.mesh_files import MESH_SUFFIXES
from data_processing.formats.voxel_files import GridConfig
from data_processing.loading.batches import all_members
from data_processing.store.shape_set import ShapeSet
from isofield.config import read_run_config
from isofield.evaluation.ground_truth import TRUTH_SUFFIXES, GroundTruth, MeshTruth, truth_of_shape
from isofield.evaluation.names import MOST_TRAINING_SHAPES
from isofield.evaluation.pairs import (
    SAMPLES,
    FileTruth,
    StoredTruth,
    Truth,
    beside,
    entries_in,
    files_by_name,
    made_with,
    open_once,
    read_manifest,
)
from isofield.packs.find_run import find_data, find_run
from isofield.run_dir import manifest_file
from isofield.runtime import seeds
from isofield.runtime.invocation import next_command


@dataclass(frozen=True)
class CubeTruth(StoredTruth):
    """A shape of a data set in the data set's cube, by its place: small enough to send to another process."""

    def load(self) -> GroundTruth:
        shapes = open_once(self.shapes)
        truth = truth_of_shape(shapes, self.index, against=self.against)
        return MeshTruth(truth.solid().transform(np.linalg.inv(shapes.to_world(self.index))))


@dataclass(frozen=True)
class Member:
    """One shape of a set. `reason`: why it is not there; empty when it is."""

    name: str
    truth: Truth | None
    reason: str = ""

    def load(self) -> GroundTruth:
        """The shape. Raises ValueError or OSError that says why it cannot be had."""
        if self.truth is None:
            raise ValueError(self.reason or "missing")
        loaded: GroundTruth = self.truth.load()
        return loaded


@dataclass(frozen=True)
class Sets:
    """What one call of evaluate.py judges. `training`: what the samples may have been copied from; may be empty.

    `about`: where everything came from, for the settings of the results. `label`: begins the names of the results.
    """

    samples: list[Member]
    references: list[Member]
    training: list[Member]
    title: str
    out: Path
    about: dict[str, Any]
    label: str
    split: str | None = None
    report: str = "report-samples.html"  # beside that of pairs

    def result_file(self, out: Path, protocol: str, suffix: str) -> Path:
        """samples-SPLIT-PROTOCOL.SUFFIX of a run, samples-PROTOCOL.SUFFIX of two folders."""
        return out / f"{self.label}-{protocol}{suffix}"


def run_to_judge(
    path: Path,
    split: str,
    *,
    against: str = "source",
    data: Path | None = None,
    training_shapes: int = MOST_TRAINING_SHAPES,
    seed: int = 0,
) -> Sets:
    """The samples of a run against the shapes of a split of its data set, beside those it was trained on.

    `training_shapes`: the most of them, drawn by the seed; 0: none. Raises FileNotFoundError when the run has no
    samples, ValueError for an unknown split.
    """
    run = find_run(path)
    config = read_run_config(run.existing().config_file).data
    manifest = read_manifest(run, SAMPLES)
    place = find_data(run, config.path, data)
    # The data set is opened once for all splits.
    members = functools.partial(_of_split, open_once(place), place, categories=config.categories, against=against)
    references, training, note = members(split), list[Member](), "none: asked for none"
    if split == "train":
        note = "none: the references are the training shapes"
    elif "train" not in open_once(place).splits:
        note = f"none: {place} has no split train"
    elif training_shapes:
        prepared = [member for member in members("train") if member.truth]  # nobody trained on what failed
        training, note = _at_most(prepared, training_shapes, seed)
    # Everything that decides the numbers is written beside them.
    about = {"run": str(path), "samples": str(run.meshes(SAMPLES)), "references": f"split {split}, {against}"}
    about |= {"training": note, "frame": "cube of the data set"}
    about |= {f"samples_{key}" if key == "seed" else key: value for key, value in made_with(manifest).items()}
    title = f"{run.path.resolve().name}: samples against the {split} split"
    samples = _of_manifest(manifest, run.meshes(SAMPLES))
    return Sets(samples, references, training, title, run.evaluation, about, f"{SAMPLES}-{split}", split)


def folders_to_judge(
    samples: Path,
    references: Path,
    *,
    training: Path | None = None,
    training_shapes: int = MOST_TRAINING_SHAPES,
    seed: int = 0,
    grid: GridConfig | None = None,
) -> Sets:
    """Two folders, and one of the training shapes where it is given; results go beside the samples.

    Raises FileNotFoundError when a folder is missing or holds no shape.
    """
    trained, note = list[Member](), "none: no folder of training shapes was given"
    if training is not None and training_shapes:
        trained, note = _at_most(_of_folder(training, TRUTH_SUFFIXES, grid), training_shapes, seed)
        note = f"{training}: {note}"
    about = {"samples": str(samples), "references": str(references), "training": note, "frame": "that of the files"}
    found = _of_folder(samples, MESH_SUFFIXES), _of_folder(references, TRUTH_SUFFIXES, grid)
    return Sets(*found, trained, f"{samples} against {references}", beside(samples), about, SAMPLES)


def _of_split(shapes: ShapeSet, place: Path, split: str, *, categories: Sequence[str], against: str) -> list[Member]:
    indices, failed = all_members(shapes, split, categories)
    members = [Member(shapes.names[index], CubeTruth(place, index, against)) for index in indices]
    return members + [Member(shape.name, None, f"preparation failed: {shape.reason}") for shape in failed]


def _of_manifest(manifest: dict[str, Any], folder: Path) -> list[Member]:
    members = []
    for entry in manifest["shapes"]:
        member = Member(str(entry["name"]), None, str(entry.get("reason") or "generation failed"))
        if entry.get("status") == "done":
            member = replace(member, truth=FileTruth(folder / str(entry.get("file"))), reason="")
        members.append(member)
    if not members:
        raise FileNotFoundError(
            f"{manifest_file(folder)} lists no sample; make them: "
            f"{next_command('generate', '--run', 'RUN', '--samples', '100')}"
        )
    return members


def _of_folder(folder: Path, suffixes: frozenset[str], grid: GridConfig | None = None) -> list[Member]:
    members = [Member(name, FileTruth(path, grid)) for name, path in files_by_name(folder, suffixes).items()]
    # A sample that failed is a member without a shape, not one fewer.
    failed = {str(entry.get("name")): entry for entry in entries_in(folder) if entry.get("status") == "failed"}
    members = [member for member in members if member.name not in failed]  # a mesh of an earlier call may lie there
    return members + [Member(name, None, str(entry.get("reason"))) for name, entry in failed.items()]


def _at_most(members: list[Member], most: int, seed: int) -> tuple[list[Member], str]:
    """All, or as many of them as allowed, drawn by the seed; and what to say about it."""
    if len(members) <= most:
        return members, f"all {len(members)} shapes"
    chosen = seeds.numpy_generator(seed, "training shapes").choice(len(members), most, replace=False)
    return [members[i] for i in sorted(chosen)], f"{most} of {len(members)} shapes, drawn by the seed"
