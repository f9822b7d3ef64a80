"""Which predicted mask belongs to which true one: of a run over labelled scans, or of two folders of NIfTI masks.

Nothing is dropped here: a shape with one side missing is a pair that says why.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.nifti import NIFTI_SUFFIXES
from data_processing.loading.batches import all_members
from data_processing.medical.crops import Crop, mask_crop, same_grid
from data_processing.medical.masks import read_crop
from data_processing.medical.structures import LabelConfig, part_of_name
from data_processing.store.shape_set import ShapeSet, open_shapes
from isofield.config import read_run_config
from isofield.evaluation.pairs import Comparison, Pair, beside, files_by_name, files_of_set, open_once
from isofield.evaluation.protocols import MaskProtocol
from isofield.metrics.masks import Mask, compare_masks
from isofield.run_dir import RunDir, mesh_in
from isofield.runtime.config import build

REPORT = "report-masks.html"  # beside that of the meshes
MASK_SUFFIX = "_recon.nii.gz"  # of the masks that generate.py writes beside the meshes


@dataclass(frozen=True)
class StoredMask:
    """The mask that a shape of a data set was made from, on the grid of its scan."""

    shapes: Path
    index: int

    def load(self) -> Crop:
        shapes = open_once(self.shapes)
        source = shapes.source(self.index)
        if source is None:
            raise FileNotFoundError(f"the scan of {shapes.names[self.index]} is no longer where {shapes.path} found it")
        settings = label_settings(shapes)
        return read_crop(source, part_of_name(shapes.names[self.index], settings).key, settings)

    def files(self) -> list[Path]:
        source = open_once(self.shapes).source(self.index)
        return [*files_of_set(self.shapes), *([source] if source else [])]


@dataclass(frozen=True)
class FileMask:
    """A mask in a file of its own."""

    path: Path

    def load(self) -> Crop:
        return mask_crop(self.path)

    def files(self) -> list[Path]:
        return [self.path]


def run_masks_to_compare(path: Path, split: str, *, truth_folder: Path | None, data: Path | None) -> Comparison:
    """The masks generated for a run's split, with those they were made from or those of a folder."""
    run = RunDir(path)
    config = read_run_config(run.existing().config_file).data
    place = data or config.path
    shapes = open_shapes(place)
    if truth_folder is None:
        label_settings(shapes)  # fails now if it is no data set of labelled scans
    truths = None if truth_folder is None else _masks_below(truth_folder)
    pairs = []
    indices, failed = all_members(shapes, split, config.categories)
    for index in (int(number) for number in indices):
        name = shapes.names[index]
        truth = StoredMask(place, index) if truths is None else truths.get(name)
        made = mesh_in(run.meshes(split), name, MASK_SUFFIX)
        reason = "" if made.is_file() else f"no prediction: {made} does not exist; run generate.py for the split"
        reason = reason if truth is not None else f"no ground truth: {truth_folder} has no {name}"
        pairs.append(Pair(name, shapes.categories[index], made, truth, reason))
    for shape in failed:
        pairs.append(Pair(shape.name, shape.category, None, None, f"preparation failed: {shape.reason}"))
    about = {"run": str(path), "ground_truth": str(truth_folder) if truth_folder else "labels of the scans"}
    title = f"{run.path.resolve().name}: masks of the {split} split"
    return Comparison(pairs, title, run.evaluation, about, split, REPORT)


def folder_masks_to_compare(predictions: Path, truths: Path) -> Comparison:
    """Two folders of masks with the same paths below them; `_recon` at the end of a prediction's name is left out."""
    predicted, true = _masks_below(predictions), _masks_below(truths)
    if not predicted.keys() & true.keys():
        raise ValueError(
            f"no mask below {predictions} is named like one below {truths}: for example {next(iter(predicted))} and "
            f"{next(iter(true))}; names have to match"
        )
    pairs = []
    for name in sorted(predicted.keys() | true.keys()):
        reason = "" if name in predicted else f"no prediction: {predictions} has no {name}"
        reason = reason if name in true else f"no ground truth: {truths} has no {name}"
        made = predicted[name].path if name in predicted else None
        pairs.append(Pair(name, name.split("/")[0] if "/" in name else "all", made, true.get(name), reason))
    about = {"predictions": str(predictions), "ground_truth": str(truths)}
    return Comparison(pairs, f"{predictions} against {truths}", beside(predictions), about, report=REPORT)


def label_settings(shapes: ShapeSet) -> LabelConfig:
    """Which labels made the shapes of a data set. ValueError when it was not made from labelled scans."""
    settings = shapes.settings.get("labels")
    if not settings:
        raise ValueError(
            f"{shapes.path} was not made from labelled scans (kind: labels): its shapes have no masks to compare with; "
            "give --gt FOLDER"
        )
    return build(LabelConfig, settings, where=f"{shapes.path}: settings of the preparation: labels")


def _masks_below(folder: Path) -> dict[str, FileMask]:
    files: dict[str, FileMask] = {}
    ending = MASK_SUFFIX.partition(".")[0]
    for name, path in files_by_name(folder, NIFTI_SUFFIXES).items():
        short = name.removesuffix(ending)
        if short in files:
            raise ValueError(f"{files[short].path} and {path} have one name: keep one of them in {folder}")
        files[short] = FileMask(path)
    return files


def compare_crops(predicted: Crop, true: Crop, protocol: MaskProtocol) -> dict[str, float]:
    """All metrics of two masks of one scan. ValueError when they do not lie on the same grid."""
    if not same_grid(predicted.scan, true.scan):
        raise ValueError(
            f"expected the grid of the ground truth {true.scan.file}: {true.scan.shape}, affine "
            f"{true.scan.affine.round(4).tolist()}; the prediction {predicted.scan.file} has {predicted.scan.shape}, "
            f"{predicted.scan.affine.round(4).tolist()}: write it on the scan's own grid"
        )
    return compare_masks(*in_one_box(predicted, true), true.index_to_world[:3, :3], tolerance=protocol.tolerance)


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
