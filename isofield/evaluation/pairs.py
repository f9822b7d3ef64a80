"""Which prediction belongs to which ground truth: of a run and its data set, or of two folders.

Nothing is dropped here: a shape with one side missing is a pair that says why.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from data_processing.formats.mesh_files import MESH_SUFFIXES
from data_processing.formats.scans import described
from data_processing.formats.text_clouds import GENERIC_SUFFIXES, is_text_cloud
from data_processing.formats.voxel_files import GridConfig, voxel_suffix
from data_processing.loading.batches import all_members
from data_processing.occupancy.inside_outside import SUSPECT, InsideConfig
from data_processing.preparation.sources import files_below, is_hidden
from data_processing.store.published_hdf5 import published_files
from data_processing.store.shape_set import INDEX_FILE, ShapeSet, open_shapes
from isofield.config import read_run_config
from isofield.evaluation.ground_truth import TRUTH_SUFFIXES, GroundTruth, read_ground_truth, truth_of_shape
from isofield.evaluation.matching import EQUAL, Matches, Matching, match_names, row_names, suggestion
from isofield.packs.find_run import find_data, find_run
from isofield.run_dir import RunDir, manifest_file
from isofield.runtime.atomic_files import is_temporary
from isofield.runtime.config import build
from isofield.runtime.invocation import next_command
from isofield.runtime.json_files import leads_out, read_object
from isofield.runtime.reasons import DAMAGED, reason_of

SAMPLES = "samples"  # the folder of a run's samples, beside those of its splits


@dataclass(frozen=True)
class StoredTruth:
    """A ground truth by its place in a data set: small enough to send to another process."""

    shapes: Path
    index: int
    against: str = "source"

    def load(self) -> Any:
        shapes = open_once(self.shapes)
        return truth_of_shape(shapes, self.index, against=self.against, settings=inside_settings(shapes))

    def files(self) -> list[Path]:
        source = open_once(self.shapes).source(self.index) if self.against == "source" else None
        return [*files_of_set(self.shapes), *([source] if source else [])]


@dataclass(frozen=True)
class FileTruth:
    """A ground truth in a file. `grid`: what the numbers of voxels mean; `samples`: a file for IoU beside a cloud."""

    path: Path
    grid: GridConfig | None = None
    samples: Path | None = None

    def load(self) -> GroundTruth:
        return read_ground_truth(self.path, grid=self.grid, samples=self.samples)

    def files(self) -> list[Path]:
        return [self.path, *([self.samples] if self.samples else [])]


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
    doubt: str = ""  # why preparation calls the ground truth suspect; "" where it does not, or nobody has asked


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
    path: Path,
    split: str,
    *,
    against: str = "source",
    truth_folder: Path | None = None,
    data: Path | None = None,
    matching: Matching = EQUAL,
    grid: GridConfig | None = None,
) -> Comparison:
    """The generated meshes of a run's split, with the data set's ground truth or that of a folder.

    `data`: another data set than the run's own. `matching` and `grid` are for the folder.
    """
    run = find_run(path)
    pairs = pairs_of_run(
        run, split, against=against, truth_folder=truth_folder, data=data, matching=matching, grid=grid
    )
    about: dict[str, Any] = {"run": str(path)} | _request_beyond_names(matching, grid)
    about |= {"ground_truth": str(truth_folder) if truth_folder else f"{against} of the data set"}
    about |= {} if data is None else {"data": str(data)}
    about |= made_with(read_manifest(run, split))
    return Comparison(pairs, f"{run.path.resolve().name}: {split} split", run.evaluation, about, split)


def folders_to_compare(
    predictions: Path, truths: Path, *, matching: Matching = EQUAL, grid: GridConfig | None = None
) -> Comparison:
    """Two folders; results go beside the predictions, into a folder of their own."""
    pairs = pairs_of_folders(predictions, truths, matching=matching, grid=grid)
    about = {"predictions": str(predictions), "ground_truth": str(truths)} | _request_beyond_names(matching, grid)
    return Comparison(pairs, f"{predictions} against {truths}", beside(predictions), about)


def _request_beyond_names(matching: Matching, grid: GridConfig | None) -> dict[str, Any]:
    """What was asked for beyond equal names and plain occupancy, for the settings of the results."""
    about = {} if matching == EQUAL else {"match": str(matching)}
    return about | ({} if grid in (None, GridConfig()) else {"grid": str(grid)})


def beside(folder: Path) -> Path:
    """Where the results of a user's folder go: beside it, never into it."""
    return folder.resolve().with_name(folder.resolve().name + "-evaluation")


def pairs_of_run(
    run: RunDir,
    split: str,
    *,
    against: str = "source",
    truth_folder: Path | None = None,
    data: Path | None = None,
    matching: Matching = EQUAL,
    grid: GridConfig | None = None,
) -> list[Pair]:
    """Every shape of a split of the run's data set, with the mesh that generate.py made for it, if it did.

    Shapes whose preparation failed are pairs too: nothing leaves the table.
    `truth_folder`: ground truth files named like the shapes, instead of those of the data set.
    Raises FileNotFoundError when nothing was generated for the split, ValueError for an unknown split.
    """
    # The members of the split come from the data set, not from the meshes that are there: a missing mesh is a row.
    config = read_run_config(run.existing().config_file).data
    path = find_data(run, config.path, data)
    shapes = open_shapes(path)
    made = {str(entry["name"]): entry for entry in read_manifest(run, split)["shapes"]}
    truths = None if truth_folder is None else files_by_name(truth_folder, TRUTH_SUFFIXES)
    pairs = []
    indices, failed = all_members(shapes, split, config.categories)
    found = _truths_of_shapes([shapes.names[index] for index in indices], truths or {}, matching, grid)
    for index in indices:
        name, category = shapes.names[index], shapes.categories[index]
        pair = Pair(name, category, None, StoredTruth(path, index, against), doubt=doubt_of(shapes, index))
        if truths is not None:
            missing = "" if name in found else f"no ground truth: {truth_folder} has no {name}"
            pair = replace(pair, truth=found.get(name), reason=missing, doubt="")
        pairs.append(_with_prediction(pair, made.get(name), run.meshes(split)))
    for shape in failed:
        pairs.append(Pair(shape.name, shape.category, None, None, f"preparation failed: {shape.reason}"))
    return pairs


def doubt_of(shapes: ShapeSet, index: int) -> str:
    """Why preparation calls a shape suspect; "" where it does not."""
    quality = shapes.qualities[int(index)]
    return quality.removeprefix(SUSPECT) if quality.startswith(SUSPECT) else ""


def pairs_of_folders(
    predictions: Path, truths: Path, *, matching: Matching = EQUAL, grid: GridConfig | None = None
) -> list[Pair]:
    """Files of two folders that belong together by name (matching.py); the first folder of a path is the category.

    A pair has the name of its ground truth where names are equal or become so, else that of the prediction.
    What only one side has is a pair with a reason. Raises FileNotFoundError when a folder is missing or holds nothing
    to evaluate, ValueError when two files of a folder, or two rows, have one name or the folders have none in common.
    """
    predicted, true = files_by_name(predictions, MESH_SUFFIXES), files_by_name(truths, TRUTH_SUFFIXES)
    matches = match_names(predicted, true, matching)
    if not matches.truth_of:
        hint = suggestion(predicted, true) or "--match 'PREDICTION=TRUTH' says how they differ, such as '*_pred=*'"
        raise ValueError(
            f"no file below {predictions} is named like one below {truths}: for example "
            f"{next(iter(predicted))} and {next(iter(true))}; names have to match, suffixes need not. {hint}. To "
            "compare the folders as sets, whatever the names: --protocol generative lfd"
        )
    found = _truths(matches, true, grid)
    # Rows go by the ground truth's names, so that candidates that are named differently can be compared.
    equal = {
        ours: truth for ours, truth in matches.truth_of.items() if matching.truth_name(ours) == matching.key(truth)
    }
    called = row_names(predicted, equal)
    # What only one folder has is a pair too: a mean over what happens to have both sides would look better than it is.
    pairs = []
    for name, path in predicted.items():
        reason = "" if name in found else f"no ground truth: {truths} has no {name}"
        pairs.append(Pair(called[name], _category(called[name]), path, found.get(name), reason))
    for name, file in matches.objects.items():
        reason = f"no prediction: {predictions} has no {name}"
        pairs.append(Pair(name, _category(name), None, FileTruth(true[file], grid), reason))
    return sorted(pairs, key=lambda pair: pair.name)


def _category(name: str) -> str:
    return name.split("/")[0] if "/" in name else "all"


def _truths_of_shapes(
    names: Sequence[str], truths: dict[str, Path], matching: Matching, grid: GridConfig | None
) -> dict[str, FileTruth]:
    """The ground truth of each shape; by the last part of its name where nothing else fits (as published files are)."""
    matches = match_names({name: Path(name) for name in names}, truths, matching)
    for name in names:
        if name not in matches.truth_of and name.rpartition("/")[2] in truths:
            matches.truth_of[name] = name.rpartition("/")[2]
    return _truths(matches, truths, grid)


def _truths(matches: Matches, truths: dict[str, Path], grid: GridConfig | None) -> dict[str, FileTruth]:
    samples = {surface: truths[name] for surface, name in matches.samples_of.items()}
    return {name: FileTruth(truths[file], grid, samples.get(file)) for name, file in matches.truth_of.items()}


def files_by_name(folder: Path, suffixes: Iterable[str]) -> dict[str, Path]:
    """Files below a folder with one of the suffixes, by their path below it without the suffix; sorted.

    What `generate.py --with-input` wrote beside its meshes is left out: that is no prediction.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {folder} does not exist")
    # The manifest of a folder knows which of its files were written for the eye.
    inputs = {str(entry["input_file"]) for entry in entries_in(folder) if "input_file" in entry}
    known, files = set(suffixes), dict[str, Path]()
    for path in sorted(folder.rglob("*")):
        below, suffix = path.relative_to(folder), voxel_suffix(path)
        hidden = is_temporary(path) or any(is_hidden(part) for part in below.parts)
        other = below.name == manifest_file(folder).name or below.as_posix() in inputs
        if hidden or other or suffix.lower() not in known or not path.is_file():
            continue
        if suffix.lower() in GENERIC_SUFFIXES and not is_text_cloud(path):
            continue  # a table, a licence
        # By the suffix that was found and not by Path.stem: some have two parts.
        name = below.as_posix()[: -len(suffix)]
        if name in files:
            raise ValueError(f"{files[name]} and {path} have one name: keep one of them in {folder}")
        files[name] = path
    if not files:
        there = described(folder / file for file in sorted(files_below(folder))) or "no file at all"
        raise FileNotFoundError(f"{folder} holds no file to evaluate ({' '.join(sorted(known))}); it has {there}")
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


def _with_prediction(pair: Pair, entry: dict[str, Any] | None, folder: Path) -> Pair:
    if pair.reason:
        return pair
    if entry is None:
        return replace(pair, reason=f"no prediction: not in {manifest_file(folder)}; generate again")
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
        what = "as samples" if samples else f"for split '{split}'"
        make = next_command("generate", "--run", run.path, *(("--samples", 100) if samples else ("--split", split)))
        raise FileNotFoundError(f"{file} does not exist: nothing was generated {what}; run: {make}")
    try:
        manifest = read_object(file, again="")
        # Names lead to files that are read: one that leads out of the folder is no manifest of ours.
        if not all(entry["name"] for entry in manifest["shapes"]):
            raise ValueError("a shape without a name")
        for entry in manifest["shapes"]:
            if entry.get("status") == "done" and leads_out(entry.get("file")):
                raise ValueError(f"the file of {str(entry['name'])[:100]!r} would be outside")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        said = reason_of(error, otherwise=DAMAGED)
        raise ValueError(f"{file}: not a manifest of generate.py ({said}); delete it and generate again") from error
    return manifest
