"""All measurements of the work that people wait for, in one table: see --help of `python -m tests.benchmarks`.

Each row: ours; the plain formulation (what the published code does) in turn in the same run; the floor of this machine
measured in the same run and the share of it that ours reaches; what was asked for. Seconds are medians. What a row
measures stands in rows_*.py, single benches with more variants in bench_*.py.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from isofield.runtime.commandline import DONE, ERROR, SOME_FAILED, Parser, say
from isofield.runtime.precision import products_in
from tests.benchmarks import rows_meshes, rows_shapes, rows_training
from tests.benchmarks.measuring import threads
from tests.benchmarks.results import RESULTS, Result, save, show
from tests.benchmarks.setting import Setting


@dataclass(frozen=True)
class Rows:
    """What one name of --only measures."""

    measure: Callable[[Setting], list[Result]]
    gpu: bool = True  # there is something of it to measure on a GPU


@dataclass(frozen=True)
class Found:
    """Rows, and which are missing and why."""

    results: list[Result]
    skipped: dict[str, str]


GROUPS = {
    "imnet-training": Rows(rows_training.imnet_training),
    "ifnet-training": Rows(rows_training.ifnet_training),
    "feature-sampling": Rows(rows_training.feature_sampling),
    "imnet-mesh": Rows(rows_meshes.imnet_mesh),
    "ifnet-mesh": Rows(rows_meshes.ifnet_mesh),
    "preparation": Rows(rows_shapes.preparation),
    "voxelise": Rows(rows_shapes.voxelise),
    "pairs": Rows(rows_shapes.pairs, gpu=False),
    "light-field": Rows(rows_shapes.light_field),
    "generative": Rows(rows_shapes.generative),
    "views": Rows(rows_shapes.views, gpu=False),
}
FAILED = "failed"
OF_A_GPU = {"imnet-schedule": "a row of imnet-training that is asked of a GPU only"}


def measure(names: Sequence[str], setting: Setting, keep: Callable[[Found], Path]) -> Found:
    """Every row that can be measured; what there is so far is kept after each."""
    found = Found([], dict(OF_A_GPU) if "imnet-training" in names and not setting.gpu else {})
    for name in names:
        if setting.gpu and not GROUPS[name].gpu:
            found.skipped[name] = "runs on the CPU: --device cpu"
            continue
        say(f"measuring {name} ...")
        try:
            with products_in("float32", setting.device):  # convolutions and products of both formulations alike
                found.results.extend(GROUPS[name].measure(setting))
        except ImportError as error:
            found.skipped[name] = f"{error.name} is not installed"
        except (RuntimeError, ValueError, OSError) as error:  # out of memory, say: hours of other rows are not lost
            found.skipped[name] = f"{FAILED} with {type(error).__name__}: {error}"
        keep(found)
        if setting.gpu:
            torch.cuda.empty_cache()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", choices=GROUPS, default=list(GROUPS), metavar="NAME", help=", ".join(GROUPS)
    )
    parser.add_argument("--quick", action="store_true", help="small sizes and one round: does it run?")
    parser.add_argument("--rounds", type=int, default=3, help="of which medians are taken")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON file")
    options = parser.parse_args(arguments)
    there = torch.cuda.is_available()
    if options.device == "cuda" and not there:
        parser.error("--device cuda: torch finds no GPU here")
    device = torch.device("cuda" if there and options.device != "cpu" else "cpu")
    setting = Setting(device, options.quick, 1 if options.quick else options.rounds)
    say(f"{threads()}, {device}{', quick: sizes are small, nothing is judged' * options.quick}")
    loads = [round(os.getloadavg()[0], 2)]

    def keep(found: Found) -> Path:
        loads.append(round(os.getloadavg()[0], 2))
        more = {"rounds": setting.rounds, "loads": loads}
        return save(found.results, found.skipped, options.out, device=device, quick=options.quick, **more)

    found = measure(options.only, setting, keep)
    say("")
    show(found.results)
    for name, reason in found.skipped.items():
        say(f"skipped {name}: {reason}")
    say(f"load of the machine, before and after each: {loads}; kept as {keep(found)}")
    failed = any(reason.startswith(FAILED) for reason in found.skipped.values())
    return ERROR if not found.results else SOME_FAILED if failed else DONE
