"""Which prediction belongs to which ground truth: of a run and its data set, or of two folders.

Nothing is dropped here: a shape with one side missing is a pair that says why.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from data_processing.formats.mesh_files import MESH_SUFFIXES
from data_processing.formats.voxel_files import voxel_suffix
from data_processing.loading.batches import all_members
from data_processing.occupancy.inside_outside import InsideConfig
from data_processing.store.published_hdf5 import published_files
from data_processing.store.shape_set import INDEX_FILE, ShapeSet, open_shapes
from isofield.config import read_run_config
from isofield.evaluation.ground_truth import TRUTH_SUFFIXES, GroundTruth, read_ground_truth, truth_of_shape
from isofield.run_dir import RunDir, manifest_file
from isofield.runtime.atomic_files import is_temporary
from isofield.runtime.config import build
from isofield.runtime.json_files import leads_out, read_object

AGAINST = ("source", "voxels")
SAMPLES = "samples"  # the folder of a run's samples, beside those of its splits


@dataclass(frozen=True)
class StoredTruth:
    """A ground truth by its place in a data set: small enough to send to another process."""

    shapes: Path
    index: int
    against: str = "source"

    def load(self) -> GroundTruth:
        shapes = open_once(self.shapes)
        return truth_of_shape(shapes, self.index, against=self.against, settings=inside_settings(shapes))

    def files(self) -> list[Path]:
        source = open_once(self.shapes).source(self.index) if self.against == "source" else None
        return [*files_of_set(self.shapes), *([source] if source else [])]


@dataclass(frozen=True)
class FileTruth:
    """A ground truth in a file."""

    path: Path

    def load(self) -> GroundTruth:
        return read_ground_truth(self.path)

    def files(self) -> list[Path]:
        return [self.path]


class Truth(Protocol):
    """Where a ground truth is to be had: small enough to send to another process."""

    def load(self) -> Any:
        """A `GroundTruth`, or the crop of a mask. Raises ValueError or OSError."""

    def files(self) -> list[Path]:
        """What it is read from: when these are as they were, so is the ground truth."""


@dataclass(frozen=True)
class Pair:
    """One shape to evaluate. `reason`: why a side is missing; empty when both are there."""

    name: str
    category: str
    prediction: Path | None
    truth: Truth | None
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """What one call of evaluate.py judges. `about`: where both sides came from, for the settings of the results."""

    pairs: list[Pair]
    title: str
    out: Path
    about: dict[str, Any]
    split: str | None = None
    report: str = "report.html"

    def result_file(self, out: Path, protocol: str, suffix: str) -> Path:
        """SPLIT-PROTOCOL.SUFFIX of a run, PROTOCOL.SUFFIX of two folders."""
        return out / (
            f"{protocol}{suffix}"
            if self.split is None
            else RunDir(out).evaluation_file(self.split, protocol, suffix).name
        )


def run_to_compare(
    path: Path, split: str, *, against: str = "source", truth_folder: Path | None = None, data: Path | None = None
) -> Comparison:
    """The generated meshes of a run's split, with the data set's ground truth or that of a folder.

    `data`: another data set than the run's own.
    """
    run = RunDir(path)
    pairs = pairs_of_run(run, split, against=against, truth_folder=truth_folder, data=data)
    about: dict[str, Any] = {"run": str(path)}
    about |= {"ground_truth": str(truth_folder) if truth_folder else f"{against} of the data set"}
    about |= made_with(read_manifest(run, split))
    return Comparison(pairs, f"{run.path.resolve().name}: {split} split", run.evaluation, about, split)


def folders_to_compare(predictions: Path, truths: Path) -> Comparison:
    """Two folders; results go beside the predictions, into a folder of their own."""
    pairs = pairs_of_folders(predictions, truths)
    about = {"predictions": str(predictions), "ground_truth": str(truths)}
    return Comparison(pairs, f"{predictions} against {truths}", beside(predictions), about)


def beside(folder: Path) -> Path:
    """Where the results of a user's folder go: beside it, never into it."""
    return folder.resolve().with_name(folder.resolve().name + "-evaluation")


def pairs_of_run(
    run: RunDir, split: str, *, against: str = "source", truth_folder: Path | None = None, data: Path | None = None
) -> list[Pair]:
    """Every shape of a split of the run's data set, with the mesh that generate.py made for it, if it did.

    Shapes whose preparation failed are pairs too: nothing leaves the table.
    `truth_folder`: ground truth files named like the shapes, instead of those of the data set.
    Raises FileNotFoundError when nothing was generated for the split, ValueError for an unknown split.
    """
    config = read_run_config(run.existing().config_file).data
    path = data or config.path
    shapes = open_shapes(path)
    made = {str(entry["name"]): entry for entry in read_manifest(run, split)["shapes"]}
    truths = None if truth_folder is None else files_by_name(truth_folder, TRUTH_SUFFIXES)
    pairs = []
    indices, failed = all_members(shapes, split, config.categories)
    for index in indices:
        name, category = shapes.names[index], shapes.categories[index]
        pair = Pair(name, category, None, StoredTruth(path, index, against))
        if truths is not None:
            pair = _with_truth(pair, truths, truth_folder)
        pairs.append(_with_prediction(pair, made.get(name), run.meshes(split)))
    for shape in failed:
        pairs.append(Pair(shape.name, shape.category, None, None, f"preparation failed: {shape.reason}"))
    return pairs


def pairs_of_folders(predictions: Path, truths: Path) -> list[Pair]:
    """Files of two folders with the same path below them, suffix aside; the first folder of that path is the category.

    What only one side has is a pair with a reason. Raises FileNotFoundError when a folder is missing or holds nothing
    to evaluate, ValueError when two files of a folder have one name or the folders have no name in common.
    """
    predicted, true = files_by_name(predictions, MESH_SUFFIXES), files_by_name(truths, TRUTH_SUFFIXES)
    if not predicted.keys() & true.keys():
        raise ValueError(
            f"no file below {predictions} is named like one below {truths}: for example "
            f"{next(iter(predicted))} and {next(iter(true))}; names have to match, suffixes need not. To compare the "
            "folders as sets, whatever the names: --protocol generative lfd"
        )
    pairs = []
    for name in sorted(predicted.keys() | true.keys()):
        category = name.split("/")[0] if "/" in name else "all"
        truth = FileTruth(true[name]) if name in true else None
        reason = "" if name in predicted else f"no prediction: {predictions} has no {name}"
        reason = reason if truth else f"no ground truth: {truths} has no {name}"
        pairs.append(Pair(name, category, predicted.get(name), truth, reason))
    return pairs


def files_by_name(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """Files below a folder with one of the suffixes, by their path below it without the suffix; sorted.

    What `generate.py --with-input` wrote beside its meshes is left out: that is no prediction.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {folder} does not exist")
    inputs = {str(entry["input_file"]) for entry in entries_in(folder) if "input_file" in entry}
    known, files = set(suffixes), dict[str, Path]()
    for path in sorted(folder.rglob("*")):
        below, suffix = path.relative_to(folder), voxel_suffix(path)
        hidden = is_temporary(path) or any(part.startswith(".") for part in below.parts)
        other = below.name == manifest_file(folder).name or below.as_posix() in inputs
        if hidden or other or suffix not in known or not path.is_file():
            continue
        name = below.as_posix()[: -len(suffix)]
        if name in files:
            raise ValueError(f"{files[name]} and {path} have one name: keep one of them in {folder}")
        files[name] = path
    if not files:
        raise FileNotFoundError(f"{folder} holds no file to evaluate; known suffixes: {', '.join(sorted(known))}")
    return files


def entries_in(folder: Path) -> list[dict[str, Any]]:
    """What the manifest of a folder says of its shapes; nothing where there is no manifest of ours."""
    try:
        shapes = read_object(manifest_file(folder), again="")["shapes"]
        return [entry for entry in shapes if isinstance(entry, dict)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def inside_settings(shapes: ShapeSet) -> InsideConfig:
    """How the data set told inside from outside; our defaults for published files."""
    settings = shapes.settings.get("inside") or {}
    return build(InsideConfig, settings, where=f"{shapes.path}: settings of the preparation: inside")


@functools.lru_cache(maxsize=2)
def open_once(path: Path) -> ShapeSet:
    """A data set, opened once in each process."""
    return open_shapes(path)


@functools.lru_cache(maxsize=2)
def files_of_set(path: Path) -> tuple[Path, ...]:
    """Files that are written anew when a data set is: its index, or the published files themselves."""
    index = path / INDEX_FILE
    return (index,) if index.is_file() else tuple(published_files(path).values())


def _with_truth(pair: Pair, truths: dict[str, Path], folder: Path | None) -> Pair:
    """The file of that name, or of its last part alone (published surface files are named without the category)."""
    path = truths.get(pair.name) or truths.get(pair.name.rpartition("/")[2])
    if path is None:
        return replace(pair, truth=None, reason=f"no ground truth: {folder} has no {pair.name}")
    return replace(pair, truth=FileTruth(path))


def _with_prediction(pair: Pair, entry: dict[str, Any] | None, folder: Path) -> Pair:
    if pair.reason:
        return pair
    if entry is None:
        return replace(pair, reason=f"no prediction: not in {manifest_file(folder)}; run generate.py again")
    if entry.get("status") != "done":
        return replace(pair, reason=f"no prediction: {entry.get('reason') or 'generation failed'}")
    return replace(pair, prediction=folder / str(entry.get("file")))


def made_with(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a manifest says about all its shapes alike."""
    return {key: value for key, value in manifest.items() if isinstance(value, str | int | float)}


def read_manifest(run: RunDir, split: str) -> dict[str, Any]:
    """What generate.py says that it made: with what, and `shapes`, a list of entries that have a name.

    `split`: also "samples". Raises FileNotFoundError that names the command that makes them.
    """
    file = manifest_file(run.meshes(split))
    if not file.is_file():
        samples = split == SAMPLES
        what, option = ("as samples", "--samples 100") if samples else (f"for split '{split}'", f"--split {split}")
        raise FileNotFoundError(
            f"{file} does not exist: nothing was generated {what}; run: python generate.py --run {run.path} {option}"
        )
    try:
        manifest = read_object(file, again="")
        if not all(entry["name"] for entry in manifest["shapes"]):
            raise ValueError("a shape without a name")
        for entry in manifest["shapes"]:
            if entry.get("status") == "done" and leads_out(entry.get("file")):
                raise ValueError(f"the file of {str(entry['name'])[:100]!r} would be outside")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file}: not a manifest of generate.py ({error}); delete it and run generate.py again"
        ) from error
    return manifest
