"""A device on a machine without one: tensors that say they are there, and compute on the CPU.

What fails on a real device fails here: operands on two devices (but for scalars), numpy() of a device's tensor. Values
are real, so code whose shapes depend on values runs through; kernels of a real device are not tested. Importing this
registers the device for the rest of the process, and must come before anything is differentiated.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretended"
MOVES = {"_to_copy", "copy_", "_local_scalar_dense"}  # operators that meet two devices by right


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
        return self.held.tolist()

    def numpy(self, **_):
        raise TypeError("can't convert a tensor of the device to numpy: use .cpu() first")

    def __array__(self, *_, **__):
        return self.numpy()

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
