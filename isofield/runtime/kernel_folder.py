"""The folder of compiled kernels, and whether some are there: asked without loading numba.

numba finds a kernel again only from the same path of its source, on the same processor, by the same Python: code that
was compiled for another checkout, or for another node with the same home, is none for us. So the folder's name holds
all of these beside the sources, and what lies in it is what numba will read.
"""

import contextlib
import functools
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from isofield.runtime.fingerprint import fingerprint
from isofield.runtime.user_cache import user_cache

FOLDER_VARIABLE = "NUMBA_CACHE_DIR"  # set by the user
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
    name = f"kernels-{_digest()}"
    if given := os.environ.get(FOLDER_VARIABLE):
        # A folder that the user chose may be shared: that is their decision.
        return folder if _is_own(folder := Path(given) / name, others=True) else None
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "")
    places = [*_cache_homes(), Path(tempfile.gettempdir()) / f"isofield-{user}"]
    return next((folder for place in places if _is_own(folder := place / name)), None)


def _cache_homes() -> Iterator[Path]:
    with contextlib.suppress(RuntimeError):
        yield user_cache()


def _digest() -> str:
    """Of all that compiled code is found by: see above."""
    # The path as numba takes it: one checkout under two names (a link) is two.
    root = Path(os.path.abspath(__file__)).parents[2]
    # Of all kernels: numba looks at the file of a kernel, and not at those whose functions it calls.
    files = [file for name in PACKAGES for pattern in SOURCES for file in (root / name).rglob(pattern)]
    place = (str(root), sys.implementation.cache_tag, _processor())
    return fingerprint(version("numba"), "\n".join(place), *sorted(files), size=6)


def _processor(file: Path = Path("/proc/cpuinfo")) -> str:
    """What tells this kind of processor from others: its name and what it can do, or only a name."""
    kinds = ("model name", "flags", "Features", "CPU implementer", "CPU part")
    lines: list[str] = []
    with contextlib.suppress(OSError), file.open(encoding="utf-8", errors="replace") as processors:
        for line in processors:
            if not line.strip():  # the first of them: they are alike, and the file of a large machine is long
                break
            lines += [line.strip()] if line.startswith(kinds) else []
    return "\n".join([platform.machine(), *lines] if lines else [platform.machine(), platform.processor()])


def _is_own(folder: Path, *, others: bool = False) -> bool:
    """Whether the folder, made where it is missing, can be written by this user, and unless `others` by nobody else."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o777 if others else 0o700)
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
