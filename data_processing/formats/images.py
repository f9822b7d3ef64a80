"""NRRD and MetaImage volumes through SimpleITK, the extra `isofield[images]`: .nrrd .seg.nrrd .mha .mhd.

Their headers are read here first, as text: what they declare is checked before the library is asked for memory. LPS
becomes RAS, units other than mm are converted. Segments of 3D Slicer keep their names, also where layers overlap.
"""

import contextlib
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.first_bytes import missing_file
from data_processing.formats.nifti import OpenScan, ScanGrid, invertible_affine, unit_note
from data_processing.formats.npy import MAX_DEFLATE_RATIO
from data_processing.geometry.voxel_grid import RefusedFileError, reading, spatial_shape

IMAGE_SUFFIXES = (".seg.nrrd", ".nrrd", ".mha", ".mhd")
MAX_HEADER_BYTES = 1 << 20
MAX_BYTES = 1 << 32  # of voxels as they are stored
MAX_LAYERS = 256
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Names of spaces whose axes the library turns to LPS; of all others nothing says where left is.
KNOWN_SPACES = (
    *("right-anterior-superior", "left-anterior-superior", "left-posterior-superior"),
    *("ras", "las", "lps"),
)
UNITS = {
    1.0: ("", "mm", "millimeter", "millimetre", "millimeters", "millimetres", "?"),
    1e-3: ("um", "µm", "μm", "micron", "microns", "micrometer", "micrometre", "micrometers", "micrometres"),
    10.0: ("cm", "centimeter", "centimetre"),
    1e3: ("m", "meter", "metre", "meters", "metres"),
}
NUMBER_TYPES = {
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t", "met_uchar"),
    "i1": ("signed char", "int8", "int8_t", "met_char"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t", "met_ushort"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t", "met_short"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t", "met_uint", "met_ulong"),
    "i4": ("int", "signed int", "int32", "int32_t", "met_int", "met_long"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t", "met_ulong_long"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t", "met_long_long"),
    "f4": ("float", "met_float"),
    "f8": ("double", "met_double"),
}
NUMPY_TYPES = {name: np.dtype(code) for code, names in NUMBER_TYPES.items() for name in names}
INSTALL = "pip install 'isofield[images]'"


@dataclass(frozen=True)
class Segment:
    """One segment of 3D Slicer: its value in the voxels of its layer, and `label`, which no other segment has."""

    name: str
    value: int
    layer: int
    label: int


@dataclass(frozen=True)
class ImageHeader:
    """What a header says beside the grid. Empty `segments`: a plain volume."""

    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True)
class _Declared:
    """What the text of a header declares."""

    sizes: tuple[int, ...]
    layers: int
    dtype: np.dtype[Any]
    bytes_at_most: int  # that the file can hold
    unit: float  # mm
    names_unit: bool
    doubt: str
    segments: tuple[Segment, ...]


def open_image(path: Path) -> OpenScan:
    """Open a NRRD or MetaImage file and check what it declares; no voxel is read.

    Raises FileNotFoundError, PermissionError (OSError), and RefusedFileError where SimpleITK is not installed (naming
    the extra), for damaged headers, other than three axes of space, types that are no real numbers, units that are no
    lengths, sizes that the file cannot hold, and voxels in a file elsewhere.
    """
    path = Path(path)
    if not path.is_file():
        raise missing_file(path, "scan")
    with open(path, "rb") as handle:
        start = handle.read(MAX_HEADER_BYTES)
    kind = "a MetaImage" if path.suffix.lower() in (".mha", ".mhd") else "a NRRD image"
    library = _library(path)
    with reading(path, kind):
        # What the text declares is held against the file before the library asks for memory.
        declared = _meta_image(start, path) if kind == "a MetaImage" else _nrrd(start, path)
        shape = spatial_shape(declared.sizes, path)
        wanted = math.prod(shape) * declared.layers * declared.dtype.itemsize
        if wanted > min(declared.bytes_at_most, MAX_BYTES):
            raise RefusedFileError(
                f"{path}: its header declares {wanted:,} bytes {declared.sizes}, but at most "
                f"{min(declared.bytes_at_most, MAX_BYTES):,} can be in it: it is cut off or its header is wrong, "
                "restore the file"
            )
        # The geometry is the library's: it knows how both formats turn and scale their axes.
        reader = library.ImageFileReader()
        reader.SetFileName(str(path))
        with _plain_errors(path, kind):
            reader.ReadImageInformation()
        if tuple(reader.GetSize()) != shape:
            raise RefusedFileError(f"{path}: SimpleITK reads a grid of {reader.GetSize()}, its header says {shape}")
        affine = invertible_affine(_affine_of(reader, declared.unit), path)
    note = "" if declared.names_unit else unit_note(affine, shape)
    grid = ScanGrid(shape, affine, path, doubt=declared.doubt, unit_note=note)

    def read() -> list[NDArray[Any]]:
        with reading(path, kind), _plain_errors(path, kind):
            values = library.GetArrayFromImage(library.ReadImage(str(path)))
        # The library's array runs (z, y, x[, layer]): turned round it is in Fortran order, as NIfTI's is.
        layers = [values[..., number] for number in range(values.shape[3])] if values.ndim == 4 else [values]
        return [np.asfortranarray(layer.T) for layer in layers]

    return OpenScan(grid, ImageHeader(declared.segments), read)


@contextlib.contextmanager
def _plain_errors(path: Path, kind: str) -> Iterator[None]:
    """What the library says is of its own making: header and voxels do not fit each other, as far as we can tell."""
    try:
        yield
    except RuntimeError as error:
        raise RefusedFileError(
            f"{path}: cannot be read as {kind}: its voxels or its header are damaged, or packed in a way that is not "
            "read: copy the file again, or write it as .nii.gz"
        ) from error


def _library(path: Path) -> Any:
    try:
        import SimpleITK
    except ImportError as error:
        raise RefusedFileError(
            f"{path}: {'/'.join(IMAGE_SUFFIXES)} files are read with SimpleITK, which is not installed: {INSTALL}, or "
            "write it as .nii.gz"
        ) from error
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # what it says of damaged headers is our ValueError
    return SimpleITK


def _affine_of(reader: Any, unit: float) -> NDArray[np.float64]:
    """Index to RAS mm."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(reader.GetDirection()).reshape(3, 3) * np.array(reader.GetSpacing())
    affine[:3, 3] = reader.GetOrigin()
    affine[:3] *= unit
    return LPS_TO_RAS @ affine


def _nrrd(start: bytes, path: Path) -> _Declared:
    if not start.startswith(b"NRRD"):
        raise RefusedFileError(
            f"{path}: expected a NRRD image, got {start[:8]!r} at its start: give it the suffix of what it is"
        )
    # The header ends at the first empty line. Lines with ':=' are keys of the program that wrote it, with ':' fields of
    # the format.
    head = re.split(rb"\r?\n\r?\n", start, maxsplit=1)[0]
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    for line in head.decode("utf-8", errors="replace").splitlines()[1:]:
        if line.startswith("#"):
            continue
        name, sign, value = line.partition(":=")
        if sign:
            keys[name.strip()] = value.strip()
        else:
            name, _, value = line.partition(":")
            fields[name.strip().lower().replace(" ", "")] = value.strip()
    kinds, sizes = fields.get("kinds", "").lower().split(), [int(size) for size in fields["sizes"].split()]
    layers = 1
    if len(sizes) == 4:
        layers = _layers(kinds, sizes, path)
        sizes = sizes[1:]
    doubt = (
        ""
        if fields.get("space", "").lower() in KNOWN_SPACES and "spacedirections" in fields
        else (
            f"its header has no orientation (space: {fields.get('space') or 'absent'}): left and right cannot be told"
        )
    )
    # Each axis may name its unit; they have to be one.
    units = set(re.findall(r'"([^"]*)"', fields.get("spaceunits", "")))
    data = fields.get("datafile")
    packed = fields.get("encoding", "raw").lower()
    # A number as text takes one character at least and is one of 8 bytes at most; deflate packs 1032 bytes into one at
    # best. So much can be in the file, and no more.
    ratios = {"raw": 1, "gzip": MAX_DEFLATE_RATIO, "gz": MAX_DEFLATE_RATIO, "ascii": 8, "text": 8, "txt": 8, "hex": 1}
    if packed not in ratios:
        raise RefusedFileError(f"{path}: encoding {packed!r}: expected raw or gzip: write it again")
    return _Declared(
        tuple(sizes),
        layers,
        _dtype(fields["type"], path),
        _data_size(path, data) * ratios[packed],
        _unit(units, "space units", path),
        bool(units - {"", "?"}),
        doubt,
        _segments(keys, layers, path),
    )


def _layers(kinds: list[str], sizes: list[int], path: Path) -> int:
    """Of a segmentation with overlapping segments: its first axis is a list."""
    if kinds[:1] not in (["list"], ["vector"]) or not 1 <= sizes[0] <= MAX_LAYERS:
        raise RefusedFileError(
            f"{path}: expected one 3D volume, or layers of segments, got sizes {sizes} and kinds "
            f"{' '.join(kinds) or 'absent'}: save each volume as its own file"
        )
    return sizes[0]


def _meta_image(start: bytes, path: Path) -> _Declared:
    fields: dict[str, str] = {}
    # The header ends with the line that says where the voxels are; behind it may come the voxels themselves.
    for line in start.split(b"\n"):
        name, sign, value = line.decode("latin-1").partition("=")
        if not sign:
            raise RefusedFileError(f"{path}: expected lines 'Name = value' of a MetaImage, got {line[:40]!r}")
        fields[name.strip().lower()] = value.strip()
        if name.strip().lower() == "elementdatafile":
            break
    sizes = tuple(int(size) for size in fields["dimsize"].split())
    if len(sizes) < 3 or any(size != 1 for size in sizes[3:]) or int(fields.get("elementnumberofchannels", 1)) != 1:
        raise RefusedFileError(
            f"{path}: expected one 3D volume, got DimSize {sizes} and "
            f"{fields.get('elementnumberofchannels', 1)} channels: save each volume as its own file"
        )
    oriented = {"transformmatrix", "rotation", "orientation"} & fields.keys()
    doubt = "" if oriented else "its header has no orientation (TransformMatrix): left and right cannot be told"
    data = fields["elementdatafile"]
    packed = fields.get("compresseddata", "False").lower() == "true"
    return _Declared(
        sizes,
        1,
        _dtype(fields["elementtype"], path),
        _data_size(path, None if data.upper() == "LOCAL" else data) * (MAX_DEFLATE_RATIO if packed else 1),
        _unit({fields.get("distanceunits", "")}, "DistanceUnits", path),
        fields.get("distanceunits", "") not in ("", "?"),
        doubt,
        (),
    )


def _dtype(name: str, path: Path) -> np.dtype[Any]:
    dtype = NUMPY_TYPES.get(" ".join(name.lower().split()))
    if dtype is None:
        raise RefusedFileError(f"{path}: expected integers or real numbers, got type {name!r}: save it as uint8")
    return dtype


def _data_size(path: Path, data: str | None) -> int:
    """Bytes of the file that holds the voxels: the header's own, or one beside it and nowhere else."""
    if data is None:
        return path.stat().st_size
    # A path, a list of files, or a pattern of names could reach beyond the folder.
    if Path(data).name != data or data.upper().startswith("LIST") or "%" in data:
        raise RefusedFileError(f"{path}: its voxels are said to be in {data[:80]!r}: expected one file beside it")
    file = path.with_name(data)
    if not file.is_file():
        raise RefusedFileError(f"{path}: its voxels are in {data}, which is not beside it: bring both files together")
    return file.stat().st_size


def _unit(names: set[str], field: str, path: Path) -> float:
    """Millimetres of the unit that a header names."""
    plain = {name.strip().lower() for name in names} or {""}
    found = {unit for unit, known in UNITS.items() if plain & set(known)}
    if len(found) != 1 or not plain <= {name for known in UNITS.values() for name in known}:
        raise RefusedFileError(f"{path}: {field}: expected one unit of length such as mm, got {', '.join(names)}")
    return found.pop()


def _segments(keys: Mapping[str, str], layers: int, path: Path) -> tuple[Segment, ...]:
    """The segments that 3D Slicer notes in a header, in order."""
    found: list[tuple[str, int, int]] = []
    for number in itertools.count():
        head = f"Segment{number}_"
        if f"{head}ID" not in keys and f"{head}Name" not in keys:
            break
        # Slicer leaves both out where they are obvious: one layer for each segment, or one for all.
        value, layer = (
            int(keys.get(f"{head}LabelValue", "1")),
            int(keys.get(f"{head}Layer", number if layers > 1 else 0)),
        )
        if value <= 0 or not 0 <= layer < layers:
            raise RefusedFileError(f"{path}: {head}LabelValue {value} in layer {layer}: expected a label of a layer")
        found.append((keys.get(f"{head}Name") or keys[f"{head}ID"], value, layer))
    # Layers may use one value for two segments; then segments are numbered as they come.
    unique = len({value for _, value, _ in found}) == len(found)
    return tuple(
        Segment(name, value, layer, value if unique else number)
        for number, (name, value, layer) in enumerate(found, start=1)
    )
