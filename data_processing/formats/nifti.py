"""NIfTI headers and volumes: what a file declares, checked before anything is allocated, and one-shape masks.

Axes become RAS inside, units stay the file's (mm). `ScanGrid` is the grid as it is stored, for the way back.
Not here: choosing labels (medical/label_names.py, label_volumes.py), the way into the cube and back (medical/masks.py).
"""

import gzip
import logging
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from data_processing.formats.npy import MAX_DEFLATE_RATIO
from data_processing.geometry.voxel_grid import (
    RefusedFileError,
    Shape3,
    VoxelGrid,
    binary,
    check_dtype,
    reading,
    spatial_shape,
)

NIFTI_SUFFIXES = (".nii", ".nii.gz")
NIFTI_ERRORS = (ImageFileError, HeaderDataError, WrapStructError)
# Volume of a voxel over the product of its edges: 1 where the axes stand at right angles, 0 where they lie in a plane.
MIN_VOLUME_SHARE = 1e-3
MAX_EXTENSION_BYTES = 1 << 22  # between header and voxels: label tables; every 16 bytes of it can be an object
MAX_BYTES = 1 << 32  # of voxels as they are stored
PIECE = 1 << 22  # bytes read at once
VOX_OFFSETS = {348: (108, "f"), 540: (168, "q")}  # by the size of the header, NIfTI-1 and 2: where it is, its type
KINDS: dict[int, Any] = {348: nibabel.Nifti1Image, 540: nibabel.Nifti2Image}

logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # what it says of damaged headers is our ValueError


@dataclass(frozen=True, eq=False)
class ScanGrid:
    """The voxel grid of a scan as its file stores it: any orientation, oblique, anisotropic, mirrored."""

    shape: Shape3
    affine: NDArray[np.float64]  # 4x4: stored index of a voxel's centre -> RAS mm
    file: Path | None = None
    header: bytes = b""  # of the file: form codes and units are copied from it; empty: a new header


@dataclass(frozen=True, eq=False)
class OpenScan:
    """A scan whose header was found sound; no voxel has been read yet.

    `read` gives the voxels as they are stored, in Fortran order and memory of their own. A voxel's value is `slope`
    times what is stored, plus `shift`.
    """

    grid: ScanGrid
    header: Any  # nibabel's: for its extensions
    read: Callable[[], NDArray[Any]]
    slope: float = 1.0
    shift: float = 0.0


def open_scan(path: Path) -> OpenScan:
    """Open a .nii or .nii.gz file and check what it declares.

    Raises FileNotFoundError, PermissionError (OSError), and ValueError for a damaged header, more than one volume, a
    type that is no real number, an affine that is not invertible, or sizes that the file cannot hold.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"scan {path} does not exist")
    if not path.name.lower().endswith(NIFTI_SUFFIXES):
        raise RefusedFileError(f"{path}: expected a NIfTI file ({', '.join(NIFTI_SUFFIXES)}): convert it")
    with open(path, "rb"):
        pass  # a file that may not be read is that, not a damaged one
    with reading(path, "a NIfTI image", *NIFTI_ERRORS):
        image: Any = _kind_of(path).from_filename(path)
        shape = _one_volume(image.shape, path)
        affine = _checked_affine(image.affine, path)
        check_dtype(image.get_data_dtype(), path)
        _check_size(image, path)
        grid = ScanGrid(shape, affine, path, image.header.binaryblock)
        proxy = image.dataobj

    def read() -> NDArray[Any]:
        with reading(path, "a NIfTI image", *NIFTI_ERRORS):
            return _stored_voxels(image).reshape(shape, order="F")

    return OpenScan(grid, image.header, read, float(proxy.slope), float(proxy.inter))


def scan_in_memory(image: Any, *, where: Path) -> OpenScan:
    """An image of nibabel as `open_scan` would give its file. `where` names it: its file, where it has one.

    ValueError for more than one volume, a type that is no real number, an affine that is not invertible.
    """
    with reading(where, "a NIfTI image", *NIFTI_ERRORS):
        shape = _one_volume(image.shape, where)
        affine = _checked_affine(image.affine, where)
        proxy = image.dataobj if nibabel.is_proxy(image.dataobj) else None
        check_dtype(np.asanyarray(image.dataobj).dtype if proxy is None else proxy.dtype, where)
        header = image.header.copy() if isinstance(image.header, nibabel.Nifti1Header) else None
        if header is not None and not np.array_equal(header.get_best_affine(), affine):
            header.set_sform(affine, code=int(header["sform_code"]) or 1)  # the image's own affine counts
        grid = ScanGrid(shape, affine, where, b"" if header is None else header.binaryblock)

    def read() -> NDArray[Any]:
        with reading(where, "a NIfTI image", *NIFTI_ERRORS):
            values = np.asanyarray(image.dataobj) if proxy is None else proxy.get_unscaled()
            values = np.array(values, order="F").reshape(shape, order="F")
            return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))

    slope, shift = (1.0, 0.0) if proxy is None else (float(proxy.slope), float(proxy.inter))
    return OpenScan(grid, image.header, read, slope, shift)


def read_mask(path: Path, *, threshold: float = 0.5) -> VoxelGrid:
    """Read a .nii or .nii.gz mask, occupied where the value (after the header's scaling) is above `threshold`.

    Axes are flipped and swapped to the closest right-anterior-superior order, so index (i, j, k) runs along (x, y, z);
    the affine is composed with that, so positions stay where they are. Raises ValueError for a damaged file, more than
    one volume, NaN, an affine that is not invertible, or an empty mask.
    """
    return mask_of_scan(open_scan(path), threshold=threshold)


def mask_of_scan(scan: OpenScan, *, threshold: float = 0.5) -> VoxelGrid:
    """What `read_mask` makes of a file, of a scan that is open."""
    path, values = scan.grid.file or Path("scan"), scan.read()
    if (scan.slope, scan.shift) != (1.0, 0.0):
        values = apply_read_scaling(values, np.float64(scan.slope), np.float64(scan.shift))
    orientation = nibabel.io_orientation(scan.grid.affine)
    occupancy = binary(nibabel.apply_orientation(values, orientation), threshold=threshold, path=path)
    back = nibabel.orientations.inv_ornt_aff(orientation, scan.grid.shape)
    return VoxelGrid(occupancy, scan.grid.affine @ back)


def _one_volume(shape: tuple[int, ...], path: Path) -> Shape3:
    # A leading axis of 1 has its column in the affine, so only trailing ones may go.
    if len(shape) < 3 or any(size != 1 for size in shape[3:]):
        raise RefusedFileError(f"{path}: expected one 3D mask, got shape {shape}: save each volume as its own file")
    return spatial_shape(shape[:3], path)


def _checked_affine(values: Any, path: Path) -> NDArray[np.float64]:
    affine = np.array(values, dtype=np.float64)
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all():
        raise RefusedFileError(f"{path}: its affine is not finite: {affine.tolist()}: repair the header")
    if abs(np.linalg.det(affine[:3, :3])) <= MIN_VOLUME_SHARE * edges.prod():
        raise RefusedFileError(f"{path}: its affine is not invertible: {affine.tolist()}: repair the header")
    return affine


def _stored_voxels(image: Any) -> NDArray[Any]:
    """The voxels as stored, without scaling, flat and in memory of our own (a mapped file could be cut).

    Read piece by piece into their place: libraries unpack well compressed files twice. The end of a compressed file is
    read too, for there stands the checksum.
    """
    proxy = image.dataobj
    values = np.empty(math.prod(proxy.shape), proxy.dtype)
    view = values.view(np.uint8).data
    file = Path(image.file_map["image"].filename)
    packed = file.name.lower().endswith(".gz")
    with gzip.open(file) if packed else open(file, "rb") as handle:
        handle.seek(proxy.offset)
        for start in range(0, len(view), PIECE):
            piece = view[start : start + PIECE]
            if handle.readinto(piece) != len(piece):
                raise EOFError(f"its header declares {len(view):,} bytes of voxels")
        if packed:
            handle.read(PIECE)
    if not values.dtype.isnative:
        values = values.byteswap(inplace=True).view(values.dtype.newbyteorder())
    return values


def _kind_of(path: Path) -> Any:
    """The class that reads a file. Not left to the library: it would take some for CIFTI and parse their XML.

    Refuses a header that puts gigabytes of extensions before the voxels: the library reads all of them.
    """
    with gzip.open(path) if path.name.lower().endswith(".gz") else open(path, "rb") as handle:
        start = handle.read(max(VOX_OFFSETS))
    for order in "<>":
        (size,) = struct.unpack(f"{order}i", start[:4])
        if size in VOX_OFFSETS and len(start) >= size:
            place, kind = VOX_OFFSETS[size]
            (offset,) = struct.unpack_from(f"{order}{kind}", start, place)
            if not 0 <= offset <= max(VOX_OFFSETS) + MAX_EXTENSION_BYTES:
                raise RefusedFileError(
                    f"{path}: its header puts the voxels at byte {offset:g}; expected at most {MAX_EXTENSION_BYTES:,} "
                    "bytes of extensions before them: repair the header"
                )
            return KINDS[size]
    raise RefusedFileError(f"{path}: expected a NIfTI image, got {start[:4]!r} at its start: restore the file")


def _check_size(image: Any, path: Path) -> None:
    """Refuse a header that declares more than the file can hold, before memory is asked for it."""
    voxels = math.prod(image.shape) * image.get_data_dtype().itemsize
    declared = voxels + int(image.dataobj.offset)
    data_file = Path(image.file_map["image"].filename or path)
    size = data_file.stat().st_size
    limit = size * MAX_DEFLATE_RATIO if data_file.name.lower().endswith(".gz") else size
    if declared > limit:
        raise RefusedFileError(
            f"{path}: its header declares {declared:,} bytes {tuple(image.shape)}, but the file of {size:,} bytes can "
            f"hold at most {limit:,}: it is cut off or its header is wrong, restore the file"
        )
    if voxels > MAX_BYTES:
        raise RefusedFileError(f"{path}: {voxels:,} bytes of voxels (limit {MAX_BYTES:,}): store smaller numbers")
