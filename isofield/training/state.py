"""All that changes during a run, and its way into a checkpoint and back."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from isofield import checkpoint
from isofield.config import RunConfig
from isofield.contract import Model, StepsAlike
from isofield.run_dir import RunDir, refuse_vanished_run
from isofield.runtime.commandline import say
from isofield.runtime.config import to_plain
from isofield.runtime.distributed import Group
from isofield.runtime.reasons import reason_of
from isofield.training.optim import Average, build_optimiser, load_optimiser, saved_optimiser


@dataclass
class State:
    """What a checkpoint holds, beside the config and the random number generators."""

    model: Model
    optimisers: dict[str, torch.optim.Optimizer]
    average: Average | None
    step: int = 0
    best: float | None = None  # smallest validation loss so far
    seconds: float = 0.0  # spent in training, over all resumes
    planned: int | None = None  # steps of all stages, so that a reader of the checkpoint knows how far it is


def initial_state(model: Model, config: RunConfig) -> State:
    """Step 0."""
    decay = config.training.optim.ema_decay
    return State(model, new_optimisers(model, config), Average(model.state_dict(), decay) if decay else None)


def new_optimisers(model: Model, config: RunConfig) -> dict[str, torch.optim.Optimizer]:
    """One per player."""
    section = config.training.optim
    recordable = config.training.record_steps and isinstance(model, StepsAlike) and model.steps_alike
    return {who: build_optimiser(owned, section, recordable=recordable) for who, owned in model.players().items()}


def save(state: State, config: RunConfig, run: RunDir, *, which: str | int, group: Group) -> None:
    """Write one checkpoint (first rank only; the ranks' states are equal). The `last` one before stays as `previous`.

    WriteError when it cannot be written; also when the run's folder is no longer there: another disk may be below.
    """
    if not group.is_first:
        return
    refuse_vanished_run(run)
    file = run.checkpoint_file(which)
    # A second name for the old file, before the new one takes its place: at no moment is there none.
    if which == "last" and file.is_file():
        with contextlib.suppress(OSError):  # a file system without links keeps one less
            run.checkpoint_file("previous").unlink(missing_ok=True)
            os.link(file, run.checkpoint_file("previous"))
    checkpoint.save(file, _content(state, config, group))


def restore(state: State, config: RunConfig, run: RunDir, *, device: torch.device) -> None:
    """Go on from the run's last checkpoint: weights, optimisers, generators, counters.

    Where that is gone, cut or damaged, from the one of the highest step that is not, and a line says so. ValueError
    when none is sound, or the config's model is another.
    """
    file, content = _newest_sound(run)
    try:
        _refuse_other_initial(file, content["config"]["model"], config.model)
        _put_back(state, content, device)
    except (RuntimeError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} does not fit this config's model; change the config back or the name") from error


def _put_back(state: State, content: Mapping[str, Any], device: torch.device) -> None:
    state.model.load_state_dict(content["model"])
    for who, optimiser in state.optimisers.items():
        try:
            load_optimiser(optimiser, content["optimisers"][who])
        except ValueError as error:
            raise RuntimeError(f"optimiser of {who}: {reason_of(error)}") from error
    if state.average and content["average"]:
        state.average.steps = content["average"]["steps"]
        state.average.weights = {name: value.to(device) for name, value in content["average"]["weights"].items()}
    state.step, state.best, state.seconds = content["step"], content["best"], content["seconds"]
    # Last, as nothing after this may draw: the next draw is the one that the unbroken run would have made.
    torch.set_rng_state(content["generators"]["cpu"].cpu())
    if device.type == "cuda" and content["generators"]["cuda"] is not None:
        torch.cuda.set_rng_state(content["generators"]["cuda"].cpu(), device)


def _newest_sound(run: RunDir) -> tuple[Path, dict[str, Any]]:
    """`last`, or where it cannot be read the checkpoint of the highest step that can: times of files count for nothing.

    ValueError when none can.
    """
    try:
        last = run.existing_checkpoint("last")
        return last, checkpoint.load(last)
    except (ValueError, FileNotFoundError) as error:
        # Cut or damaged, say by a full disk: an older checkpoint costs some steps, a new start all of them.
        tried, others = run.others(), []
        for which in tried:
            with contextlib.suppress(ValueError, LookupError, TypeError):
                content = checkpoint.load(run.checkpoint_file(which))
                others.append((int(content["step"]), run.checkpoint_file(which), content))
        if tried and not others:
            raise ValueError(
                f"{error}. Nor can {', '.join(tried)}: put a sound one of them back, or train under another name"
            ) from error
        if not others:
            raise
        step, file, content = max(others, key=lambda other: other[0])
        say(f"{error}; going on from {file}, step {step}")
        return file, content


def _refuse_other_initial(file: Path, saved: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """The autoencoder behind the codes must be the one that training began with."""
    began, now = saved.get("init_hash"), model.get("init_hash")
    if began != now:
        raise ValueError(
            f"{file} was trained on codes of autoencoder {began}; {model.get('init_from')} is now {now}: it changed "
            "since. Put the old one back, or start a new run (another name) on the new one"
        )


def prune(run: RunDir, *, keep: int) -> None:
    """Remove the oldest numbered checkpoints, but for `keep`."""
    steps = run.saved_steps()
    for step in steps[: max(0, len(steps) - keep)]:
        run.checkpoint_file(step).unlink()


@contextlib.contextmanager
def ema_weights(state: State) -> Iterator[Model]:
    """The model in evaluation mode with the averaged weights where there are any; put back afterwards."""
    own = None
    if state.average:
        # The state's own tensors are overwritten in place: without copies the averages would be all that is left.
        own = {name: value.clone() for name, value in state.model.state_dict().items()}
        state.model.load_state_dict(state.average.weights)
    state.model.eval()
    try:
        yield state.model
    finally:
        state.model.train()
        if own is not None:
            state.model.load_state_dict(own)


def _content(state: State, config: RunConfig, group: Group) -> dict[str, object]:
    average = state.average
    on_gpu = group.device.type == "cuda"
    return {
        "config": to_plain(config),
        "model": state.model.state_dict(),
        "average": {"steps": average.steps, "weights": average.weights} if average else None,
        "optimisers": {who: saved_optimiser(optimiser) for who, optimiser in state.optimisers.items()},
        "generators": {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(group.device) if on_gpu else None,
        },
        "step": state.step,
        "planned": state.planned,
        "best": state.best,
        "seconds": state.seconds,
    }
