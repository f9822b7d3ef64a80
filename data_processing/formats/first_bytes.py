"""What a file really is, by its first bytes, where its suffix says something else: the commonest way that a sound
reader fails on a stranger's file, and whatever it would say of the content misleads.
"""

import os
from pathlib import Path

LENGTH = 512
GZIP = b"\x1f\x8b"
# How a content begins, the suffixes that it may have, and what to do with a file of another one.
KINDS: tuple[tuple[bytes, tuple[str, ...], str], ...] = (
    (b"version https://git-lfs", (), "is a pointer of Git LFS and not the file itself: fetch it with git lfs pull"),
    (
        b"/annex/objects/",
        (),
        "is a pointer of git-annex, not the file itself: fetch it (git annex get, datalad get)",
    ),
    (b"<!doctype html", (), "is a web page: a download that failed; fetch it again"),
    (b"<html", (), "is a web page: a download that failed; fetch it again"),
    (b"%pdf", (), "is a PDF document; give the right file"),
    (b"pk\x03\x04", (".npz", ".pt", ".pth", ".tar", ".zip"), "is a ZIP archive: unpack it"),
    (b"rar!", (), "is a RAR archive: unpack it"),
    (b"7z\xbc\xaf", (), "is a 7z archive: unpack it"),
    (b"bzh", (), "is packed by bzip2: unpack it"),
    (b"\xfd7zxz", (), "is packed by xz: unpack it"),
    (GZIP, (".gz", ".tgz", ".tar", ".pth"), "is packed by gzip: unpack it, or end its name with .gz"),
    (b"ply\n", (".ply",), "is PLY: give it the suffix .ply"),
    (b"ply\r", (".ply",), "is PLY: give it the suffix .ply"),
    (b"gltf\x01", (".glb", ".gltf"), "is binary glTF: give it the suffix .glb"),
    (b"gltf\x02", (".glb", ".gltf"), "is binary glTF: give it the suffix .glb"),
    (b"off\n", (".off",), "is OFF: give it the suffix .off"),
    (b"off\r", (".off",), "is OFF: give it the suffix .off"),
    (b"nrrd000", (".nrrd",), "is NRRD: give it the suffix .nrrd"),
    (b"#binvox", (".binvox",), "is binvox: give it the suffix .binvox"),
    (b"\x93numpy", (".npy",), "is an array of numpy: give it the suffix .npy"),
    (b"\x89hdf\r\n", (".h5", ".hdf5", ".mat"), "is HDF5: give it the suffix .h5"),
)


def missing_file(path: Path, what: str = "") -> FileNotFoundError:
    """The error of a file that is not there. Git-annex and DataLad leave links to contents that nobody has fetched."""
    named = f"{what} {path}".strip()
    if path.is_symlink():
        return FileNotFoundError(
            f"{named} is a link to {os.readlink(path)}, which is not there: fetch it (git annex get, datalad get), or "
            "copy the file itself"
        )
    return FileNotFoundError(f"{named} does not exist")


def refuse_other_content(path: Path) -> None:
    """ValueError, naming the file, where its first bytes are those of something that its suffix is not, or none at all.

    Errors of opening are left to the reader.
    """
    try:
        with open(path, "rb") as handle:
            raw = handle.read(LENGTH)
            # Texts may begin with a byte order mark, blanks, or capitals.
            start = raw.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n").lower()
    except OSError:
        return
    if not raw:
        raise ValueError(f"{path}: the file is empty: copy or export it again")
    if path.suffix.lower() == ".gz" and not raw.startswith(GZIP):
        told = next((what for begin, _, what in KINDS if start.startswith(begin)), "")
        raise ValueError(
            f"{path}: " + (f"by its first bytes it {told}" if told else "is not packed by gzip: take .gz off its name")
        )
    for begin, suffixes, what in KINDS:
        if start.startswith(begin) and path.suffix.lower() not in suffixes:
            raise ValueError(f"{path}: by its first bytes it {what}")
