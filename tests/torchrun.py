"""A real torchrun over gloo, for tests."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import ROOT

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def torchrun(*command: str | Path, processes: int = 2, statuses: tuple[int, ...] = (0,)) -> str:
    """Run a script of ours with its arguments in several processes; returns what it said.

    The launcher's errors end the test. `-m` first runs a module.
    """
    done = subprocess.run(
        launched(*command, processes=processes),
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode in statuses, done.stderr
    return done.stdout


def launched(*command: str | Path, processes: int) -> list[str]:
    """The command line. `--` before the script: the launcher would take --run for one of its own options."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return [*launcher, *(["-m"] if command[0] == "-m" else []), "--", *map(str, command[command[0] == "-m" :])]


def killed_torchrun(*command: str | Path, processes: int, sign: Callable[[], bool]) -> bool:
    """Start it, wait for a sign of work, kill -9 the launcher, all ranks and their workers; whether it was at work."""
    with subprocess.Popen(
        launched(*command, processes=processes),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        end = time.monotonic() + 600
        while not sign() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        at_work = process.poll() is None
        for one in [*descendants(process.pid), process.pid] if at_work else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
    return at_work


def descendants(parent: int) -> list[int]:
    """Processes started by one, and by those."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
            children.setdefault(int(after_name[1]), []).append(int(folder.name))
    found = list(children.get(parent, []))
    for one in found:
        found += children.get(one, [])
    return found
