"""The last line of a training: how far it is, why it ended there, and what to type next."""

import math

from data_processing.store.shape_set import ShapeSet
from isofield.config import RunConfig, limit_reached, resume_command
from isofield.contract import MakesShapes
from isofield.run_dir import RunDir
from isofield.runtime.invocation import next_command
from isofield.training.state import State


def describe_end(state: State, shapes: ShapeSet, config: RunConfig, run: RunDir, *, measure: str) -> str:
    """One line of a training that ended by itself. `measure`: what the best validation is a value of."""
    best = "" if state.best is None else f", best validation {measure} {state.best:.6f}"
    return f"{run.path}: step {state.step} of {state.planned}{best}; {_reason(state, shapes, config, run)}"


def _reason(state: State, shapes: ShapeSet, config: RunConfig, run: RunDir) -> str:
    """Why it ended, and the next command."""
    assert state.planned is not None  # the loop has said how many steps there are
    if state.step > state.planned:
        further = resume_command(config, run.config_file)
        return f"trained beyond what training.stages plan: nothing was left to do; raise their epochs, then: {further}"
    if state.step == state.planned:
        return f"all stages are done; next: {_generate_command(state, shapes, run)}"
    limit = limit_reached(config, step=state.step, seconds=math.inf)  # of which rank, is for the loop to say
    return f"stopped by {limit}; to go on without it: {resume_command(config, run.config_file)}"


def _generate_command(state: State, shapes: ShapeSet, run: RunDir) -> str:
    """What shows first what the run has learned: new shapes where it makes some, else reconstructions."""
    if isinstance(state.model, MakesShapes):
        shown = ["--samples", "16"]
    else:
        shown = ["--split", "test" if len(shapes.splits.get("test", ())) else "train"]
    return next_command("generate", "--run", run.path, *shown)
