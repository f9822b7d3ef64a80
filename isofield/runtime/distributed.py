"""One process, or several started by torchrun: who am I, sums over all, an orderly end.

Plain `python` is one process. There is no launcher of our own.

A rank that ends takes the run down: torchrun ends the others, also when its status only says that shapes failed; so
nobody leaves before all are done. One that stops without ending (its machine hangs, say) is waited for ISOFIELD_TIMEOUT
seconds, then the others end with an error; one that works is waited for however long it takes. On CUDA the collectives
themselves are watched by NCCL, which aborts the process after the same time.
"""

import contextlib
import datetime
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
import torch.distributed as dist

from isofield.runtime.commandline import say
from isofield.runtime.heartbeat import Heartbeat, lost_rank, unreached_ranks
from isofield.runtime.parts import Part, refuse_ranks
from isofield.runtime.precision import products_in
from isofield.runtime.reasons import is_out_of_memory
from isofield.runtime.threads import describe_threads, limit_threads

DEVICES = ("cpu", "cuda")
TIMEOUT_VARIABLE, TIMEOUT_SECONDS = "ISOFIELD_TIMEOUT", 1800


@dataclass(frozen=True)
class Group:
    """This process among `size` processes; `device` is its own. `part`: they do not know of each other."""

    rank: int
    size: int
    device: torch.device
    heartbeat: Heartbeat | None = field(default=None, compare=False, repr=False)
    part: Part | None = None

    @property
    def is_first(self) -> bool:
        """Whether it does what only one process does. Of parts none does: they are joined."""
        return self.rank == 0 and self.part is None

    @property
    def is_shown(self) -> bool:
        """Whether it tells a person how far it is: ranks share a screen, parts have logs of their own."""
        return self.rank == 0 or self.part is not None

    def alone(self) -> "Group":
        """The group of a process that does everything, on the same device."""
        return Group(0, 1, self.device)

    def share(self, count: int) -> slice:
        """This rank's contiguous share of `count` things: sizes differ by one at most."""
        base, extra = divmod(count, self.size)
        start = self.rank * base + min(self.rank, extra)
        return slice(start, start + base + (self.rank < extra))

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Sum the gradients over all ranks, in one message. A parameter without a gradient counts as zero."""
        if self.size == 1:
            return
        # One message for all parameters: hundreds of small ones would each wait for the slowest rank.
        owned = list(parameters)
        for parameter in owned:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in owned if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        with self._contact():
            dist.all_reduce(flat)
        parts = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [p.view_as(g) for p, g in zip(parts, gradients, strict=True)])

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all ranks."""
        if self.size > 1:
            # The collective writes into its argument, which is the caller's.
            value = value.clone()
            with self._contact():
                dist.all_reduce(value)
        return value

    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        """Give every rank the first rank's values."""
        if self.size > 1:
            for tensor in tensors:
                with self._contact():
                    dist.broadcast(tensor, src=0)

    def wait(self) -> None:
        """Until every rank has come here, however long it works; LostRankError (an OSError) when one is gone."""
        if self.heartbeat is not None:
            self.heartbeat.wait()

    @contextlib.contextmanager
    def _contact(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise  # no other rank is to blame
            raise lost_rank(self.rank, error) from error


def resolve_device(name: str, *, local_rank: int = 0) -> torch.device:
    """`auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`. ValueError when it is not there.

    `auto` warns where this torch was built for CUDA and sees none: the driver is too old, or hidden.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu" and torch.version.cuda is not None:
            warnings.warn(
                f"device auto takes the CPU: this torch was built for CUDA {torch.version.cuda}, but sees no GPU. Is "
                "the driver new enough for it (nvidia-smi), is CUDA_VISIBLE_DEVICES empty? Choose cpu if it is meant",
                stacklevel=2,
            )
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device '{name}': expected auto, cpu, cuda or cuda:N") from error
    if device.type not in DEVICES:
        raise ValueError(f"device '{name}': expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device '{name}': torch sees no CUDA device here; use cpu or auto")
    if device.index is not None and device.type == "cuda" and device.index >= torch.cuda.device_count():
        raise ValueError(f"device '{name}': torch sees {torch.cuda.device_count()} here, and the first is cuda:0")
    # A number that was given is meant; without one each rank of a machine takes its own GPU.
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", local_rank)
    return device


def describe_device(name: str, device: torch.device) -> str:
    """What `name` (auto, cuda) became, in one line."""
    if device.type != "cuda":
        return f"device {name}: {device}"
    memory = torch.cuda.get_device_properties(device).total_memory
    return f"device {name}: {device}, {torch.cuda.get_device_name(device)}, {memory / 1e9:.0f} GB"


def _device_of_rank(name: str, *, local_rank: int, local_size: int, collectives: bool) -> torch.device:
    """This rank's own device. Ranks that talk to each other need a GPU each: ValueError, naming them, else."""
    own = resolve_device(name, local_rank=local_rank)
    if own.type != "cuda" or local_size == 1:
        return own
    # Said before NCCL hangs: two ranks on one GPU wait for each other without a word.
    here = torch.cuda.device_count()
    if collectives and ":" in name:
        raise ValueError(
            f"device '{name}': all {local_size} ranks of this machine would share it, and NCCL wants a GPU for each; "
            "use device: cuda (rank N takes cuda:N), or one process"
        )
    if collectives and local_size > here:
        raise ValueError(
            f"device '{name}': {local_size} ranks on this machine and {here} GPU{'s' * (here > 1)}, and NCCL wants one "
            f"for each; start torchrun with --nproc-per-node {here}, or use device: cpu"
        )
    return own if ":" in name else torch.device("cuda", local_rank % here)


def timeout() -> datetime.timedelta:
    """How long ranks wait for one that gives no sign of life. ValueError unless it is a positive number of seconds."""
    text = os.environ.get(TIMEOUT_VARIABLE, str(TIMEOUT_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e8:
        raise ValueError(f"{TIMEOUT_VARIABLE}: expected a positive number of seconds, got {text!r}")
    return datetime.timedelta(seconds=seconds)


@contextlib.contextmanager
def session(
    device: str = "auto", *, collectives: bool = True, part: Part | None = None, meshes: bool = False
) -> Iterator[Group]:
    """Join the other processes if torchrun started us, and leave them at the end. ValueError for a part under torchrun.

    Without `collectives` they can only wait for each other, which asks nothing of the network but the launcher's store.
    Torch gets the threads that it may have here; the first rank says so. `meshes`: the command prepares some.
    """
    refuse_ranks(part)
    # As torchrun says it; none of these variables is there in plain python.
    size, rank, local = (int(os.environ.get(k, d)) for k, d in (("WORLD_SIZE", 1), ("RANK", 0), ("LOCAL_RANK", 0)))
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    own = _device_of_rank(device, local_rank=local, local_size=local_size, collectives=collectives)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    limit_threads()
    if rank == 0:
        say(describe_threads(meshes=meshes))
        if device != str(own):
            say(describe_device(device, own))
    with products_in("float32", own):
        if part is not None:
            yield Group(part.rank, part.total, own, part=part)
            return
        yield from _group_of(own, size=size, rank=rank, collectives=collectives)


def _group_of(own: torch.device, *, size: int, rank: int, collectives: bool) -> Iterator[Group]:
    # A process alone has nobody to wait for, and needs no network.
    if size == 1:
        yield Group(0, 1, own)
        return
    limit = timeout()
    try:
        if collectives:
            dist.init_process_group("nccl" if own.type == "cuda" else "gloo", timeout=limit)
        store, _, _ = next(dist.rendezvous("env://", timeout=limit))  # a connection of its own
    except RuntimeError as error:
        raise unreached_ranks(rank, error) from error
    heartbeat = Heartbeat(store, rank=rank, size=size, timeout=limit.total_seconds())
    try:
        yield Group(rank, size, own, heartbeat)
        heartbeat.leave()  # nobody leaves while others still talk: gloo aborts the process then, now and again
    finally:
        heartbeat.stop()
        if collectives:
            dist.destroy_process_group()
