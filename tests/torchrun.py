"""A real torchrun over gloo, for tests."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def torchrun(*command: str | Path, processes: int = 2) -> None:
    """Run a script of ours with its arguments in several processes. The launcher's errors end the test.

    `--` before the script: the launcher would take --run for one of its own options.
    """
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "--"]
    done = subprocess.run(
        [*launcher, *map(str, command)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
