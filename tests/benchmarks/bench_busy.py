"""Steps a minute of a training, alone and beside busy loops, for each way in which threads wait for each other.

    python -m tests.benchmarks.bench_busy [--config configs/demo.yaml] [--data datasets/demo] [--busy 0 3] [--rounds 3]

Each run is a process of its own, as OpenMP reads its environment once. All ways take turns in each round, so that what
else happens on the machine meets all of them; medians of the rounds, and ratios of each round to `default`, which is
what OpenMP does when nobody says anything. "ours" is what the package sets. The first WARM steps do not count.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from isofield import checkpoint
from isofield.run_dir import RunDir
from isofield.runtime.commandline import say
from isofield.runtime.cores import describe_cores
from isofield.runtime.thread_waiting import POLICY_VARIABLE, SPIN_VARIABLE, SPINS, SPINS_OF_DEFAULT
from tests.benchmarks.measuring import Table
from tests.conftest import ROOT

WARM = 5
WAYS: dict[str, dict[str, str]] = {
    "default": {SPIN_VARIABLE: str(SPINS_OF_DEFAULT)},
    "ours": {},
    "passive": {POLICY_VARIABLE: "PASSIVE"},
    "100 spins": {SPIN_VARIABLE: "100"},
    "bounded": {SPIN_VARIABLE: str(SPINS)},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
LOOP = [sys.executable, "-c", "while True: pass"]


def steps_a_minute(way: dict[str, str], config: Path, data: Path, *, steps: int) -> float:
    """Of a training in a process of its own with these variables."""
    own = (SPIN_VARIABLE, POLICY_VARIABLE, "OMP_NUM_THREADS")
    environment = {key: value for key, value in os.environ.items() if key not in own}
    with tempfile.TemporaryDirectory() as folder:
        limits = [f"training.{key}" for key in ("max_minutes=null", "validation.pictures=0", "validation.shapes=1")]
        limits += [f"training.max_steps={WARM + steps}", f"training.checkpoint_every={WARM}"]
        words = ["--config", str(config), "--set", f"data.path={data.absolute()}", f"runs={folder}", "name=busy"]
        command = [sys.executable, "train.py", *words, *limits, "training.keep_checkpoints=1000000"]
        environment |= {"PYTHONPATH": str(ROOT), **way}
        subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
        run = RunDir(Path(folder) / "busy")
        first, last = (checkpoint.load(run.checkpoint_file(which)) for which in (WARM, "last"))
    return 60 * (last["step"] - first["step"]) / (last["seconds"] - first["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("configs/demo.yaml"))
    parser.add_argument("--data", type=Path, default=Path("datasets/demo"), help="prepared for that config")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 3], help="endless loops beside the training")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    options = parser.parse_args()
    ways = list(dict.fromkeys(["default", *options.ways]))
    machine = f"{describe_cores()}; load before {os.getloadavg()[0]:.1f}"
    say(f"{options.config}: {options.rounds} rounds of {options.steps} steps; {machine}")
    for busy in options.busy:
        loops = [subprocess.Popen(LOOP) for _ in range(busy)]
        try:
            rates: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(options.rounds):
                for name in ways:
                    rate = steps_a_minute(WAYS[name], options.config, options.data, steps=options.steps)
                    rates[name].append(rate)
                    say(f"  {name}: {rate:.1f}")  # rounds are long, and a benchmark may be stopped
        finally:
            for loop in loops:
                loop.kill()
                loop.wait()
        table = Table(f"beside {busy} busy loops", "steps a minute", "of default", label=26)
        for name in ways:
            ratios = [own / other for own, other in zip(rates[name], rates["default"], strict=True)]
            each = " ".join(f"{ratio:.2f}" for ratio in ratios)
            table.row(name, f"{statistics.median(rates[name]):.1f}", f"{statistics.median(ratios):.2f}", note=each)


if __name__ == "__main__":
    main()
