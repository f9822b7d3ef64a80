"""Checkpoints: tensors and plain data, replaced atomically, read with `weights_only=True`."""

import io
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from isofield.runtime.atomic_files import replacing
from isofield.runtime.fingerprint import fingerprint
from isofield.runtime.invocation import next_command
from isofield.runtime.reasons import reason_of

FORMAT = 1
SHOWN = 100  # characters of a name


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain data; a kill at any moment leaves the old file or the new one."""
    image = io.BytesIO()  # composed in memory: a full disk is then an ordinary OSError of one write
    torch.save({"format": FORMAT, **content}, image)
    with replacing(path) as temporary:
        temporary.write_bytes(image.getbuffer())


def load(path: Path, *, device: torch.device | str = "cpu", mapped: bool = False) -> dict[str, Any]:
    """Read a checkpoint of ours. ValueError for anything else; no code in the file is ever executed.

    `mapped`: tensors stay in the file until they are looked at, which plain numbers beside them are read without.
    """
    content = load_tensors(path, device=device, mapped=mapped)
    if not isinstance(content, dict) or content.get("format") != FORMAT or "model" not in content:
        raise ValueError(
            f"{path} is no checkpoint of a run (format {FORMAT}); published weights come in through "
            f"`{next_command('import', 'imnet')}`"
        )
    return content


def load_tensors(path: Path, *, device: torch.device | str = "cpu", mapped: bool = False) -> Any:
    """Any torch file of tensors and plain data. ValueError when it is cut short, corrupt, or holds anything else."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        # A file that may not be read is that, not a damaged one.
        path.open("rb").close()
    except OSError as error:
        raise OSError(f"cannot be opened: {reason_of(error)}") from error
    try:
        # Before torch is asked for memory, and after: neither the archive nor the tensors in it may declare more than
        # they hold.
        _refuse_packed(path)
        content = torch.load(path, map_location=device, weights_only=True, mmap=mapped)
        _refuse_hollow(content, _record_sizes(path))
        return content
    except Exception as error:
        kind = "not only tensors and plain data" if _is_archive(path) else "cut short or corrupt"
        ours = reason_of(error, otherwise="") if isinstance(error, ValueError) else ""
        raise ValueError(
            f"{path}: cannot be read as a torch checkpoint ({kind}; {path.stat().st_size} bytes)"
            f"{f': {ours}' if ours else ''}"
        ) from error


def sizes_of(state: Callable[[], Mapping[str, torch.Tensor]]) -> dict[str, torch.Size]:
    """Names and sizes of the tensors that `state` would make, without memory for them."""
    with torch.device("meta"), _NothingDrawn():
        return {name: value.shape for name, value in state().items()}


class _NothingDrawn(TorchFunctionMode):
    """normal_, kaiming_normal_ and the like do nothing: without memory they take five seconds of imports."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "").endswith("normal_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def _refuse_packed(path: Path) -> None:
    """Torch stores its records as they are; packed or overlapping ones would unpack to any size."""
    if _is_archive(path):
        with zipfile.ZipFile(path) as archive:
            declared = sum(member.file_size for member in archive.infolist())
        if declared > path.stat().st_size:
            raise ValueError(f"declares {declared:,} bytes of records: torch does not pack them")


def _record_sizes(path: Path) -> Counter[int] | None:
    """How often the file has a record of so many bytes; None where it is no archive."""
    if not _is_archive(path):
        return None
    with zipfile.ZipFile(path) as archive:
        return Counter(member.file_size for member in archive.infolist())


def _refuse_hollow(content: Any, records: Counter[int] | None) -> None:
    """Tensors that declare more numbers than they hold, wherever they are: a copy of one would take any memory.

    Torch 2.6 makes a storage as long as it is declared; what its record lacks is then whatever was in memory.
    """
    waiting, seen, storages = [("it", content)], set[int](), dict[int, int]()
    while waiting:
        name, one = waiting.pop()
        # Plain data may hold itself.
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Mapping):
            waiting += [(str(key)[:SHOWN], value) for key, value in one.items()]
        elif isinstance(one, list | tuple | set):
            waiting += [(name, value) for value in one]
        elif isinstance(one, torch.Tensor):
            held = one.layout is torch.strided and one.device.type != "meta" and not one.is_quantized
            if not held or one.untyped_storage().nbytes() < one.numel() * one.element_size():
                raise ValueError(f"{name} declares {tuple(one.shape)} but does not hold as many numbers")
            storages[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
    declared = Counter(size for size in storages.values() if size)
    if records is not None and (missing := declared - records):
        raise ValueError(f"declares {max(missing):,} bytes of numbers, and has no record of that size")


def _is_archive(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # it says so of archives over several disks
        return False


def hash_of(state: Mapping[str, torch.Tensor]) -> str:
    """A short hash of names and values of weights: tells which model made a result."""
    return fingerprint((part for name in sorted(state) for part in (name, state[name])), size=8)
