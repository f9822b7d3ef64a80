"""Files of scans, whatever their format: which suffixes there are, opened alike, and what other files would need.

Formats that are not read (DICOM, pairs of .hdr and .img, MINC, ...) get one line that says what they are and how to
convert them, the same in all commands; so do scenes, CAD models, clouds and archives.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from data_processing.formats.first_bytes import refuse_other_content
from data_processing.formats.images import IMAGE_SUFFIXES, open_image
from data_processing.formats.nifti import NIFTI_SUFFIXES, OpenScan, mask_of_scan, open_scan
from data_processing.geometry.voxel_grid import RefusedFileError, VoxelGrid

SCAN_SUFFIXES = (".nii.gz", ".seg.nrrd", ".nii", ".nrrd", ".mha", ".mhd")  # the longest that fits counts
assert set(SCAN_SUFFIXES) == {*NIFTI_SUFFIXES, *IMAGE_SUFFIXES}
DICOM, PAIR, OTHER, SCENE, CAD, CLOUD, ARCHIVE = "DICOM", "pair", "other", "scene", "CAD", "cloud", "archive"
# What to do with each kind of file that is not read.
ADVICE = {
    DICOM: "DICOM; convert it, for example with dcm2niix (segmentations and contours with 3D Slicer)",
    PAIR: "a NIfTI or Analyze pair; write it as .nii.gz (Analyze does not say where left is)",
    OTHER: "another format of scans; write it as .nii.gz, for example with 3D Slicer",
    SCENE: "another format of meshes and scenes; export it as .glb, .ply or .obj, for example with Blender",
    CAD: "a CAD model, surfaces without triangles; mesh it and write it as .ply or .stl, for example with FreeCAD",
    CLOUD: "another format of point clouds; write it as .ply or .pcd, for example with CloudCompare",
    ARCHIVE: "an archive, or a packed file; unpack it",
}
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
PAIR_SUFFIXES = (".hdr", ".img", ".hdr.gz", ".img.gz")
OTHER_SUFFIXES = (".mgz", ".mgh", ".mnc", ".gipl", ".nhdr", ".vtk", ".vti", ".nii.bz2", ".nii.zst", ".nii.xz",
                  ".mif", ".mif.gz", ".head", ".brik", ".tif", ".tiff")  # fmt: skip
SCENE_SUFFIXES = (".3mf", ".msh", ".dae", ".x3d", ".x3dz", ".wrl", ".vrml", ".fbx", ".usd", ".usda", ".usdc", ".usdz",
                  ".abc", ".blend", ".3ds", ".max", ".ma", ".mb", ".c4d", ".lwo", ".ase", ".amf", ".ctm", ".vtp",
                  ".vtu", ".mesh", ".meshb", ".dxf", ".skp", ".3dm", ".b3dm")  # fmt: skip
CAD_SUFFIXES = (".step", ".stp", ".iges", ".igs", ".sldprt", ".sldasm", ".x_t", ".x_b", ".brep", ".ifc", ".ipt", ".jt",
                ".catpart", ".f3d", ".fcstd", ".prt", ".sat", ".dwg")  # fmt: skip
CLOUD_SUFFIXES = (".las", ".laz", ".e57", ".ptx", ".fls", ".rcp", ".rcs", ".pcap", ".spz", ".splat", ".ksplat")
PACKED = tuple(f"{suffix}{packed}" for suffix in (".obj", ".ply", ".stl", ".off", ".npy", ".nrrd", ".tar")
               for packed in (".gz", ".bz2", ".xz", ".zst"))  # fmt: skip
ARCHIVE_SUFFIXES = (".zip", ".rar", ".7z", ".tar", ".tgz", *PACKED)
DICOM_MARK = (128, b"DICM")  # where it is, and what
MOST_LOOKED_AT = 50  # files whose content is asked what they are


def scan_suffix(name: str) -> str:
    """The suffix of a file's name if it is that of a scan, as it is spelt, `.nii.gz` and `.seg.nrrd` whole; else ""."""
    lower = name.lower()
    return next((name[-len(suffix) :] for suffix in SCAN_SUFFIXES if lower.endswith(suffix)), "")


def scan_stem(name: str) -> str:
    """A file's name, or path, without the suffix of a scan."""
    suffix = scan_suffix(name)
    return name[: -len(suffix)] if suffix else name


def open_any_scan(path: Path) -> OpenScan:
    """Open a file of any format that is read, by its suffix; see `open_scan` and `open_image` for what they raise."""
    # A file under a false suffix, a web page or an archive, is named for what it is before a library reads nonsense
    # from it.
    if path.is_file():
        if not scan_suffix(path.name):
            known = described_file(path) or f"no scan by its suffix; expected one of {', '.join(SCAN_SUFFIXES)}"
            raise RefusedFileError(f"{path}: it is {known}")
        try:
            refuse_other_content(path)
        except ValueError as error:
            raise RefusedFileError(str(error)) from error
    return open_image(path) if path.name.lower().endswith(IMAGE_SUFFIXES) else open_scan(path)


def read_scan_mask(path: Path, *, threshold: float = 0.5) -> VoxelGrid:
    """The mask in a file, as `read_mask` gives it for NIfTI."""
    return mask_of_scan(open_any_scan(path), threshold=threshold)


def described(files: Iterable[Path]) -> str:
    """What the files are and what to do with them, where none is a scan that is read: "3 .dcm: DICOM; convert it, ...".

    Asks the first bytes of files whose suffix says nothing. "" for no file at all.
    """
    found = {kind: Counter[str]() for kind in (*ADVICE, "")}
    looked_at = 0
    for file in files:
        kind = _kind_by_suffix(file)
        # A folder may hold a hundred thousand files: only the first ones of no known suffix are opened.
        if not kind and looked_at < MOST_LOOKED_AT:
            looked_at += 1
            kind = DICOM if _is_dicom(file) else ""
        found[kind][_shown_suffix(file, kind)] += 1
    parts = [f"{_listed(found[kind])}: {advice}" for kind, advice in ADVICE.items() if found[kind]]
    return "; ".join([*parts, *([_listed(found[""])] if found[""] else [])])


def described_file(file: Path) -> str:
    """What a single file is and what to do with it; "" for one of no kind that is known here."""
    kind = _kind_by_suffix(file) or (DICOM if _is_dicom(file) else "")
    return ADVICE.get(kind, "")


def _kind_by_suffix(file: Path) -> str:
    name = file.name.lower()
    kinds = (
        *((DICOM, DICOM_SUFFIXES), (PAIR, PAIR_SUFFIXES), (OTHER, OTHER_SUFFIXES)),
        *((SCENE, SCENE_SUFFIXES), (CAD, CAD_SUFFIXES)),
        *((CLOUD, CLOUD_SUFFIXES), (ARCHIVE, ARCHIVE_SUFFIXES)),
    )
    return next((kind for kind, suffixes in kinds if name.endswith(suffixes)), "")


def _is_dicom(file: Path) -> bool:
    place, mark = DICOM_MARK
    try:
        with open(file, "rb") as handle:
            return handle.read(place + len(mark))[place:] == mark
    except OSError:
        return False


def _shown_suffix(file: Path, kind: str) -> str:
    """Unique identifiers as names of files have a suffix that means nothing."""
    suffix = scan_suffix(file.name.lower()) or file.suffix.lower()
    return suffix if suffix and not suffix[1:].isdigit() else "without suffix"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items(), key=lambda item: -item[1]))
