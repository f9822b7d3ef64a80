"""What a user is told of an exception: our own sentences as they are, never the words of a library.

A sentence is ours if a `raise` of our own code made it (or of the user's script, that calls us). What a library raises,
and what Python or C raises inside a line of ours, says nothing to somebody who did not write the code: type and place
stand for it, and the environment variable ISOFIELD_TRACEBACK=1 prints it whole on the error stream.
"""

import dis
import functools
import os
import sysconfig
import traceback
from pathlib import Path
from types import TracebackType

PACKAGES = ("isofield", "data_processing", "imnet", "ifnet")
LIBRARIES = frozenset({"site-packages", "dist-packages"})  # folders that hold them
HANDED_ON = "concurrent.futures"  # raises again what a worker process raised; its sentence was made there
DAMAGED = "keys or values are missing, or of another kind"  # what errors of a damaged JSON file or archive mean
RAISE = dis.opmap["RAISE_VARARGS"]
# How torch and the libraries below it report what no line of code is to blame for, and what helps.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "unable to allocate", "cannot allocate memory")
MACHINES = (
    (
        ("no kernel image is available",),
        "this build of torch has no code for the GPU here: install a build for it (pytorch.org), or take the CPU",
    ),
    (
        ("CUDA error", "CUDA driver", "CUBLAS_STATUS", "CUDNN_STATUS", "cuDNN error", "NCCL error", "device-side"),
        "the GPU, or its driver, reports an error, and what it computed is lost: run the same command again; if it "
        "comes back, take another device (nvidia-smi shows their state) or the CPU",
    ),
)


def reason_of(error: BaseException, *, otherwise: str | None = None) -> str:
    """One sentence (or more) for a message or a row; never empty.

    `otherwise`: what to say of a library's error, where the caller knows what it means.
    """
    if is_out_of_memory(error):
        return "there is not memory enough for it"
    place = _place_of(error.__traceback__)
    # What the system says of its own is short and known: a full disk, no permission.
    if isinstance(error, OSError) and error.errno:
        said = error.strerror if place is None else os.strerror(error.errno)
        return f"{said}" if error.filename is None else f"{error.filename}: {said}"
    if place is None and str(error):
        return str(error)
    if os.environ.get("ISOFIELD_TRACEBACK"):
        traceback.print_exception(error)
    if otherwise is not None:
        return otherwise
    return (
        f"an error that nobody foresaw ({type(error).__name__}{f' at {place}' if place else ''}): the file may be "
        "damaged or unusual; ISOFIELD_TRACEBACK=1 shows the whole error, for a report to us"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Of the machine or of a device, whatever library asked for it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in OUT_OF_MEMORY)


def machine_reason(error: BaseException) -> str | None:
    """One line for a command that the machine stopped: no memory, a device that fails. None for any other error."""
    if is_out_of_memory(error):
        return (
            "there is not memory enough for it: end other work here, or ask for less at once (a smaller batch or "
            "resolution, fewer workers)"
        )
    if not isinstance(error, RuntimeError):
        return None
    return next((reason for words, reason in MACHINES if any(word in str(error) for word in words)), None)


def _place_of(raised: TracebackType | None) -> str | None:
    """The last line of ours on the way to an error that is not ours; None where a `raise` of ours made it."""
    ours, last = None, None
    while raised is not None:
        ours, last = raised if _is_ours(raised) else ours, raised
        raised = raised.tb_next
    if last is None or _module(last).startswith(HANDED_ON):
        return None
    if last is ours and last.tb_frame.f_code.co_code[last.tb_lasti] == RAISE:
        return None
    return f"{_module(ours)}, line {ours.tb_lineno}" if ours else _module(last)


def _is_ours(raised: TracebackType) -> bool:
    if _module(raised).partition(".")[0] in PACKAGES:
        return True
    file = raised.tb_frame.f_code.co_filename
    # By name too: an environment may take libraries over from another one.
    return not (file.startswith(("<", *_library_folders())) or LIBRARIES & set(Path(file).parts))


@functools.cache
def _library_folders() -> tuple[str, ...]:
    folders = [Path(sysconfig.get_path(key)) for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    return tuple({f"{form}{os.sep}" for folder in folders for form in (folder, folder.resolve())})


def _module(raised: TracebackType) -> str:
    return str(raised.tb_frame.f_globals.get("__name__", ""))
