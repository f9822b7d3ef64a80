"""Each number of `evaluate --protocol masks` against a plain one of numpy and scipy, by the command, by label."""

import csv
import itertools
import json
import statistics
from typing import Any

import nibabel
import numpy as np
import pytest
import scipy.ndimage
import scipy.spatial.distance

from isofield.commands.evaluate import main
from isofield.metrics.mask_surfaces import element_areas
from tests.commands import call
from tests.data_processing.scan_files import random_affine, save, turned

NAMES = {"background": 0, "liver": 1, "spleen": 2, "colon": 3, "lung": 4, "dot": 5, "nowhere": 6}
SHAPE = (17, 14, 11)
SPACING = (0.7, 1.3, 2.9)
TOLERANCE = 1.7
METRICS = ("dice", "nsd", "asd", "assd", "hd95", "hd", "volume", "predicted_volume")
STRAIGHT = np.diag([-SPACING[0], SPACING[1], SPACING[2], 1.0])
OBLIQUE = random_affine(np.random.default_rng(5), SPACING, mirrored=True)


def labels(seed: int, *ids: int) -> np.ndarray:
    """Smooth noise cut into labels, a single voxel of 5, and voxels at the border of the array."""
    noise = np.random.default_rng(seed).random((*SHAPE, len(ids)))
    rank = scipy.ndimage.gaussian_filter(noise, (1.5, 1.5, 1, 0)).argsort(-1)[..., -1]
    values = np.array(ids, np.uint8)[rank]
    values[5:9, 4:6, 2:9] = 0
    if 5 in ids:
        values[values == 5] = 0
        values[6, 4, 5 + seed % 2] = 5
    return values


def plain(predicted: np.ndarray, true: np.ndarray, affine: np.ndarray) -> dict[str, float]:
    """Overlap by counting, surfaces by eight neighbours, distances of each element to every other; areas weigh."""
    axes, masks = affine[:3, :3], (predicted, true)
    ml = abs(np.linalg.det(axes)) / 1000
    volumes = {"volume": true.sum() * ml, "predicted_volume": predicted.sum() * ml}
    if not true.any() and not predicted.any():
        return {"dice": 1.0, "nsd": 1.0, "asd": 0.0, "assd": 0.0, "hd95": 0.0, "hd": 0.0, **volumes}
    if not true.any() or not predicted.any():
        return {"dice": 0.0, "nsd": 0.0, **dict.fromkeys(("asd", "assd", "hd95", "hd"), np.inf), **volumes}
    surfaces = []
    for mask in masks:
        full = np.pad(mask, 1).astype(int)
        low, high = full.shape, [size - 1 for size in full.shape]
        # Voxel (dx, dy, dz) of a corner's eight is worth 2 to the power 4 dx + 2 dy + dz, as areas are listed.
        code = sum(
            full[dx : low[0] - 1 + dx, dy : low[1] - 1 + dy, dz : low[2] - 1 + dz] * 2 ** (4 * dx + 2 * dy + dz)
            for dx, dy, dz in itertools.product((0, 1), repeat=3)
        )
        assert list(code.shape) == high
        corners = np.argwhere((code > 0) & (code < 255))
        surfaces.append(((corners - 0.5) @ axes.T, element_areas(axes)[code[tuple(corners.T)]]))
    between = scipy.spatial.distance.cdist(surfaces[0][0], surfaces[1][0])
    means, tails, within, sums, areas_of_both = [], [], 0.0, 0.0, 0.0
    for distances, (_, areas) in zip((between.min(1), between.min(0)), surfaces, strict=True):
        order = distances.argsort(kind="stable")
        share = areas[order].cumsum() / areas.sum()
        means.append((distances * areas).sum() / areas.sum())
        tails.append(distances[order][np.argmax(share >= 0.95)])
        within += areas[distances <= TOLERANCE].sum()
        sums, areas_of_both = sums + (distances * areas).sum(), areas_of_both + areas.sum()
    return {
        "dice": 2 * (true & predicted).sum() / (true.sum() + predicted.sum()),
        "nsd": within / areas_of_both,
        "asd": sum(means) / 2,
        "assd": sums / areas_of_both,
        "hd95": max(tails),
        "hd": between.min(1).max() if between.min(1).max() > between.min(0).max() else between.min(0).max(),
        **volumes,
    }


def write_cases(folder, affine) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Labels that move, that are missing, that are too many; empty on one side, and on both; another storage order."""
    none = np.zeros(SHAPE, np.uint8)
    cases = {
        "moved": (labels(1, 1, 2, 5, 0), labels(2, 1, 2, 5, 0)),
        "missing": (labels(3, 1, 2, 3), labels(4, 1, 2, 0)),
        "extra": (labels(5, 2, 3, 0), labels(6, 2, 3, 4)),
        "no_prediction": (labels(7, 1, 0), none),
        "no_truth": (none, labels(8, 4, 0)),
        "both_empty": (none, none),
    }
    for name, (true, predicted) in cases.items():
        save(folder / "gt" / f"{name}.nii.gz", true, affine)
        stored, matrix = turned(predicted, affine, (2, 0, 1), (1, 0, 1)) if name == "extra" else (predicted, affine)
        save(folder / "pred" / f"{name}.nii.gz", stored, matrix)
    for side in ("gt", "pred"):
        (folder / side / "dataset.json").write_text(json.dumps({"labels": NAMES}))
    return cases


@pytest.mark.parametrize("affine", [STRAIGHT, OBLIQUE], ids=["anisotropic", "oblique"])
def test_each_label_of_each_case_is_what_plain_scipy_says(tmp_path, affine):
    cases = write_cases(tmp_path, affine)
    folders = ("--pred", tmp_path / "pred", "--gt", tmp_path / "gt", "--out", tmp_path / "out")
    assert call(main, *folders, "--protocol", "masks", "--tolerance", TOLERANCE, "--workers", 1, "--pictures", 0) == 0
    rows = {row["name"]: row for row in csv.DictReader((tmp_path / "out/masks.csv").open())}
    stored: Any = nibabel.load(tmp_path / "gt/moved.nii.gz")
    expected = {}
    for case, (true, predicted) in cases.items():
        here = [(name, label) for name, label in NAMES.items() if label and (label in true or label in predicted)]
        for name, label in here:
            expected[f"{case}/{name}"] = plain(predicted == label, true == label, stored.affine)
        if not here:
            expected[case] = plain(predicted > 0, true > 0, stored.affine)
    assert rows.keys() == expected.keys() and len(rows) == 12
    for name, values in expected.items():
        found = {key: float(rows[name][key]) for key in METRICS}
        assert found == pytest.approx(values, rel=1e-6, abs=1e-9), name
    assert rows["missing/colon"]["hd95"] == rows["extra/lung"]["hd95"] == "inf"
    assert float(rows["both_empty"]["nsd"]) == 1
    _means_are_those_of_the_rows(tmp_path / "out/masks-means.csv", rows)


def _means_are_those_of_the_rows(file, rows):
    lines = list(csv.DictReader(file.open()))
    found = {(line["category"], line["statistic"]): line for line in lines}
    assert len(found) == len(lines)  # none stands there twice
    of = {"all": list(rows.values())}  # and the case without a label, whose category has that name, is told apart
    for row in rows.values():
        category = "all (category)" if row["category"] == "all" else row["category"]
        of.setdefault(category, []).append(row)
    assert {category for category, _ in found} == of.keys()
    for category, inside in of.items():
        assert int(found[category, "mean"]["n"]) == len(inside)
        for key in METRICS:
            values = [float(row[key]) for row in inside]
            assert float(found[category, "mean"][key]) == pytest.approx(statistics.fmean(values), rel=1e-6)
            assert float(found[category, "median"][key]) == pytest.approx(statistics.median(values), rel=1e-6)
            assert int(found[category, "infinite"][key]) == values.count(np.inf)


def test_masks_without_a_name_have_their_means_once(tmp_path):
    for side in ("gt", "pred"):
        save(tmp_path / side / "a.nii.gz", (labels(1, 1, 0) > 0).astype(np.uint8), STRAIGHT)
    folders = ("--pred", tmp_path / "pred", "--gt", tmp_path / "gt", "--out", tmp_path / "out")
    assert call(main, *folders, "--protocol", "masks", "--workers", 1, "--pictures", 0) == 0
    lines = list(csv.DictReader((tmp_path / "out/masks-means.csv").open()))
    assert [(line["category"], line["statistic"]) for line in lines] == [
        ("all", statistic) for statistic in ("mean", "median", "infinite")
    ]
