"""Does bfloat16 train as float32 does? Loss curves of both, several seeds each, in one picture.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_precision --picture docs/precision.png
        [--imnet datasets/demo] [--ifnet datasets/ifnet] [--seeds 3 2] [--steps 540 160]

IM-NET of `make demo` on the example meshes and the small IF-Net on voxels of 32^3, both by train.py's own code with
shortened schedules. A seed fixes weights, order and draws, so both precisions of a seed see the same batches. Curves:
the training loss in windows of steps; dots: the loss of a fixed set, in the precision of the run. What bfloat16 changes
is noise where it is no more than what another seed changes.
"""

import argparse
import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data_processing.store.shape_set import open_shapes
from isofield.config import read_run_config
from isofield.registry import new_model, resolve
from isofield.run_dir import RunDir
from isofield.runtime.commandline import say
from isofield.runtime.distributed import Group
from isofield.runtime.seeds import seed_of
from isofield.training.loop import train
from tests.benchmarks.measuring import Table, once, threads

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
PRECISIONS = ("float32", "bfloat16")
COLOURS = {"float32": (28, 39, 51), "bfloat16": (214, 96, 30)}
INK, LINE = (93, 107, 122), (221, 227, 233)
VALIDATIONS, WINDOWS = 6, 36  # points of a curve
PANEL, MARGIN = (640, 420), 64  # pixels


@dataclass(frozen=True)
class Experiment:
    """A config with a schedule of so many steps: (level, share of the steps, points)."""

    title: str
    config: str
    data: Path
    stages: tuple[tuple[str, float, int], ...]
    batch: int
    steps: int
    seeds: int


@dataclass(frozen=True)
class Curve:
    """Losses of one run by step: of training (windows) and of the fixed set."""

    precision: str
    seed: int
    training: list[tuple[float, float]]
    validation: list[tuple[float, float]]


def trained(experiment: Experiment, precision: str, seed: int, folder: Path) -> Curve:
    """One run."""
    shapes = open_shapes(experiment.data)
    epoch = -(-len(shapes.indices("train")) // experiment.batch)
    counts = [max(1, round(experiment.steps * share / epoch)) for _, share, _ in experiment.stages]
    stages = [
        f"{{level: {level}, epochs: {count}, points: {points}}}"
        for (level, _, points), count in zip(experiment.stages, counts, strict=True)
    ]
    steps = epoch * sum(counts)
    overrides = [
        f"name={precision}-{seed}",
        f"runs={folder}",
        f"data.path={experiment.data}",
        "device=cpu",
        f"training.stages=[{', '.join(stages)}]",
        f"training.batch_shapes={experiment.batch}",
        f"training.precision={precision}",
        f"training.seed={seed}",
        "training.max_minutes=null",
        "training.log_every=1",
        f"training.checkpoint_every={steps}",
        f"training.validation.every={max(1, steps // VALIDATIONS)}",
        "training.validation.shapes=24",
        "training.validation.pictures=0",
    ]
    config = resolve(read_run_config(CONFIGS / experiment.config, overrides=overrides), where=experiment.config)
    torch.manual_seed(seed_of(seed, "weights"))
    model, run = new_model(config.model, where=experiment.config), RunDir(config.run_path)
    train(model, shapes, config, run, Group(0, 1, torch.device("cpu")), resume=False)
    return Curve(precision, seed, *read_curve(run.logs, model.players()))


def read_curve(logs: Path, players: object) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Training losses averaged in windows, validation losses as they are."""
    events = EventAccumulator(str(logs), size_guidance={"scalars": 0}).Reload()
    (name,) = [tag for tag in events.Tags()["scalars"] if tag.endswith("/loss") and not tag.startswith("validation")]
    parts = np.array_split(np.array([(event.step, event.value) for event in events.Scalars(name)]), WINDOWS)
    training = [(float(part[:, 0].mean()), float(part[:, 1].mean())) for part in parts if len(part)]
    return training, [(event.step, event.value) for event in events.Scalars("validation/loss")]


def spread(curves: list[Curve]) -> str:
    """Last validation losses: each precision over seeds, and the change that bfloat16 makes of the same seed."""
    last = {(curve.precision, curve.seed): curve.validation[-1][1] for curve in curves}
    by = {p: [value for (precision, _), value in last.items() if precision == p] for p in PRECISIONS}
    means = {p: statistics.mean(values) for p, values in by.items()}
    within = [last["bfloat16", seed] / last["float32", seed] - 1 for (p, seed) in last if p == "float32"]
    between = {p: (max(values) - min(values)) / means[p] for p, values in by.items()}
    return (
        f"last loss of the fixed set: float32 {means['float32']:.4g} (seeds differ by {between['float32']:.1%}), "
        f"bfloat16 {means['bfloat16']:.4g} ({between['bfloat16']:.1%}); bfloat16 against float32 of the same seed: "
        + ", ".join(f"{change:+.1%}" for change in within)
    )


def table_of(experiment: Experiment, curves: list[Curve]) -> None:
    at = [step for step, _ in curves[0].validation]
    table = Table(f"{experiment.title}: fixed set", *(f"step {step:.0f}" for step in at), label=44)
    for curve in sorted(curves, key=lambda curve: (PRECISIONS.index(curve.precision), curve.seed)):
        table.row(f"{curve.precision}, seed {curve.seed}", *(f"{value:.4g}" for _, value in curve.validation))


def draw_panel(image: Image.Image, left: int, experiment: Experiment, curves: list[Curve]) -> None:
    """Curves over steps, loss in a logarithmic scale."""
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=15)
    values = [value for curve in curves for _, value in curve.training + curve.validation]
    low, high = np.log10(min(values)) - 0.03, np.log10(max(values)) + 0.03
    end = max(step for curve in curves for step, _ in curve.training + curve.validation)
    width, height = PANEL[0] - 2 * MARGIN, PANEL[1] - 2 * MARGIN

    def place(step: float, value: float) -> tuple[float, float]:
        up = (np.log10(value) - low) / (high - low)
        return left + MARGIN + step / end * width, float(MARGIN + (1 - up) * height)

    for value in ticks(10**low, 10**high):
        _, y = place(0, value)
        pen.line([(left + MARGIN, y), (left + MARGIN + width, y)], fill=LINE)
        pen.text((left + MARGIN - 8, y), f"{value:.3g}", fill=INK, font=font, anchor="rm")
    for step in np.linspace(0, end, 5):
        pen.text((place(step, values[0])[0], PANEL[1] - MARGIN + 8), f"{step:.0f}", fill=INK, font=font, anchor="mt")
    for curve in sorted(curves, key=lambda curve: curve.precision, reverse=True):
        pen.line([place(*point) for point in curve.training], fill=COLOURS[curve.precision], width=2, joint="curve")
        for point in curve.validation:
            x, y = place(*point)
            pen.ellipse([x - 4, y - 4, x + 4, y + 4], outline=COLOURS[curve.precision], width=2)
    pen.text((left + MARGIN, 14), experiment.title, fill=COLOURS["float32"], font=ImageFont.load_default(size=18))
    for number, name in enumerate(PRECISIONS):
        seeds = f"{name}, {experiment.seeds} seeds"
        pen.text((left + MARGIN + 190 * number, 40), seeds, fill=COLOURS[name], font=font)
    pen.text((left + PANEL[0] // 2, PANEL[1] - 28), "step", fill=INK, font=font, anchor="mt")


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between two values, at least two."""
    found: list[float] = []
    for steps in ((1, 10), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(np.arange(1, 10, 0.5)), tuple(np.arange(1, 10, 0.1))):
        powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        found = [m * 10.0**p for p in powers for m in steps if low <= m * 10.0**p <= high]
        if len(set(found)) >= 3:
            break
    return sorted(set(found))


def draw(experiments: list[tuple[Experiment, list[Curve]]], file: Path) -> None:
    image = Image.new("RGB", (PANEL[0] * len(experiments), PANEL[1]), (255, 255, 255))
    for number, (experiment, curves) in enumerate(experiments):
        draw_panel(image, number * PANEL[0], experiment, curves)
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imnet", type=Path, default=Path("datasets/demo"), help="a data set with voxels and levels")
    parser.add_argument("--ifnet", type=Path, default=Path("datasets/ifnet"), help="one with grids and boundary points")
    parser.add_argument("--seeds", type=int, nargs=2, default=(3, 2))
    parser.add_argument("--steps", type=int, nargs=2, default=(540, 160))
    parser.add_argument("--picture", type=Path, help="PNG to draw")
    parser.add_argument("--curves", type=Path, help="JSON of the numbers, to keep")
    options = parser.parse_args()
    levels = (("16", 0.1, 1024), ("32", 0.2, 1024), ("64", 0.7, 1024))
    chosen = [
        Experiment("IM-NET", "demo.yaml", options.imnet, levels, 6, options.steps[0], options.seeds[0]),
        Experiment(
            "IF-Net, voxels of 32^3",
            "ifnet/small_voxels_32.yaml",
            options.ifnet,
            (("boundary", 1.0, 2048),),
            4,
            options.steps[1],
            options.seeds[1],
        ),
    ]
    say(threads())
    results = []
    for experiment in chosen:
        curves = []
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(experiment.seeds):
                for precision in PRECISIONS:
                    timing = once(lambda: trained(experiment, precision, seed, Path(folder)))  # noqa: B023
                    curves.append(timing.result)
                    say(f"{experiment.title}, {precision}, seed {seed}: {timing.cpu:.0f} CPU-s")
        table_of(experiment, curves)
        say(f"{experiment.title}, {spread(curves)}\n")
        results.append((experiment, curves))
        if options.curves:
            kept = [{"title": e.title, "curves": [curve.__dict__ for curve in c]} for e, c in results]
            options.curves.write_text(json.dumps(kept))
        if options.picture:
            draw(results, options.picture)


if __name__ == "__main__":
    main()
