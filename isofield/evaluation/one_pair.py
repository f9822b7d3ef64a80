"""One prediction against its ground truth, as files or in memory: `isofield.evaluate`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import trimesh
from nibabel.spatialimages import SpatialImage

from data_processing.formats.mesh_files import mesh_in_memory, read_mesh
from data_processing.formats.nifti import OpenScan, mask_of_scan
from data_processing.formats.point_clouds import PointCloud
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.geometry.voxel_grid import VoxelGrid
from data_processing.loading.memory_inputs import InMemory, loaded_input
from data_processing.medical.crops import Crop, mask_crop, mask_crop_of
from data_processing.medical.label_volumes import volume_of_scan
from isofield.evaluation.ground_truth import CloudTruth, GroundTruth, MeshTruth, VoxelTruth, read_ground_truth
from isofield.evaluation.mask_pairs import compare_crops
from isofield.evaluation.names import GENERATIVE
from isofield.evaluation.protocols import MaskProtocol, find_protocols
from isofield.evaluation.rows import SampleCounts, surface_metrics
from isofield.runtime.json_files import Row
from isofield.runtime.reasons import reason_of

T = TypeVar("T")
Side = str | Path | InMemory


def evaluate(
    pred: Side,
    gt: Side,
    protocol: str = "onet",
    *,
    name: str = "",
    seed: int = 0,
    points: int | None = None,
    iou_points: int | None = None,
    tolerance: float | None = None,
) -> Row:
    """The metrics of one prediction against its ground truth, both in one frame: the numbers of evaluate.py.

    `pred`: a mesh, as path or trimesh.Trimesh. `gt`: a mesh, voxels (D, H, W), points (N, 3), a nibabel image, or the
    path of a file that evaluate.py takes. `protocol`: imnet, onet, ifnet, deepsdf, 3dshape2vecset or lfd; of masks
    (NIfTI files, nibabel images) masks, within `tolerance` mm. `points`, `iou_points`: as many instead of the
    protocol's. `name` and `seed` key the draws: the name of the shape in evaluate.py's table; the stem of the file
    `pred` if not given. A metric that cannot be told is None; `note` says what to know of the files. Units: docs of
    the protocol, `Protocol.units()`.

    Raises FileNotFoundError; ValueError, which says which side is at fault, and for an unknown protocol.
    """
    if protocol == GENERATIVE:
        raise ValueError(f"protocol {protocol} judges one set of shapes against another: isofield evaluate --pred --gt")
    (chosen,) = find_protocols([protocol], tolerance=tolerance)
    # The name keys the draws, so that the numbers are those of the command line.
    name = name or (Path(pred).stem if isinstance(pred, str | Path) else "")
    row: Row = {"name": name, "protocol": protocol}
    # Masks are compared voxel by voxel on the scan's grid, surfaces by points in the protocol's frame.
    if isinstance(chosen, MaskProtocol):
        crops = [_one_side(what, _mask_of, given) for what, given in (("prediction", pred), ("ground truth", gt))]
        values, notes = compare_crops(crops[0], crops[1], chosen)
        return row | values | {"ground_truth": "mask"} | ({"note": "; ".join(notes)} if notes else {})
    prediction, truth = _one_side("prediction", mesh_of, pred), _one_side("ground truth", _truth_of, gt)
    draws = SampleCounts(seed=seed, points=points, iou_points=iou_points)
    return row | surface_metrics(prediction, truth, chosen, draws, name=name)


def mesh_of(given: Any) -> TriangleMesh:
    """A mesh, of its file or of the trimesh library. FileNotFoundError; ValueError for anything else."""
    if isinstance(given, str | Path):
        return read_mesh(Path(given))
    if isinstance(given, trimesh.Trimesh):
        return mesh_in_memory(given, where="the mesh")
    raise ValueError(f"expected the path of a mesh or a trimesh.Trimesh, got {type(given).__qualname__}")


def _truth_of(given: Any) -> GroundTruth:
    if isinstance(given, str | Path):
        return read_ground_truth(Path(given))
    loaded, where = loaded_input(given)
    if isinstance(loaded, TriangleMesh):
        return MeshTruth(loaded)
    if isinstance(loaded, PointCloud):
        return CloudTruth(loaded)
    if isinstance(loaded, VoxelGrid | OpenScan):
        return VoxelTruth(mask_of_scan(loaded) if isinstance(loaded, OpenScan) else loaded)
    raise ValueError(f"{where}: a picture is no ground truth; expected a mesh, voxels, points or a scan")


def _mask_of(given: Any) -> Crop:
    if isinstance(given, str | Path):
        return mask_crop(Path(given))
    if isinstance(given, SpatialImage):
        scan, _ = loaded_input(given)
        assert isinstance(scan, OpenScan)
        return mask_crop_of(volume_of_scan(scan))
    raise ValueError(f"expected the path of a NIfTI mask or a nibabel image, got {type(given).__qualname__}")


def _one_side(what: str, read: Callable[[Any], T], given: Any) -> T:
    """One side of a pair; errors say which."""
    try:
        return read(given)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{what}: {reason_of(error)}") from error
    except (ValueError, OSError) as error:
        raise ValueError(f"{what}: {reason_of(error)}") from error
