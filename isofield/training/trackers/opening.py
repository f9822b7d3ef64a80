"""The trackers of a run: TensorBoard always, another one where the config names it."""

import contextlib
import importlib.util
from collections.abc import Iterator

from isofield.config import RunConfig
from isofield.run_dir import RunDir
from isofield.training.trackers.protocol import Tracker, Trackers, cannot_start
from isofield.training.trackers.tensorboard_events import tensorboard

PACKAGES = {"wandb": "wandb", "mlflow": "mlflow"}  # by `training.tracker`: what is imported


def refuse_missing(name: str) -> None:
    """ValueError, which says what to install, where the package of a tracker is not there."""
    if name != "none" and importlib.util.find_spec(PACKAGES[name]) is None:
        raise ValueError(
            f"training.tracker: {name}: the package is not installed here; pip install 'isofield[{name}]', or "
            "--set training.tracker=none"
        )


@contextlib.contextmanager
def open_trackers(config: RunConfig, run: RunDir, *, step: int) -> Iterator[Tracker]:
    """All of them, to go on after `step`. ValueError where the one that is named cannot be started."""
    with contextlib.ExitStack() as stack:
        trackers: list[Tracker] = [stack.enter_context(tensorboard(run, step=step))]
        # Imported only where they are asked for: each takes seconds, and need not be there.
        try:
            if config.training.tracker == "wandb":
                from isofield.training.trackers.wandb_runs import wandb_run

                trackers.append(stack.enter_context(wandb_run(config, run)))
            if config.training.tracker == "mlflow":
                from isofield.training.trackers.mlflow_store import mlflow_run

                trackers.append(stack.enter_context(mlflow_run(config, run)))
        except ImportError as error:  # a package that is there, and lacks one that it needs
            raise cannot_start(config.training.tracker, error) from error
        yield Trackers(trackers)
