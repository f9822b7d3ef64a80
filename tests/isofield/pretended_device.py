"""A device on a machine without one: tensors that say they are there, and compute on the CPU.

What fails on a real device fails here: operands on two devices (but for scalars), numpy() of a device's tensor. Values
are real, so code whose shapes depend on values runs through; kernels of a real device are not tested. Importing this
registers the device for the rest of the process, and must come before anything is differentiated.

`counts()` says how many operators ran on the device, views left out, and where the host would have waited for it.
"""

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretended"
MOVES = {"_to_copy", "copy_", "_local_scalar_dense"}  # operators that meet two devices by right
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "unique_consecutive"}
NO_LAUNCH = {"_unsafe_view", "_reshape_alias", "empty", "new_empty", "empty_like", "empty_strided"}  # beside views
ROOT = Path(__file__).parents[2]


@dataclass
class Counts:
    """What a piece of work asks of the device, as a CUDA device would be asked."""

    operators: int = 0  # views left out: they launch nothing
    waits: Counter = field(default_factory=Counter)  # the lines of ours at which the host waits, and how often
    paused: bool = False

    @property
    def all_waits(self) -> int:
        return sum(self.waits.values())

    def note(self, name: str, function, arguments, keywords) -> None:
        """One operator that is about to run on the device."""
        if self.paused:
            return
        returns = function._schema.returns
        aliases = returns[0].alias_info if returns else None
        self.operators += (aliases is None or aliases.is_write) and name not in NO_LAUNCH
        self.wait_where(_waits(name, arguments, keywords), name)

    def wait_where(self, waits: bool, name: str) -> None:
        if waits and not self.paused:
            self.waits[f"{_line_of_ours()} {name}"] += 1

    @contextmanager
    def pause(self) -> Iterator[None]:
        """What runs inside is not counted: a decoder, say."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before


COUNTING: list[Counts] = []


@contextmanager
def counts() -> Iterator[Counts]:
    """Count what runs on the device in the block."""
    COUNTING.append(Counts())
    try:
        yield COUNTING[-1]
    finally:
        COUNTING.pop()


def _waits(name: str, arguments, keywords) -> bool:
    """Whether the host waits: it needs a number or a size of the device, or copies memory that is not pinned."""
    if name in WAITING:
        return True
    if name == "repeat_interleave":
        return keywords.get("output_size") is None and not (len(arguments) > 1 and isinstance(arguments[1], int))
    if name in ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"):
        masks = any(one is not None and one.dtype in (torch.bool, torch.uint8) for one in arguments[1])
        number = len(arguments) > 2 and not isinstance(arguments[2], OnDevice)  # made on the CPU, then sent
        return masks or number
    if name in ("_to_copy", "copy_"):
        source = arguments[1] if name == "copy_" else arguments[0]
        target = arguments[0] if name == "copy_" else keywords.get("device")
        there = isinstance(target, OnDevice) if name == "copy_" else target is None or _is_device(target)
        hurried = keywords.get("non_blocking") or (name == "copy_" and len(arguments) > 2 and arguments[2])
        moves = there != isinstance(source, OnDevice)
        return moves and not (there and hurried)  # what comes back to the host is read at once
    return False


def _is_device(name) -> bool:
    return torch.device(name).type == NAME


def _line_of_ours() -> str:
    """The innermost line of the product on the stack."""
    for frame in reversed(traceback.extract_stack()):
        inside = Path(frame.filename).is_relative_to(ROOT)
        if inside and "tests" not in Path(frame.filename).relative_to(ROOT).parts and ".venv" not in frame.filename:
            return f"{Path(frame.filename).relative_to(ROOT)}:{frame.lineno}"
    return "elsewhere"


class OnDevice(torch.Tensor):
    """Holds its values on the CPU and says that they are elsewhere."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
            requires_grad=held.requires_grad,
        )

    def __init__(self, held):
        self.held = held

    def __repr__(self, *, tensor_contents=None):
        return f"OnDevice({self.held})"

    def tolist(self):
        if COUNTING:
            COUNTING[-1].wait_where(True, "tolist")
        return self.held.tolist()

    def numpy(self, **_):
        raise TypeError("can't convert a tensor of the device to numpy: use .cpu() first")

    def __array__(self, *_, **__):
        return self.numpy()

    def __setitem__(self, index, value):
        """On CUDA torch makes the number on the CPU, and sends it where the index is of whole numbers."""
        parts = index if isinstance(index, tuple) else (index,)
        whole = any(isinstance(part, torch.Tensor) and part.dtype != torch.bool for part in parts)
        if COUNTING:
            COUNTING[-1].wait_where(whole and not isinstance(value, torch.Tensor), "a number sent")
        super().__setitem__(index, value)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):  # type: ignore[override]
        return computed(func, args, kwargs or {})


class Pretended(TorchDispatchMode):
    """Makes factories return OnDevice when they are asked for the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return computed(func, args, kwargs or {})


def computed(function, arguments, keywords):
    """One operator on the values held, its result where a real device would have it."""
    name = function.overloadpacket.__name__
    there = any(isinstance(item, OnDevice) for item in tree_flatten((arguments, keywords))[0])
    if there and name not in MOVES:
        refuse_two_devices(name, arguments, keywords)
    asked = keywords.get("device")
    if COUNTING and (there or (asked is not None and _is_device(asked))):
        if torch.is_inference_mode_enabled():  # composite operators come here whole then
            with Pretended():
                parts = function.decompose(*arguments, **keywords)
            if parts is not NotImplemented:
                return parts
        COUNTING[-1].note(name, function, arguments, keywords)
    values = tree_map(held, (arguments, keywords))
    result = function(*values[0], **values[1])
    if name == "_local_scalar_dense":
        return result
    if name.endswith("_") and not name.endswith("__") and isinstance(arguments[0], torch.Tensor):  # in place
        return arguments[0]
    there = torch.device(asked).type == NAME if asked is not None else there
    return tree_map(placed, result) if there else result


def refuse_two_devices(name, arguments, keywords):
    """As torch does: scalars may be anywhere, and lists of indices may be on the CPU."""
    if name.startswith("index") and isinstance(arguments[1], (list, tuple)):
        arguments = (arguments[0], *arguments[2:])
    tensors = [item for item in tree_flatten((arguments, keywords))[0] if isinstance(item, torch.Tensor)]
    stray = [tuple(item.shape) for item in tensors if not isinstance(item, OnDevice) and item.dim() > 0]
    if stray:
        raise RuntimeError(f"{name}: operands on the device and on the CPU; on the CPU {stray}")


def held(item):
    """The values of a tensor, and the CPU for the device."""
    if isinstance(item, torch.device):
        return torch.device("cpu")
    return item.held if isinstance(item, OnDevice) else item


def placed(item):
    """A tensor on the device; anything else as it is."""
    if not isinstance(item, torch.Tensor) or isinstance(item, OnDevice):
        return item
    with torch.inference_mode(False):  # a view of an ordinary tensor cannot be an inference tensor here
        return OnDevice(item)


def copied(to, source, non_blocking=False):
    """Of torch.tensor(list, device=...) and of lists as indices, which pass by the mode."""
    if COUNTING:
        COUNTING[-1].wait_where(not non_blocking, "copy")
    held(to).copy_(held(source))
    return to


def registered() -> torch.library.Library:
    """Make the device known to torch."""
    _setup_privateuseone_for_python_backend(NAME)
    getattr(torch, NAME).get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]
    library = torch.library.Library("aten", "IMPL")  # torch.tensor() and lists as indices pass by the mode
    library.impl(
        "empty_strided", lambda *a, dtype=None, **_: placed(torch.empty_strided(*a, dtype=dtype)), "PrivateUse1"
    )
    library.impl("copy_", copied, "PrivateUse1")
    return library


LIBRARY = registered()


@contextmanager
def pretended_device() -> Iterator[torch.device]:
    """The device, while the block lasts."""
    with Pretended():
        yield torch.device(NAME, 0)
