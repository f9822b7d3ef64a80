"""The one file of the engine that knows models by name."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from data_processing.loading.poses import PoseConfig
from ifnet import model as ifnet
from imnet import autoencoder, latent_gan, single_view
from isofield import checkpoint
from isofield.config import RunConfig, limit_reached, read_run_config, resume_command
from isofield.contract import Model, TrainsOnCodes
from isofield.packs.find_run import find_run
from isofield.packs.weights import packed_checkpoint
from isofield.run_dir import RunDir
from isofield.runtime.config import build, to_plain
from isofield.runtime.hints import did_you_mean
from isofield.runtime.reasons import reason_of

MODELS: dict[str, tuple[type, type]] = {
    "imnet_autoencoder": (autoencoder.Config, autoencoder.Autoencoder),
    "imnet_latent_gan": (latent_gan.Config, latent_gan.LatentGAN),
    "imnet_single_view": (single_view.Config, single_view.SingleView),
    "ifnet": (ifnet.Config, ifnet.IFNet),
}


@dataclass(frozen=True)
class LoadedRun:
    """A trained model with what it was trained from."""

    model: Model
    config: RunConfig
    step: int
    model_hash: str
    unfinished: str = ""  # how far it was trained and how to go on, when that was not to the end: why it draws nothing


def resolve(config: RunConfig, *, where: str) -> RunConfig:
    """The same config with every default of the model's section filled in, and what comes from the run `init_from`.

    ValueError for an unknown model or key, FileNotFoundError when there is no such run.
    """
    # Sizes and weights of the frozen part belong to the run that it comes from: they are noted here, so that a change
    # shows.
    section = _section_of(config.model, where=where)
    if getattr(section, "init_from", None) is not None:
        initial = initial_run(section, where=where)
        own = build(type(section.autoencoder), _settings_of(initial.config.model), where=str(section.init_from))
        section = dataclasses.replace(section, autoencoder=own, init_hash=initial.model_hash)
        target = dataclasses.replace(initial.config.data.input, pose=PoseConfig())  # codes of shapes as stored
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, target=target))
    return dataclasses.replace(config, model={"type": config.model["type"], **to_plain(section)})


def new_model(model: Mapping[str, Any], *, where: str) -> Model:
    """A model to be trained: as `build_model`, its frozen part as the run `init_from` left it."""
    fresh, section = build_model(model, where=where), _section_of(model, where=where)
    if isinstance(fresh, TrainsOnCodes):
        fresh.autoencoder.load_state_dict(initial_run(section, where=where).model.state_dict())
    return fresh


def initial_run(section: Any, *, where: str) -> LoadedRun:
    """The run that a model with `init_from` builds on. ValueError when it is of another model."""
    if section.init_from is None:
        raise ValueError(f"{where}: model.init_from: expected the run of a trained autoencoder, such as runs/NAME")
    initial, wanted = load_run(find_run(section.init_from)), type(section.autoencoder)
    if MODELS[initial.config.model["type"]][0] is not wanted:
        kinds = ", ".join(name for name, (config, _) in MODELS.items() if config is wanted)
        got = f"{section.init_from} is a run of {initial.config.model['type']}"
        raise ValueError(f"{where}: model.init_from: {got}, expected {kinds}")
    return initial


def build_model(model: Mapping[str, Any], *, where: str) -> Model:
    """A fresh model of the type and sizes of a `model:` section."""
    section = _section_of(model, where=where)
    return MODELS[model["type"]][1](section)


def load_run(run: RunDir, *, which: str = "best", device: torch.device | str = "cpu") -> LoadedRun:
    """The model of a run, in evaluation mode; averaged weights where the run keeps them.

    `which`: `last`, `best` or a step. Raises FileNotFoundError when there is no such run or checkpoint.
    """
    config = read_run_config(run.existing().config_file)
    if run.is_packed:
        file, content = run.weights_file, packed_checkpoint(run, which, device=device)
    else:
        file = run.existing_checkpoint(which)
        content = checkpoint.load(file, device=device)
    try:
        # Averaged weights are what was judged while training, wherever the run kept them.
        weights = content["average"]["weights"] if content.get("average") else content["model"]
        # Sizes are compared before the model is built: a stranger's config may ask for any amount of memory.
        _refuse_other_sizes(config, weights, run)
        model = build_model(config.model, where=str(run.config_file))
        model.load_state_dict(weights)
        step = int(content["step"])
    except (RuntimeError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{file} does not fit the model of {run.config_file}: "
            + reason_of(error, otherwise="its weights have other names or sizes; bring both files from one run")
        ) from error
    model.to(torch.device(device))
    model.eval()
    unfinished = _unfinished(run, config, which, content)
    return LoadedRun(model, config, step, checkpoint.hash_of(weights), unfinished)


def _unfinished(run: RunDir, config: RunConfig, which: str, content: Mapping[str, Any]) -> str:
    """In words, where the checkpoint tells that there were more steps to come (those of version 0.1 tell nothing)."""
    if not _is_before_end(content):
        return ""
    trained = f"{content['step']} of {content['planned']} steps"
    if run.is_packed:
        return f"{run.path} was packed after {trained} of its training: train longer, then pack it again"
    # The best checkpoint of a training that came to its end may be an early one; of one that did not, both are told.
    end, beside = _last_of(run, which, content), ""
    if not _is_before_end(end):
        return ""
    if end["step"] != content["step"]:
        beside = f", its training for {end['step']}"
    seconds = end.get("seconds")
    limit = limit_reached(config, step=end["step"], seconds=seconds if isinstance(seconds, float) else 0.0)
    stopped = f", stopped by {limit}" if limit else ""
    longer = resume_command(config, run.config_file, kept=True)
    return f"{run.path} ({which}) was trained for {trained}{beside}{stopped}: train longer ({longer})"


def _is_before_end(content: Mapping[str, Any]) -> bool:
    step, planned = content.get("step"), content.get("planned")
    return isinstance(step, int) and isinstance(planned, int) and step < planned


def _last_of(run: RunDir, which: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the run's last checkpoint says of its training; `content` itself where there is none that can be read."""
    if which == "last" or not run.checkpoint_file("last").is_file():
        return content
    try:
        return checkpoint.load(run.checkpoint_file("last"), mapped=True)
    except (OSError, ValueError):
        return content


def _refuse_other_sizes(config: RunConfig, weights: Mapping[str, torch.Tensor], run: RunDir) -> None:
    """RuntimeError before the model is made: the config of a stranger may ask for any memory."""
    expected = checkpoint.sizes_of(lambda: build_model(config.model, where=str(run.config_file)).state_dict())
    for key, size in expected.items():
        if key not in weights or weights[key].shape != size:
            there = f"has {tuple(weights[key].shape)}" if key in weights else "lacks it"
            raise RuntimeError(f"{key} is {tuple(size)} there, the checkpoint {there}")


def _section_of(model: Mapping[str, Any], *, where: str) -> Any:
    kind = model.get("type")
    if not isinstance(kind, str) or kind not in MODELS:
        hint = f"{did_you_mean(str(kind), MODELS)} known: {', '.join(MODELS)}".lstrip()
        raise ValueError(f"{where}: model.type: unknown model {kind!r}; {hint}")
    return build(MODELS[kind][0], _settings_of(model), where=f"{where}: model")


def _settings_of(model: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in model.items() if key != "type"}
