"""MLflow: a store of files in the run's logs unless MLFLOW_TRACKING_URI names another place."""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.config import RunConfig
from isofield.run_dir import RunDir
from isofield.runtime.config import to_plain
from isofield.training.trackers.protocol import cannot_start
from isofield.training.trackers.tracker_ids import keep_id, kept_id

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing leaves this machine that nobody asked for
os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # later versions refuse files unless told so

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

EXPERIMENT = "isofield"
MOST_PARAMETERS, MOST_CHARACTERS = 100, 500  # of one message, of a value: what all its stores take


class Mlflow:
    """Numbers and pictures (artifacts NAME/STEP.png); it has no histograms, and no meshes."""

    errors: tuple[type[Exception], ...] = (MlflowException, OSError, ValueError, RuntimeError)

    def __init__(self, client: MlflowClient, run: str) -> None:
        self._client, self._run = client, run

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(self._run, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def picture(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        self._client.log_image(self._run, pixels, artifact_file=f"{name}/{step:08d}.png")

    def histogram(self, name: str, values: torch.Tensor, step: int) -> None:
        """Nothing."""

    def mesh(self, name: str, mesh: TriangleMesh, step: int) -> None:
        """Nothing."""


@contextlib.contextmanager
def mlflow_run(config: RunConfig, run: RunDir) -> Iterator[Mlflow]:
    """The run of this training, the same one after --resume. ValueError where it cannot be started."""
    store = os.environ.get("MLFLOW_TRACKING_URI") or (run.logs / "mlflow").absolute().as_uri()
    try:
        client = MlflowClient(tracking_uri=store)
        known = _opened(client, config, kept_id(run, "mlflow"))
    except Mlflow.errors as error:
        raise cannot_start("mlflow", error) from error
    keep_id(run, "mlflow", known)
    status = "FAILED"
    try:
        yield Mlflow(client, known)
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        with contextlib.suppress(*Mlflow.errors):
            client.set_terminated(known, status)


def _opened(client: MlflowClient, config: RunConfig, known: str | None) -> str:
    """The id of the run that is known, where the store has it; else of a new one, with the config as parameters."""
    if known is not None:
        # The store may have lost the run, or be another one: then a new one is begun.
        with contextlib.suppress(MlflowException):
            client.update_run(known, status="RUNNING")
            return known
    experiment = client.get_experiment_by_name(EXPERIMENT)
    number = client.create_experiment(EXPERIMENT) if experiment is None else experiment.experiment_id
    started: str = client.create_run(number, run_name=config.name).info.run_id
    values = flat(to_plain(config))
    parameters = [Param(name, str(value)[:MOST_CHARACTERS]) for name, value in values.items()]
    for first in range(0, len(parameters), MOST_PARAMETERS):
        client.log_batch(started, params=parameters[first : first + MOST_PARAMETERS])
    return started


def flat(plain: Any, name: str = "") -> dict[str, Any]:
    """Plain data as one mapping: training.stages.0.points."""
    parts = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else None
    if parts is None:
        return {name: plain}
    inner = [flat(value, f"{name}.{key}" if name else str(key)) for key, value in parts]
    return {key: value for each in inner for key, value in each.items()}
