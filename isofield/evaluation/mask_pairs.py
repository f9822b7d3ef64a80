"""Which predicted mask belongs to which true one: of a run over labelled scans, or of two folders of label volumes.

Nothing is dropped here: a shape with one side missing is a pair that says why. What the labels of two files have to do
with each other is in mask_labels.py.
"""

import fnmatch
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.scans import SCAN_SUFFIXES, described, scan_stem, scan_suffix
from data_processing.loading.batches import all_members
from data_processing.medical.advice import COMMAND_OPTIONS
from data_processing.medical.crops import Crop, place_on
from data_processing.medical.images_beside import images_beside, is_general, left_out
from data_processing.medical.label_names import Naming
from data_processing.medical.masks import read_crop
from data_processing.medical.structures import LabelConfig, part_of_name
from data_processing.preparation.sources import files_below
from data_processing.store.shape_set import ShapeSet, open_shapes
from isofield.config import read_run_config
from isofield.evaluation.mask_labels import FileMask, LabelledCase, MaskPair, category_of, label_names, pairs_of_cases
from isofield.evaluation.matching import EQUAL, Matching, equal_names, no_common_name, row_names
from isofield.evaluation.pairs import Comparison, Pair, StoredTruth, Truth, beside, doubt_of, open_once
from isofield.evaluation.protocols import MaskProtocol
from isofield.metrics.masks import Mask, compare_masks
from isofield.packs.find_run import find_data, find_run
from isofield.run_dir import mesh_in
from isofield.runtime.config import build

REPORT = "report-masks.html"  # beside that of the meshes
MASK_SUFFIX = "_recon.nii.gz"  # of the masks that generate.py writes beside the meshes


@dataclass(frozen=True)
class StoredMask(StoredTruth):
    """The mask that a shape of a data set was made from, on the grid of its scan."""

    def load(self) -> Crop:
        shapes = open_once(self.shapes)
        scan, settings = shapes.existing_scan(self.index), label_settings(shapes)
        return read_crop(scan, part_of_name(shapes.names[self.index], settings).key, settings)


def run_masks_to_compare(
    path: Path, split: str, *, truth_folder: Path | None, data: Path | None, matching: Matching = EQUAL
) -> Comparison:
    """The masks generated for a run's split, with those they were made from or those of a folder.

    `matching`: rules by which the names of shapes and of files in the folder differ.
    """
    run = find_run(path)
    config = read_run_config(run.existing().config_file).data
    place = find_data(run, config.path, data)
    shapes = open_shapes(place)
    if truth_folder is None:
        label_settings(shapes)  # fails now if it is no data set of labelled scans
    files, without = ({}, "") if truth_folder is None else masks_below(truth_folder)
    indices, failed = all_members(shapes, split, config.categories)
    names = [shapes.names[int(index)] for index in indices]
    truth_of = equal_names(names, files, matching)
    if files and not truth_of:
        raise ValueError(no_common_name(f"shape of the {split} split", names, truth_folder, files))
    pairs = []
    # A pair for every member, also where a side is missing: what is left out would make the mean look better.
    for index in (int(number) for number in indices):
        name = shapes.names[index]
        truth: Truth | None = StoredMask(place, index)
        if truth_folder is not None:
            truth = FileMask(files[truth_of[name]]) if name in truth_of else None
        made = mesh_in(run.meshes(split), name, MASK_SUFFIX)
        reason = "" if made.is_file() else f"no prediction: {made} does not exist; generate the split first"
        reason = reason if truth is not None else f"no ground truth: {truth_folder} has no {name}"
        doubt = doubt_of(shapes, index) if truth_folder is None else ""
        pairs.append(Pair(name, shapes.categories[index], made, truth, reason, doubt))
    for shape in failed:
        pairs.append(Pair(shape.name, shape.category, None, None, f"preparation failed: {shape.reason}"))
    about: dict[str, object] = {"run": str(path)}
    about |= {"ground_truth": str(truth_folder) if truth_folder else "labels of the scans"}
    about |= {} if data is None else {"data": str(data)}
    about |= {} if matching == EQUAL else {"match": str(matching)}
    about |= {"left_out": [without]} if without else {}
    title = f"{run.path.resolve().name}: masks of the {split} split"
    return Comparison(pairs, title, run.evaluation, about, split, REPORT)


def folder_masks_to_compare(
    predictions: Path,
    truths: Path,
    naming: Naming | None = None,
    *,
    pattern: str = "*",
    matching: Matching = EQUAL,
    workers: int = 0,
) -> Comparison:
    """Two folders of masks or label volumes with the same paths below them; a pair for each label of each case.

    `_recon` at the end of a prediction's name is left out; `matching`: other rules by which names differ. Raises
    FileNotFoundError and NotADirectoryError for folders, ValueError where no names match, two rows would have one name,
    or a table of labels cannot be read.
    """
    predicted, without = masks_below(predictions, pattern=pattern)
    true, without_true = masks_below(truths, pattern=pattern)
    # One name in common is enough; the others become rows that say what is missing.
    truth_of = equal_names(predicted, true, matching)
    if not truth_of:
        raise ValueError(no_common_name(f"mask below {predictions}", predicted, truths, true))
    # A pair goes by the name of its ground truth.
    called = row_names(predicted, truth_of)
    predicted = {called[name]: file for name, file in predicted.items()}
    generated = {name for name, file in predicted.items() if _is_generated(file)}
    cases = [
        LabelledCase(name, category_of(name), predicted.get(name), true.get(name), name in generated)
        for name in sorted(predicted.keys() | true.keys())
    ]
    naming = naming or Naming()
    pairs = [_with_reason(pair, predictions, truths) for pair in pairs_of_cases(cases, naming, workers=workers)]
    about: dict[str, object] = {"predictions": str(predictions), "ground_truth": str(truths)}
    about |= {"labels": label_names(pairs)} | ({} if matching == EQUAL else {"match": str(matching)})
    about |= {} if naming.threshold is None else {"threshold": naming.threshold}
    lines = [line for line in (without, without_true) if line]
    about |= {"left_out": lines} if lines else {}
    return Comparison(pairs, f"{predictions} against {truths}", beside(predictions), about, report=REPORT)


def _is_generated(file: Path | None) -> bool:
    """By the name that generate.py gives to masks."""
    return file is not None and file.name.endswith(MASK_SUFFIX)


def _with_reason(pair: Pair, predictions: Path, truths: Path) -> Pair:
    """The folder that lacks a file is named."""
    name = pair.case if isinstance(pair, MaskPair) else pair.name
    lacking = {"no prediction": predictions, "no ground truth": truths}.get(pair.reason)
    return pair if lacking is None else replace(pair, reason=f"{pair.reason}: {lacking} has no {name}")


def label_settings(shapes: ShapeSet) -> LabelConfig:
    """Which labels made the shapes of a data set. ValueError when it was not made from labelled scans."""
    settings = shapes.settings.get("labels")
    if not settings:
        raise ValueError(
            f"{shapes.path} was not made from labelled scans (kind: labels): its shapes have no masks to compare with; "
            "give --gt FOLDER"
        )
    return build(LabelConfig, settings, where=f"{shapes.path}: settings of the preparation: labels")


def masks_below(folder: Path, *, pattern: str = "*") -> tuple[dict[str, Path], str]:
    """Files of masks by their path below the folder without suffix and `_recon`, and a line on what was left out.

    NotADirectoryError for a file, FileNotFoundError for no folder or no mask in it (with what it holds instead),
    ValueError for two files of one name.
    """
    if folder.is_file():
        raise NotADirectoryError(f"{folder} is a file, expected a folder of masks: give the folder that it is in")
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {folder} does not exist")
    # Images that lie beside their labels are no masks; a pattern of the user's own is taken at its word.
    everything = sorted(files_below(folder))
    files = [file for file in everything if scan_suffix(file)]
    beside_labels = images_beside(files) if is_general(pattern) else []
    chosen = [
        file
        for file in files
        if file not in beside_labels and any(fnmatch.fnmatch(name, pattern) for name in (file, Path(file).name))
    ]
    if not chosen:
        other = described(folder / file for file in everything) or "no file at all"
        raise FileNotFoundError(f"{folder} holds no file to evaluate ({', '.join(SCAN_SUFFIXES)}); it has {other}")
    found: dict[str, Path] = {}
    for file in chosen:
        short = scan_stem(file).removesuffix(MASK_SUFFIX.partition(".")[0])
        if short in found:
            raise ValueError(f"{found[short]} and {folder / file} have one name: keep one of them in {folder}")
        found[short] = folder / file
    return found, left_out(beside_labels, COMMAND_OPTIONS.pattern)


def compare_crops(predicted: Crop, true: Crop, protocol: MaskProtocol) -> tuple[dict[str, float], list[str]]:
    """All metrics of two masks of one scan, and what has to be said of their grids.

    RefusedFileError that names the distance where voxels of one do not lie on those of the other.
    """
    # Voxels of both have to lie on each other: resampling would change what is compared.
    placed, notes = place_on(predicted, true)
    axes_33 = true.index_to_world[:3, :3]
    return compare_masks(*in_one_box(placed, true), axes_33, tolerance=protocol.tolerance), notes


def without(crop: Crop, ignored: Crop) -> Crop:
    """A mask without the voxels of another, both in one lattice."""
    low = np.maximum(crop.lower, ignored.lower)
    high = np.minimum(crop.lower + crop.occupancy.shape, ignored.lower + ignored.occupancy.shape)
    if not crop.occupancy.size or not ignored.occupancy.size or (low >= high).any():
        return crop
    occupancy = crop.occupancy.copy()
    here, there = (
        tuple(slice(a - c, b - c) for a, b, c in zip(low, high, one.lower, strict=True)) for one in (crop, ignored)
    )
    occupancy[here] &= 1 - ignored.occupancy[there]
    return replace(crop, occupancy=occupancy)


def in_one_box(predicted: Crop, true: Crop) -> tuple[Mask, Mask]:
    """Both masks in the smallest box of the scan that holds them."""
    filled = [crop for crop in (predicted, true) if crop.occupancy.size]
    if not filled:
        return predicted.occupancy, true.occupancy
    lower = np.min([crop.lower for crop in filled], axis=0)
    upper = np.max([crop.lower + crop.occupancy.shape for crop in filled], axis=0)
    return _placed(predicted, lower, upper), _placed(true, lower, upper)


def _placed(crop: Crop, lower: NDArray[np.int64], upper: NDArray[np.int64]) -> Mask:
    box = np.zeros(upper - lower, dtype=np.uint8)
    if crop.occupancy.size:
        start = crop.lower - lower
        box[tuple(slice(a, a + n) for a, n in zip(start, crop.occupancy.shape, strict=True))] = crop.occupancy
    return box
