"""One organ of one scan: judged, compared on the scan's grid, drawn, written, and told in a row."""

import base64
import math
import time
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import scipy.ndimage
import torch

from data_processing.medical.crops import Crop
from data_processing.medical.scan_mask import ScanMask
from isofield.outliers.analysis.limits import Limit, describe_excess
from isofield.outliers.analysis.organs import OrganMatch
from isofield.outliers.analysis.priors import Prior
from isofield.outliers.analysis.rows import NO_ORIENTATION, Row, new_row
from isofield.outliers.analysis.scans import Scan
from isofield.outliers.analysis.shape_files import write_shape
from isofield.outliers.comparison.maps import NamedSegment, write_map, write_segments
from isofield.outliers.comparison.on_scan import STEPS, Compared, Disagreement, compare_on_scan, largest_disagreement
from isofield.outliers.comparison.pictures import Shown, picture_of
from isofield.outliers.comparison.surface_rendering import view_of
from isofield.outliers.scoring.cube_masks import CubeMask
from isofield.outliers.scoring.detector import Judgement
from isofield.reports.canvas import encode_png, encode_webp
from isofield.run_dir import mesh_in
from isofield.runtime.atomic_files import replacing

COARSEST = 8  # slices that an organ has to have, or nobody can tell its shape
MASKS, PICTURES = "masks", "pictures"
# Of the map with names and colours, in the order of its labels: those of the pictures.
AGREEMENT = {"both": (0.75, 0.75, 0.75), "extra": (0.86, 0.16, 0.16), "missing": (0.16, 0.39, 0.86)}


@dataclass(frozen=True)
class AnalysisConfig:
    """What decides how a row comes out, beside the scan and the prior."""

    fpr: float = 0.05
    tolerance: float = 1.0
    keep_masks: bool = True
    pictures: bool = True
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, eq=False)
class ScoredOrgan:
    """An organ that was cut out and looked at by its prior."""

    scan: Scan
    wanted: OrganMatch
    crop: Crop
    mask: ScanMask
    cube: CubeMask
    judgement: Judgement
    seconds: float  # so far

    @property
    def prior(self) -> Prior:
        assert self.wanted.prior is not None
        return self.wanted.prior


def place_of(mask: ScanMask) -> dict[str, object]:
    """Columns that say how a scan lies."""
    affine = mask.scan.affine
    return {
        "spacing_mm": [round(float(edge), 4) for edge in np.linalg.norm(affine[:3, :3], axis=0)],
        "orientation": NO_ORIENTATION if mask.scan.doubt else "".join(nibabel.aff2axcodes(affine)),
        "touched": list(mask.touched),
    }


def row_of(
    judged: ScoredOrgan, *, file: str, out: Path, settings: AnalysisConfig, device: torch.device | str = "cpu"
) -> Row:
    """The row of a judged organ; its maps and its picture are written."""
    began = time.perf_counter()
    judgement, prior = judged.judgement, judged.prior
    rebuilt = judgement.reconstruction
    assert rebuilt is not None  # an empty mask gets no so far
    # On the scan's own grid: millimetres that a person can check in a viewer.
    compared = compare_on_scan(judged.crop, rebuilt, tolerance=settings.tolerance, device=device)
    largest = largest_disagreement(judged.cube, rebuilt)
    status, flagged, reason = _status(judged)
    # The user's limits flag besides the score; a partial organ stays partial.
    beyond = describe_excess(settings.limits, compared.metrics)
    if beyond:
        flagged, reason = True, f"{'; '.join(beyond)} (your limit); {reason}"
        status = status if status == "PARTIAL" else "OUTLIER"
    reason = "; ".join(filter(None, [reason, judged.mask.scan.remarks]))
    score, p = (None if math.isnan(value) else value for value in (judgement.score, judgement.p))
    calibration, metrics = prior.calibration, compared.metrics
    _, pieces = scipy.ndimage.label(judged.crop.occupancy)
    row = new_row(
        judged.scan.key,
        file,
        judged.wanted.organ,
        status,
        reason,
        structure=judged.wanted.part,
        flagged=flagged,
        p=p,
        score=score,
        **{key: metrics[key] for key in ("dice", "asd", "assd", "hd95", "hd", "nsd")},
        limits=beyond,
        volume_ml=metrics["volume"],
        reconstruction_ml=metrics["predicted_volume"],
        components=int(pieces),
        left_out_ml=judged.mask.left_out * abs(float(np.linalg.det(judged.mask.scan.affine[:3, :3]))) / 1000,
        **place_of(judged.mask),
        **_disagreement_cells(largest),
        score_parts={name: round(value, 3) for name, value in judgement.components.items()},
        drawing_p=judgement.drawing_p,
        model=str(prior.run.path),
        model_hash=prior.loaded.model_hash,
        calibration_n=0 if calibration is None else calibration.n,
        calibration_hash="" if calibration is None else calibration.data_hash,
    )
    if settings.keep_masks:
        row |= _write_maps(judged, compared, out)
    if settings.pictures:
        row |= _write_picture(judged, row, compared, largest, out, settings)
    return row | {"seconds": round(judged.seconds + time.perf_counter() - began, 3)}


def too_coarse(crop: Crop) -> str:
    """Why the slices are too thick to tell a shape; "" where they are not. Of equal edges the longest extent counts."""
    spacing = np.linalg.norm(crop.index_to_world[:3, :3], axis=0)
    inside = np.argwhere(crop.occupancy)
    # Slices count along the axis with the longest edges; where several are as long, along the one with most of them.
    counts = np.ptp(inside, axis=0) + 1
    slices = int(counts[spacing >= spacing.max() * 0.99].max())
    if slices >= COARSEST:
        return ""
    return f"its {slices} slices of {spacing.max():.3g} mm are too few to tell its shape (at least {COARSEST})"


def _status(judged: ScoredOrgan) -> tuple[str, bool, str]:
    """Status, whether it is flagged, and why."""
    judgement, coarse = judged.judgement, too_coarse(judged.crop)
    flagged = judgement.verdict == "OUTLIER" and (not coarse or math.isinf(judgement.score))
    reason = f"{coarse}; {judgement.reason}" if coarse else judgement.reason
    if judged.mask.touched:
        faces = ", ".join(judged.mask.touched)
        return "PARTIAL", flagged, f"touches {faces} of the field of view, judged by what is visible: {reason}"
    if coarse and not flagged:
        return "UNSURE", False, reason
    return judgement.verdict, flagged, reason


def _disagreement_cells(largest: Disagreement | None) -> dict[str, object]:
    if largest is None:
        return {}
    x, y, z = (round(value, 2) for value in largest.world)
    return {
        "disagreement_sign": largest.sign,
        "disagreement_ml": largest.volume,
        "disagreement_depth_mm": largest.depth,
        "disagreement_x_mm": x,
        "disagreement_y_mm": y,
        "disagreement_z_mm": z,
    }


def _write_maps(judged: ScoredOrgan, compared: Compared, out: Path) -> dict[str, str]:
    """NIfTI on the scan's own grid, and a segmentation with names and colours, below OUT/masks."""
    written = {}
    for column, ending, values, slope in (
        ("reconstruction", "_recon", compared.rebuilt_XYZ, 1.0),
        ("disagreement", "_disagreement", compared.disagreement_XYZ, 1 / STEPS),
        ("repaired", "_repaired", compared.repaired_XYZ, 1.0),
    ):
        file = mesh_in(out / MASKS, judged.scan.key, ".nii.gz", last=judged.wanted.organ, ending=ending)
        write_map(file, values, compared.mask, slope=slope)
        written[column] = file.relative_to(out).as_posix()
    file = mesh_in(out / MASKS, judged.scan.key, ".seg.nrrd", last=judged.wanted.organ, ending="_agreement")
    # A map with names and colours, which viewers open as they are; its labels are those of the pictures.
    segments = [
        NamedSegment(label, f"{judged.wanted.organ}: {name}", colour)
        for label, (name, colour) in enumerate(AGREEMENT.items(), start=1)
    ]
    write_segments(file, compared.agreement_XYZ, compared.mask, segments)
    return written | {"agreement": file.relative_to(out).as_posix()}


def _write_picture(
    judged: ScoredOrgan, row: Row, compared: Compared, largest: Disagreement | None, out: Path, settings: AnalysisConfig
) -> dict[str, str]:
    """The picture, its thumbnail, and what pages turn and scroll through."""
    rebuilt, calibration = judged.judgement.reconstruction, judged.prior.calibration
    assert rebuilt is not None
    view = view_of(judged.cube, rebuilt, towards=None if largest is None else largest.world)
    # A partial organ is shown among masks cut off as it is, where a threshold of whole ones would mean nothing.
    scores, partial = np.zeros(0), judged.judgement.partial
    if calibration is not None:
        scores = calibration.visible_scores if partial else calibration.scores
    shown = Shown(
        title=f"{row['organ']}  {row['scan'][-60:]}  {row['status']}"
        + ("" if row["p"] is None else f"  p {row['p']:.3g}"),
        subtitle=_subtitle(row, largest),
        compared=compared,
        view=view,
        largest=largest,
        scores=scores,
        score=row["score"],
        threshold=None if calibration is None or partial else calibration.threshold(settings.fpr),
    )
    sheet, thumb = picture_of(shown)
    file = mesh_in(out / PICTURES, row["scan"], ".png", last=row["organ"])
    with replacing(file) as temporary:
        temporary.write_bytes(encode_png(sheet))
    thumbnail = base64.b64encode(encode_webp(thumb)).decode()
    shape = write_shape(out, row["scan"], row["organ"], view, compared)
    return {"picture": file.relative_to(out).as_posix(), "thumbnail": thumbnail, "shape": shape}


def _subtitle(row: Row, largest: Disagreement | None) -> str:
    numbers = (
        f"Dice {row['dice']:.3f}   HD95 {row['hd95']:.1f} mm   ASSD {row['assd']:.2f} mm   {row['volume_ml']:.1f} ml"
    )
    if largest is None:
        return numbers
    place = ", ".join(f"{value:.0f}" for value in largest.world)
    return f"{numbers}   largest: {largest.volume:.2f} ml {largest.sign}, {largest.depth:.1f} mm deep, at ({place}) mm"
