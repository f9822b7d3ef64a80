"""The folder of compiled kernels, and whether some are there: asked without loading numba."""

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from isofield.runtime.fingerprint import fingerprint
from isofield.runtime.user_cache import user_cache

FOLDER_VARIABLE = "NUMBA_CACHE_DIR"  # set by the user: then numba itself goes by it
PREPARATION = "preparation"  # the set of kernels that meshes are prepared with
PACKAGES = ("data_processing", "isofield")
SOURCES = (
    "*_kernels.py",
    "*_loops.py",
    "solid_angles.py",
    "winding_number_places.py",
    "jit.py",
)  # what compiled code is made of


@functools.cache
def kernel_folder() -> Path | None:
    """Where compiled kernels are kept: a folder of this user's alone; None where none can be written.

    The user's NUMBA_CACHE_DIR, else the user's cache folder, else (a read-only or missing home) one in the folder of
    temporary files. What lies there is run, so a folder that others could write to is not taken.
    """
    if given := os.environ.get(FOLDER_VARIABLE):
        # A folder that the user chose may be shared: that is their decision.
        return Path(given) if _is_own(Path(given), others=True) else None
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    places = [*_cache_homes(), Path(tempfile.gettempdir()) / f"isofield-{user}"]
    return next((folder for place in places if _is_own(folder := place / f"kernels-{_sources_digest()}")), None)


def _cache_homes() -> Iterator[Path]:
    with contextlib.suppress(RuntimeError):
        yield user_cache()


def _sources_digest() -> str:
    """Of all kernels: numba looks at the file of a kernel, and not at those whose functions it calls."""
    root = Path(__file__).resolve().parents[2]
    files = [file for name in PACKAGES for pattern in SOURCES for file in (root / name).rglob(pattern)]
    return fingerprint(version("numba"), *sorted(files), size=6)


def _is_own(folder: Path, *, others: bool = False) -> bool:
    """Whether the folder, made where it is missing, can be written by this user, and unless `others` by nobody else."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"0")
        if others or not hasattr(os, "getuid"):
            return True
        # The folder above too: whoever may write there can put another one in its place.
        states = [folder.lstat(), folder.parent.lstat()]
        return all(state.st_uid == os.getuid() and not state.st_mode & 0o022 for state in states)
    except OSError:
        return False


def are_compiled(module: str) -> bool:
    """Whether a kernel of a module of kernels, by its full name, has been compiled and kept before."""
    folder, name = kernel_folder(), module.rpartition(".")[2]
    return folder is not None and any(folder.rglob(f"{name}.*.nbi"))


def are_called(kernels: str) -> bool:
    """Whether all of a set of kernels (jit.compile_once) have been compiled and kept before."""
    folder = kernel_folder()
    return folder is not None and (folder / f"{kernels}.compiled").exists()


def mark_called(kernels: str) -> None:
    """Note that they have been."""
    folder = kernel_folder()
    if folder is not None:
        with contextlib.suppress(OSError):
            (folder / f"{kernels}.compiled").touch()
