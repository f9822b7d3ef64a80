"""Runs with event files, written as a training writes them."""

from pathlib import Path

import numpy as np

from isofield.run_dir import RunDir
from isofield.training.trackers.tensorboard_events import tensorboard


def written_run(
    folder: Path, *, steps: range = range(10, 110, 10), begin: int = 0, scale: float = 1.0, name: str = "x"
) -> RunDir:
    """Numbers and a picture at each of the steps; `begin`: after which step this start goes on."""
    run = RunDir(folder)
    run.path.mkdir(parents=True, exist_ok=True)
    run.config_file.write_text("")
    with tensorboard(run, step=begin) as tracker:
        for step in steps:
            tracker.scalars({"autoencoder/loss": scale / step, "learning_rate": 1e-4, "points_per_second": 1e5}, step)
            tracker.scalars({"validation/loss": 2 * scale / step, "validation/iou": 1 - scale / step}, step)
            tracker.picture(f"reconstruction/{name}", np.full((8, 8, 3), step, np.uint8), step)
    return run
