"""Watches whether other processes want our cores, and makes OpenMP's waiting threads yield as long as they do.

A thread that is ready and has no core adds to its run delay (`/proc/self/task/*/schedstat`, second number, in
nanoseconds; Documentation/scheduler/sched-stats.rst of Linux). OpenMP has no call that changes how long its threads
spin, but it spins 3,000 times less while it has more threads than cores. So idle teams are opened while our threads
wait for cores, and closed when they no longer do. The working team keeps its number of threads: how loops are divided,
and with it every bit of a result, stays the same.
"""

import functools
import os
import threading
from pathlib import Path

import torch

from isofield.runtime.thread_waiting import MOST_TEAMS, follows_machine, teams_to_yield

TASKS = Path("/proc/self/task")
SECONDS_BETWEEN = 0.25
WAITING_BUSY = 0.10  # share of ready time spent without a core from which on others want it
WAITING_FREE = 0.03  # below it the cores are ours again
LOOKS_FREE = 8  # in a row, before threads spin again: other work comes in bursts


def watch_contention() -> None:
    """Start watching in this process, once, if anything is to be watched."""
    if torch.get_num_threads() > 1 and follows_machine():
        _watch(os.getpid())


@functools.cache
def _watch(process: int) -> "ContentionWatch":
    """One watch in each process, as threads don't survive a fork."""
    watch = ContentionWatch()
    threading.Thread(target=watch.run, name=f"contention-{process}", daemon=True).start()
    return watch


def run_and_delay() -> tuple[int, int]:
    """Nanoseconds that all threads of this process ran, and that they were ready and had no core."""
    run = delay = 0
    for task in TASKS.iterdir():
        try:
            numbers = (task / "schedstat").read_text().split()
        except OSError:  # a thread that has ended meanwhile
            continue
        run, delay = run + int(numbers[0]), delay + int(numbers[1])
    return run, delay


class ContentionWatch:
    """Opens idle teams while other work wants the cores; `yielding` says whether they are open.

    Made by the thread whose waiting is watched: its number of threads is that of a team.
    """

    def __init__(self) -> None:
        self.yielding: IdleTeams | None = None
        self._free, self._threads = 0, torch.get_num_threads()

    def run(self) -> None:
        """Look again and again, for as long as the process lives."""
        before = run_and_delay()
        pause = threading.Event()
        while not pause.wait(SECONDS_BETWEEN):
            now = run_and_delay()
            # Threads that ended take their counts along: the difference may be negative, and is no share then.
            self.look(max(0, now[0] - before[0]), max(0, now[1] - before[1]))
            before = now

    def look(self, run: int, delay: int) -> None:
        """Decide by the nanoseconds that threads ran and waited for a core since the last look."""
        # Two thresholds and a number of looks, so that a share near one of them does not open and close teams for ever.
        share = delay / max(1, run + delay)
        if share >= WAITING_BUSY:
            self._free = 0
            if self.yielding is not None and self.yielding.alone:
                self.yielding.close()
                self.yielding = None
            if self.yielding is None:
                self.yielding = IdleTeams(self._threads)
        elif self.yielding is not None:
            self._free = self._free + 1 if share < WAITING_FREE else 0
            if self._free >= LOOKS_FREE:
                self.yielding.close()
                self.yielding = None


class IdleTeams:
    """Teams of OpenMP that sleep: while they are open, all waiting threads of this process yield at once.

    `alone`: they were opened while torch was to use one thread (threads.py) and are none: when it uses more again, open
    others.
    """

    def __init__(self, threads: int) -> None:
        self.alone = False
        self._closed = threading.Event()
        opened = []
        for _ in range(min(MOST_TEAMS, teams_to_yield(threads))):
            opened.append(threading.Event())
            threading.Thread(target=self._hold, args=(opened[-1],), name="idle-team", daemon=True).start()
        for event in opened:
            event.wait()

    def close(self) -> None:
        """Let the teams end; waiting threads spin again."""
        self._closed.set()

    def _hold(self, opened: threading.Event) -> None:
        self.alone |= torch.get_num_threads() == 1  # of a new thread: what was set last, by whichever thread
        torch.zeros(1 << 17).add_(1)  # large enough to be divided: OpenMP starts the team of this thread
        opened.set()
        self._closed.wait()
