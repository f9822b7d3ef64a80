"""The one file of the engine that knows models by name."""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from data_processing.config import build, to_plain
from engine import checkpoint
from engine.config import RunConfig, read_run_config
from engine.contract import Model
from engine.run_dir import RunDir
from ifnet import model as ifnet
from imnet import autoencoder

MODELS: dict[str, tuple[type, type]] = {
    "imnet_autoencoder": (autoencoder.Config, autoencoder.Autoencoder),
    "ifnet": (ifnet.Config, ifnet.IFNet),
}


@dataclass(frozen=True)
class LoadedRun:
    """A trained model with what it was trained from."""

    model: Model
    config: RunConfig
    step: int
    model_hash: str


def resolve(config: RunConfig, *, where: str) -> RunConfig:
    """The same config with every default of the model's section filled in. ValueError for an unknown model or key."""
    section = _section_of(config.model, where=where)
    return dataclasses.replace(config, model={"type": config.model["type"], **to_plain(section)})


def build_model(model: Mapping[str, Any], *, where: str) -> Model:
    """A fresh model of the type and sizes of a `model:` section."""
    section = _section_of(model, where=where)
    return MODELS[model["type"]][1](section)


def load_run(run: RunDir, *, which: str = "best", device: torch.device | str = "cpu") -> LoadedRun:
    """The model of a run, in evaluation mode; averaged weights where the run keeps them.

    `which`: `last`, `best` or a step. Raises FileNotFoundError when there is no such run or checkpoint.
    """
    config = read_run_config(run.existing().config_file)
    file = run.existing_checkpoint(which)
    content = checkpoint.load(file, device=device)
    model = build_model(config.model, where=str(run.config_file))
    try:
        weights = content["average"]["weights"] if content.get("average") else content["model"]
        model.load_state_dict(weights)
        step = int(content["step"])
    except (RuntimeError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{file} does not fit the model of {run.config_file}: {error}") from error
    model.to(torch.device(device))
    model.eval()
    return LoadedRun(model, config, step, checkpoint.hash_of(weights))


def _section_of(model: Mapping[str, Any], *, where: str) -> Any:
    kind = model.get("type")
    if not isinstance(kind, str) or kind not in MODELS:
        close = difflib.get_close_matches(str(kind), MODELS, n=1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise ValueError(f"{where}: model.type: unknown model {kind!r}; {hint}known: {', '.join(MODELS)}")
    rest = {key: value for key, value in model.items() if key != "type"}
    return build(MODELS[kind][0], rest, where=f"{where}: model")
