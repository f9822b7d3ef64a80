"""NIfTI headers and volumes: what a file declares, checked before anything is allocated, and one-shape masks.

Axes become RAS inside, micrometres and metres become millimetres. `ScanGrid` is the grid as it is stored, for the way
back. Not here: other formats of scans (scans.py), choosing labels (medical/label_names.py, label_volumes.py), the way
into the cube and back (medical/masks.py).
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
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from data_processing.formats.first_bytes import GZIP, missing_file
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
VOX_OFFSETS = {348: (108, "f"), 540: (168, "q")}  # by the size of the header, NIfTI-1 and 2: where it is, its type
KINDS: dict[int, Any] = {348: nibabel.Nifti1Image, 540: nibabel.Nifti2Image}
SPATIAL_UNITS = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}  # xyzt_units & 7 to mm: unknown, metre, millimetre, micrometre
PLAUSIBLE_MM = (1.0, 3000.0)  # longest side of a field of view whose unit nobody says
# Of a person most fields of view are longer and most voxels smaller, so that it may be in centimetres, or tenths of mm.
LIKELY_MM, LIKELY_VOXEL_MM = 100.0, 5.0
NO_UNIT = "its header names no unit of length"
UNTOLD_THRESHOLD = 0.5  # of whoever says nothing
SIZE_ERROR = 1e-2  # by which the sizes of voxels may differ within a header, of rounding and of shears
FRACTION = 1e-2  # by which a value of a mask may miss a whole number
PIECE = 1 << 22  # bytes read at once

logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # what it says of damaged headers is our ValueError


@dataclass(frozen=True, eq=False)
class ScanGrid:
    """The voxel grid of a scan as its file stores it: any orientation, oblique, anisotropic, mirrored."""

    shape: Shape3
    affine: NDArray[np.float64]  # 4x4: stored index of a voxel's centre -> RAS mm
    file: Path | None = None
    header: bytes = b""  # of the file: form codes and units are copied from it; empty: a new header
    doubt: str = ""  # why left and right cannot be told from the header; empty: they can
    size_doubt: str = ""  # how the header contradicts itself about the size of voxels; empty: it does not
    unit_note: str = ""  # that mm were assumed, of a size that other units would explain; empty: it is named or likely

    @property
    def doubts(self) -> str:
        """What makes a shape of it suspect."""
        return "; ".join(filter(None, [self.doubt, self.size_doubt]))

    @property
    def remarks(self) -> str:
        """What a reader of results has to know of the header."""
        return "; ".join(filter(None, [self.doubts, self.unit_note]))


@dataclass(frozen=True, eq=False)
class OpenScan:
    """A scan whose header was found sound; no voxel has been read yet.

    `read` gives the voxels as they are stored, in Fortran order and memory of their own: one array of the grid's shape,
    or several layers of it. A voxel's value is `slope` times what is stored, plus `shift`.
    """

    grid: ScanGrid
    header: Any  # of the library: what it says of the names of labels
    read: Callable[[], list[NDArray[Any]]]
    slope: float = 1.0
    shift: float = 0.0


def open_scan(path: Path) -> OpenScan:
    """Open a .nii or .nii.gz file and check what it declares; its grid is in mm whatever unit the header names.

    Raises FileNotFoundError, PermissionError (OSError), and ValueError for a damaged header, more than one volume, a
    type that is no real number, an unknown unit, an affine that is not invertible, or sizes that the file cannot hold.
    """
    path = Path(path)
    if not path.is_file():
        raise missing_file(path, "scan")
    if not path.name.lower().endswith(NIFTI_SUFFIXES):
        raise RefusedFileError(f"{path}: expected a NIfTI file ({', '.join(NIFTI_SUFFIXES)}): convert it")
    with open(path, "rb"):
        pass  # a file that may not be read is that, not a damaged one
    with reading(path, "a NIfTI image", *NIFTI_ERRORS):
        # All that the header declares is checked before a voxel is read: `read` below comes later, if at all.
        image: Any = _kind_of(path).from_filename(path)
        shape = _one_volume(image.shape, path)
        affine = in_millimetres(invertible_affine(image.affine, path), shape, image.header, path)
        check_dtype(image.get_data_dtype(), path)
        _check_size(image, path)
        header = image.header
        grid = ScanGrid(shape, affine, path, header.binaryblock, *_doubts_of(header, affine, shape))
        proxy = image.dataobj

    def read() -> list[NDArray[Any]]:
        with reading(path, "a NIfTI image", *NIFTI_ERRORS):
            return [_stored_voxels(image, path).reshape(shape, order="F")]

    return OpenScan(grid, image.header, read, float(proxy.slope), float(proxy.inter))


def scan_in_memory(image: Any, *, where: Path) -> OpenScan:
    """An image of nibabel as `open_scan` would give its file. `where` names it: its file, where it has one.

    ValueError for more than one volume, a type that is no real number, an unknown unit, an affine that is not
    invertible.
    """
    with reading(where, "a NIfTI image", *NIFTI_ERRORS):
        shape = _one_volume(image.shape, where)
        affine = invertible_affine(image.affine, where)
        proxy = image.dataobj if nibabel.is_proxy(image.dataobj) else None
        check_dtype(np.asanyarray(image.dataobj).dtype if proxy is None else proxy.dtype, where)
        # Other formats of nibabel carry no NIfTI header that could be written back.
        header = image.header.copy() if isinstance(image.header, nibabel.Nifti1Header) else None
        if header is None:
            grid = ScanGrid(shape, affine, where)
        else:
            if not np.allclose(header.get_best_affine(), affine):  # the image's own affine counts, as in saving it
                header.set_sform(affine, code=int(header["sform_code"]) or 1)
                header["qform_code"] = 0
            scaled = in_millimetres(invertible_affine(header.get_best_affine(), where), shape, header, where)
            grid = ScanGrid(shape, scaled, where, header.binaryblock, *_doubts_of(header, scaled, shape))

    def read() -> list[NDArray[Any]]:
        with reading(where, "a NIfTI image", *NIFTI_ERRORS):
            values = np.asanyarray(image.dataobj) if proxy is None else proxy.get_unscaled()
            values = np.array(values, order="F").reshape(shape, order="F")
            return [values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))]

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
    """What `read_mask` makes of a file, from a scan that is open; layers of segments are merged."""
    path = scan.grid.file or Path("scan")
    layers = scan.read()
    if (scan.slope, scan.shift) != (1.0, 0.0):
        layers = [layer * scan.slope + scan.shift for layer in layers]
    values = layers[0] if len(layers) == 1 else np.maximum.reduce(layers)
    if threshold == UNTOLD_THRESHOLD:
        _refuse_no_mask(values, path)
    # Flips and swaps of axes only: no value is interpolated, and the affine takes the same turn.
    orientation = nibabel.io_orientation(scan.grid.affine)
    occupancy = binary(nibabel.apply_orientation(values, orientation), threshold=threshold, path=path)
    back = nibabel.orientations.inv_ornt_aff(orientation, scan.grid.shape)
    return VoxelGrid(occupancy, scan.grid.affine @ back)


def _refuse_no_mask(values: NDArray[Any], path: Path) -> None:
    """Values on both sides of 0, or real numbers that are mostly fractions, are no mask unless a threshold says so."""
    way_out = "give a threshold other than 0.5, or write the mask as integers"
    if values.dtype.kind in "if" and bool((values < 0).any()) and bool((values > 0).any()):
        raise RefusedFileError(
            f"{path}: expected a mask, got values from {values.min():g} to {values.max():g}, as of an image or of "
            f"distances: {way_out}"
        )
    if values.dtype.kind != "f":
        return
    inside = values[np.isfinite(values) & (values != 0)]
    fractions = inside[np.abs(inside - np.rint(inside)) > FRACTION]
    # A mask with blurred borders has fractions in few voxels, one with values of its own has one or two: neither is an
    # image.
    if len(fractions) > inside.size / 2 and len(np.unique(fractions)) > 2:  # of two values one is the background
        raise RefusedFileError(
            f"{path}: expected a mask, got mostly fractions up to {inside.max():g}, as of probabilities: {way_out}"
        )


def _one_volume(shape: tuple[int, ...], path: Path) -> Shape3:
    # A leading axis of 1 has its column in the affine, so only trailing ones may go.
    if len(shape) < 3 or any(size != 1 for size in shape[3:]):
        raise RefusedFileError(f"{path}: expected one 3D mask, got shape {shape}: save each volume as its own file")
    return spatial_shape(shape[:3], path)


def invertible_affine(values: Any, path: Path) -> NDArray[np.float64]:
    """The affine in float64. RefusedFileError where it is not finite or flattens space."""
    affine = np.array(values, dtype=np.float64)
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all():
        raise RefusedFileError(f"{path}: its affine is not finite: {affine.tolist()}: repair the header")
    if abs(np.linalg.det(affine[:3, :3])) <= MIN_VOLUME_SHARE * edges.prod():
        raise RefusedFileError(f"{path}: its affine is not invertible: {affine.tolist()}: repair the header")
    return affine


def in_millimetres(affine: NDArray[np.float64], shape: Shape3, header: Any, path: Path) -> NDArray[np.float64]:
    """The affine of a file in mm, by the unit its header names (NIfTI-1: xyzt_units).

    No unit counts as mm, as every reader takes it, unless the field of view would be shorter or longer than that of any
    scan: then the file means another unit, and is refused.
    """
    code = int(header["xyzt_units"]) & 7
    if code not in SPATIAL_UNITS:
        raise RefusedFileError(
            f"{path}: xyzt_units: expected a unit of length (1 metre, 2 millimetre, 3 micrometre), got {code}: "
            "repair the header"
        )
    # A scan of a person that is shorter than a millimetre, or longer than three metres, was not written in millimetres.
    longest = float((np.linalg.norm(affine[:3, :3], axis=0) * shape).max())
    if code == 0 and not PLAUSIBLE_MM[0] <= longest <= PLAUSIBLE_MM[1]:
        raise RefusedFileError(
            f"{path}: its header names no unit (xyzt_units 0), and in millimetres it would be {longest:.4g} mm long: "
            "set xyzt_units (1 metre, 2 millimetre, 3 micrometre)"
        )
    scaled = affine.copy()
    scaled[:3] *= SPATIAL_UNITS[code]
    return scaled


def unit_note(affine: NDArray[np.float64], shape: Shape3) -> str:
    """What to know of a grid taken as mm because no unit is named; "" for sizes that are usual in mm.

    Nobody can tell centimetres from the scan of a small animal or a piece of one, so nothing is refused or changed.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    longest, smallest = float((spacing * shape).max()), float(spacing.min())
    if longest >= LIKELY_MM and smallest <= LIKELY_VOXEL_MM:
        return ""
    return f"{NO_UNIT}, mm are assumed: {longest:.4g} mm long, voxels of {smallest:.3g} mm and more"


def _doubts_of(header: Any, affine: NDArray[np.float64], shape: Shape3) -> tuple[str, str, str]:
    """Of the sides, of the size, of the unit."""
    unit = "" if int(header["xyzt_units"]) & 7 else unit_note(affine, shape)
    return _orientation_doubt(header), _size_doubt(header), unit


def _orientation_doubt(header: Any) -> str:
    """Why a NIfTI header does not tell left from right; "" where it does."""
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    if sform_code <= 0 and qform_code <= 0:
        return "its header has no orientation (sform_code and qform_code are 0): left and right cannot be told"
    if sform_code <= 0 or qform_code <= 0:
        return ""
    try:
        # Opposite signs of the determinants: one of the two forms mirrors the patient, and nobody knows which.
        turns = [float(np.linalg.det(form[:3, :3])) for form in (header.get_sform(), header.get_qform())]
    except (HeaderDataError, ValueError):  # no rotation: the sform counts alone
        return ""
    if turns[0] * turns[1] < 0:
        return "its sform and its qform contradict each other, one is mirrored: left and right cannot be told"
    return ""


def _size_doubt(header: Any) -> str:
    """How sform and pixdim differ, where the sform is taken; other programs go by pixdim. "" where they agree."""
    if int(header["sform_code"]) <= 0:
        return ""
    sform = np.linalg.norm(np.asarray(header.get_sform(), np.float64)[:3, :3], axis=0)
    pixdim = np.abs(np.asarray(header["pixdim"][1:4], np.float64))
    if not (pixdim > 0).all() or (np.abs(sform - pixdim) <= SIZE_ERROR * pixdim).all():
        return ""
    sizes = (" x ".join(f"{size:.4g}" for size in one) for one in (sform, pixdim))
    return "its header contradicts itself: voxels of {} by its sform, which is taken, of {} by its pixdim".format(
        *sizes
    )


def _stored_voxels(image: Any, path: Path) -> NDArray[Any]:
    """The voxels as stored, without scaling, flat and in memory of our own (a mapped file could be cut).

    Read piece by piece into their place: libraries unpack well compressed files twice. The end of a compressed file is
    read too, for there stands the checksum.
    """
    proxy = image.dataobj
    values = np.empty(math.prod(proxy.shape), proxy.dtype)
    # Right into the array's own memory: no second copy of a scan, however large.
    view = values.view(np.uint8).data
    packed = path.name.lower().endswith(".gz")
    with gzip.open(path) if packed else open(path, "rb") as handle:
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
    # The size of the header stands at its start and is 348 or 540: in the wrong byte order it is neither.
    for order in "<>":
        (size,) = struct.unpack(f"{order}i", start[:4])
        if size in VOX_OFFSETS and len(start) >= size:
            place, kind = VOX_OFFSETS[size]
            (offset,) = struct.unpack_from(f"{order}{kind}", start, place)
            if offset < size:
                raise RefusedFileError(
                    f"{path}: its header puts the voxels at byte {offset:g}, within the header itself: set vox_offset "
                    f"to where they begin ({size + 4} if nothing stands between)"
                )
            if not offset <= max(VOX_OFFSETS) + MAX_EXTENSION_BYTES:  # NaN too
                raise RefusedFileError(
                    f"{path}: its header puts the voxels at byte {offset:g}; expected at most {MAX_EXTENSION_BYTES:,} "
                    "bytes of extensions before them: repair the header"
                )
            return KINDS[size]
    if start.startswith(GZIP):
        raise RefusedFileError(f"{path}: it is packed by gzip more often than its name says: unpack it once")
    raise RefusedFileError(
        f"{path}: expected a NIfTI image, got {start[:4]!r} at its start: give it the suffix of what it is"
    )


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
