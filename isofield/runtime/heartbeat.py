"""Heartbeats of all ranks in the launcher's store: waiting for others however long they work, unless they are gone.

A collective of the device's backend cannot tell a rank that works from one that stopped, so it must not be what ranks
with uneven work wait in.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable

import torch.distributed as dist

INTERVAL = 1.0  # seconds between two signs
POLL = (0.001, 0.2)  # seconds between two looks at who has come: at first, and when it takes longer


class LostRankError(OSError):
    """Another rank ended, or gave no sign of life for too long."""


class Heartbeat:
    """This rank's heartbeats, given by a thread, and its look at those of the others.

    `timeout`: seconds without a sign after which a rank counts as gone.
    """

    def __init__(self, store: dist.Store, *, rank: int, size: int, timeout: float) -> None:
        self._store, self._rank, self._size, self._timeout = store, rank, size, timeout
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until every rank has come here as often. LostRankError, naming it, when one is gone."""
        # One counter for all meetings: the n-th is over when n times all ranks have come.
        number = (self._count("arrived", 1) - 1) // self._size
        self._until(lambda: self._count("arrived") >= (number + 1) * self._size)

    def leave(self) -> None:
        """Until every rank has come here; the first goes last, because the store may go with it."""
        self.wait()
        # The store lives in the first rank's process, or its launcher's: it waits until all others have asked for the
        # last time.
        self._count("left", 1)
        if self._rank == 0:
            self._until(lambda: self._count("left") >= self._size)

    def stop(self) -> None:
        """Give no more signs."""
        self._ended.set()
        self._thread.join(INTERVAL)

    def _until(self, done: Callable[[], bool]) -> None:
        # Short pauses first, since most waits are short; then longer ones, as each look is a question to the store.
        pause, looked, seen = POLL[0], time.monotonic(), dict[int, tuple[int, float]]()
        while not done():
            time.sleep(pause)
            pause = min(2 * pause, POLL[1])
            passed = time.monotonic() - looked
            if passed >= INTERVAL:
                looked += passed
                self._look(seen, min(passed, 2 * INTERVAL))  # longer: this process stood still, maybe the whole machine

    def _look(self, seen: dict[int, tuple[int, float]], passed: float) -> None:
        """`seen`: the last sign of each rank, and for how long there was no other. `passed`: since the last look."""
        for rank in range(self._size):
            # Counts are compared, not times: clocks of machines differ.
            sign = self._count(f"pulse-{rank}")
            before, silent = seen.get(rank, (sign, 0.0))
            seen[rank] = sign, silent + passed if sign == before else 0.0
            if seen[rank][1] > self._timeout:
                raise LostRankError(
                    f"rank {self._rank}: rank {rank} has given no sign of life for {self._timeout:.0f} seconds: its "
                    "process or its machine has stopped. What is finished is kept"
                )

    def _count(self, what: str, more: int = 0) -> int:
        try:
            return int(self._store.add(_key(what), more))
        except RuntimeError as error:
            raise lost_rank(self._rank, error) from error

    def _beat(self) -> None:
        with contextlib.suppress(RuntimeError):  # the launcher is gone: who waits sees it
            while not self._ended.wait(INTERVAL):
                self._store.add(_key(f"pulse-{self._rank}"), 1)


def lost_rank(rank: int, error: Exception) -> LostRankError:
    """An error of the communication, for the person at the terminal; ISOFIELD_TRACEBACK shows the library's words."""
    return LostRankError(
        f"rank {rank}: lost the other ranks ({type(error).__name__} of the communication): one of them ended or "
        "stopped, and its own messages say why. What is finished is kept: start all ranks again"
    )


def unreached_ranks(rank: int, error: Exception) -> LostRankError:
    """The same before the first word was heard of them."""
    place = f"{os.environ.get('MASTER_ADDR', '')}:{os.environ.get('MASTER_PORT', '')}"
    return LostRankError(
        f"rank {rank}: cannot reach the other ranks at {place} ({type(error).__name__} of the communication): is that "
        "the machine of rank 0, the port free there and open from here, and was torchrun started on every machine?"
    )


def _key(what: str) -> str:
    return f"isofield/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}/{what}"
