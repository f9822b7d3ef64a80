"""The one training loop, for any model that keeps the contract: plain functions in running order.

What a step sees is a pure function of config, seed and step, on any device and any number of ranks. On a CPU the same
config and number of threads and ranks give the same run bit by bit, resumed after any step too. Other numbers of ranks
or threads take sums in another order: the same up to rounding. On CUDA weights, moments and generators are put back
exactly as well, but two runs agree up to rounding only: atomic sums (gradients of gathered features) and the algorithms
that cuDNN chooses have no fixed order, and nothing here forces one.
"""

import contextlib
import time

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.batch import Batch
from data_processing.loading.batches import BatchPlan, check_contents, open_source, points_of, training_shapes
from data_processing.store.shape_set import ShapeSet
from isofield.config import RunConfig
from isofield.contract import JudgesItself, Model
from isofield.run_dir import RunDir, create_run
from isofield.runtime.commandline import say
from isofield.runtime.config import to_yaml
from isofield.runtime.distributed import Group
from isofield.runtime.progress import Progress
from isofield.runtime.seeds import seed_of
from isofield.training.ending import describe_end
from isofield.training.frozen_codes import codes_of, trains_on_codes
from isofield.training.history import Draw, History
from isofield.training.job import Logs, TrainingFiles, TrainingJob
from isofield.training.optim import learning_rate, set_learning_rate
from isofield.training.schedule import StagePlan, draw_of_step, local_part, plan
from isofield.training.state import State, initial_state, new_optimisers, prune, restore, save
from isofield.training.static_step import StaticStep, played_steps
from isofield.training.stopping import Stop
from isofield.training.trackers.opening import open_trackers, refuse_missing
from isofield.training.validation import Validator, judged_shapes

CHECK_EVERY = 10  # steps between looks at the loss on a GPU: each look waits for the device


def train(
    model: Model,
    shapes: ShapeSet,
    config: RunConfig,
    run: RunDir,
    group: Group,
    *,
    resume: bool,
    draw: Draw | None = None,
) -> State:
    """Train from the start, or go on from `last`; ends with a checkpoint. `draw`: the curves, after each validation.

    Raises ValueError where the tracker of the config is not installed, and on a non-finite loss (naming step and
    shapes), KeyboardInterrupt after SIGINT, Terminated after SIGTERM: in all cases the checkpoints on disk are sound.
    OSError when they cannot be written.
    """
    # What is wrong with config, data set or an installed package is said before anything is written.
    refuse_missing(config.training.tracker)
    indices, left_out = training_shapes(shapes, config.data)
    if left_out and group.is_first:
        say(left_out)
    for stage in config.training.stages:
        check_contents(shapes, stage.level, config.data)
    state = start(model, config, run, group, resume=resume)
    with run.lock() if group.is_first else contextlib.nullcontext():
        if group.is_first:  # not before: a config that the checkpoint does not fit replaces nothing
            create_run(run, config=to_yaml(config), preparation=shapes.settings, resume=resume)
        _train(state, shapes, config, run, group, indices=indices, draw=draw)
    return state


def _train(
    state: State,
    shapes: ShapeSet,
    config: RunConfig,
    run: RunDir,
    group: Group,
    *,
    indices: NDArray[np.int64],
    draw: Draw | None,
) -> None:
    """From wherever the state stands to the end."""
    model = state.model
    plans, judged = plan(config.training, shapes=len(indices)), judged_shapes(shapes, config, group, fallback=indices)
    # Models that train on codes get them before the first step: made once, by the first rank, and kept in the run.
    state.planned, codes = plans[-1].end, None
    if trains_on_codes(config):
        codes = codes_of(model, shapes, config, run, group, indices=np.concatenate([indices, judged]))
    by_quality = isinstance(model, JudgesItself)
    validator = Validator(shapes, config, group, indices=judged, by_quality=by_quality, codes=codes)
    with (
        open_trackers(config, run, step=state.step) if group.is_first else contextlib.nullcontext() as tracker,
        Progress(state.planned, what="train", unit="step", initial=state.step, shown=group.is_first) as progress,
    ):
        stop = Stop(group, minutes=config.training.max_minutes, min_steps=config.training.min_steps)
        if config.training.max_minutes is not None:
            progress.limit(60 * config.training.max_minutes - state.seconds, at_least=config.training.min_steps)
        files = TrainingFiles(run, tracker, History(run, step=state.step, draw=draw))
        job = TrainingJob(config, shapes, indices, plans, files, group, validator, codes, progress, stop)
        job.reported = (state.step, state.seconds)
        with stop.listening():
            for part in plans:
                if state.step < min(part.end, job.last_step) and not _should_stop(state, job):
                    run_stage(state, job, part)
            finish(state, job)
    if group.is_first:
        say(describe_end(state, shapes, config, run, measure=validator.measure))


def start(model: Model, config: RunConfig, run: RunDir, group: Group, *, resume: bool) -> State:
    """A fresh state, or the one in the run's last checkpoint."""
    model.to(group.device)
    model.train()
    # Seeded after the model was built and before the checkpoint is read: a new start draws the same whatever building
    # it drew, and a resumed one gets the generators of its checkpoint.
    state = initial_state(model, config)
    torch.manual_seed(seed_of(config.training.seed, "training"))
    if resume and run.has_checkpoints:
        restore(state, config, run, device=group.device)
    # All ranks begin with the first one's weights, bit for bit.
    group.broadcast(model.state_dict().values())
    if config.training.compile:
        # The parts and not the whole: the model's own methods are called by name, and stay Python.
        for part in model.children():
            part.compile()
    return state


def run_stage(state: State, job: TrainingJob, stage: StagePlan) -> None:
    """The steps of one stage, from wherever the state stands."""
    section, level = job.config.training, stage.stage.level
    data, device = job.config.data, job.group.device
    # Batches are made ahead of the step that uses them, resident or streamed; the line says which.
    source, line = open_source(
        job.shapes, job.indices, level=level, device=device, section=data, seed=section.seed, codes=job.codes
    )
    job.tell(line)
    if state.step == stage.first and stage.number > 0 and section.optim.restart_at_stage:
        state.optimisers = new_optimisers(state.model, job.config)
    # From the state's step on: a resumed run draws what the unbroken one would have drawn.
    steps = range(state.step, min(stage.end, job.last_step))
    batches = source.batches(local_part(_draw(job, stage, step), job.group)[0] for step in steps)
    played = played_steps(state, job, lambda *given: take_turns(state, job, *given))
    began = time.perf_counter()
    for step, batch in zip(steps, batches, strict=True):
        draw = _draw(job, stage, step)
        rate = learning_rate(section.optim, step=step, steps=job.stages[-1].end)
        logs = train_step(state, batch, job, weight=local_part(draw, job.group)[1], rate=rate, played=played)
        state.step += 1
        state.seconds += time.perf_counter() - began
        began = time.perf_counter()
        # Looking at a loss waits for the device: on a GPU it is done for many steps at once.
        job.unchecked.append((step, draw, logs))
        if job.group.device.type == "cpu" or len(job.unchecked) >= CHECK_EVERY:
            check_finite(job)
        job.progress.update()
        if state.step % section.log_every == 0 or step == steps[0]:  # the first at once: a slow one is seen to work
            report(state, job, stage, logs, rate=rate)
        after_step(state, job, logs)
        if _should_stop(state, job):
            break


def train_step(
    state: State, batch: Batch, job: TrainingJob, *, weight: float, rate: float, played: StaticStep | None = None
) -> Logs:
    """One step of every player on this rank's part of the batch. Returns this rank's share of the means, on the device.

    Losses are weighted by the share of the batch and summed over ranks: the gradient is that of one process.
    `played`: what plays steps of this kind back.
    """
    for optimiser in state.optimisers.values():
        set_learning_rate(optimiser, rate)
    return played(batch, weight) if played else take_turns(state, job, batch, weight)


def take_turns(state: State, job: TrainingJob, batch: Batch, weight: float) -> Logs:
    """`train_step` at the learning rate that is set."""
    section = job.config.training
    logs: Logs = {}
    # Autocast surrounds the losses alone: gradients and optimisers work in the weights' own float32.
    precision = torch.autocast(job.group.device.type, torch.bfloat16, enabled=section.precision == "bfloat16")
    losses = state.model.losses(batch)
    while True:
        with precision:
            turn = next(losses, None)
        if turn is None:
            return logs
        # One optimiser a player; the model goes on when this player's step is done (the critic, then the generator).
        player, values = turn
        optimiser, owned = state.optimisers[player], state.model.players()[player]
        optimiser.zero_grad(set_to_none=True)
        # This rank's share of the batch: gradients that are summed over ranks are then those of the whole batch.
        (values["loss"] * weight).backward()
        job.group.add_gradients(owned)
        if section.optim.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(owned, section.optim.clip_norm)
        optimiser.step()
        if state.average:
            state.average.update(state.model.state_dict())
        logs |= {f"{player}/{name}": value.detach() * weight for name, value in values.items()}


def check_finite(job: TrainingJob) -> None:
    """Stop at the first non-finite loss, naming its step and the shapes of its batch."""
    for step, draw, logs in job.unchecked:
        for name, value in logs.items():
            # Over all ranks: each comes to the same conclusion, so that all stop together.
            total = float(job.group.total(value))
            if not np.isfinite(total):
                names = ", ".join(job.shapes.names[int(index)] for index in draw.shapes)
                raise ValueError(
                    f"step {step}: {name} is {total}; shapes of the batch: {names}. The checkpoints on disk are sound: "
                    "lower the learning rate or set training.optim.clip_norm, and --resume"
                )
    job.unchecked.clear()


def report(state: State, job: TrainingJob, stage: StagePlan, logs: Logs, *, rate: float) -> None:
    """Losses, learning rate and throughput to the bar and the trackers."""
    # Collective: every rank takes part, also those that have no tracker to tell.
    means = _means(logs, job)
    steps, seconds = state.step - job.reported[0], state.seconds - job.reported[1]
    job.reported = (state.step, state.seconds)
    if job.files.tracker is None:
        return
    shown = {name.split("/")[-1]: f"{value:.4g}" for name, value in means.items()}
    what, each = ("shapes", 1) if stage.stage.level == "codes" else ("points", stage.stage.points)
    rate_of_work = min(job.config.training.batch_shapes, len(job.indices)) * each * steps / max(seconds, 1e-9)
    job.progress.note({"level": stage.stage.level, **shown, f"{what}/s": f"{rate_of_work:.3g}"})
    job.files.tracker.scalars({**means, "learning_rate": rate, f"{what}_per_second": rate_of_work}, state.step)


def after_step(state: State, job: TrainingJob, logs: Logs) -> None:
    """Validation and checkpoints, when their turn has come."""
    section = job.config.training
    judged = section.validation.every and state.step % section.validation.every == 0
    if judged:
        judge(state, job, _means(logs, job))
    if state.step % section.checkpoint_every == 0:
        # A checkpoint is never written after a step whose loss has not been looked at.
        check_finite(job)
        if section.keep_checkpoints and job.group.is_first:
            save(state, job.config, job.files.run, which=state.step, group=job.group)
            prune(job.files.run, keep=section.keep_checkpoints)
        # `last` at the end: killed before, the step is repeated, and nothing of it is missing
        save(state, job.config, job.files.run, which="last", group=job.group)


def judge(state: State, job: TrainingJob, losses: dict[str, float] | None = None) -> None:
    """Validate; keep the checkpoint as `best` when it is. `losses`: of the step, to be noted beside it."""
    check_finite(job)
    # All ranks judge, as the loss is a sum over them; the first one shows and notes.
    value, measure = job.validator.judge(state), job.validator.measure
    scores = job.validator.show(state, job.files.tracker, value=value)
    if job.group.is_first:
        job.files.history.add(
            state.step, (losses or {}) | {f"validation/{name}": score for name, score in scores.items()}
        )
        told = ", ".join(f"{name} {scores[name]:.4g}" for name in ("iou", "chamfer") if name in scores)
        best = " (best)" if _better(value, state) else ""
        line = f"step {state.step}: validation {measure} {value:.6f}{told and ', '}{told}{best}"
        job.progress.write_at_times(line)
    if _better(value, state):
        state.best = value
        save(state, job.config, job.files.run, which="best", group=job.group)


def finish(state: State, job: TrainingJob) -> None:
    """The last validation and checkpoint; after a signal only the checkpoint."""
    check_finite(job)
    every = job.config.training.validation.every
    # The last step may just have been validated: not twice.
    if job.stop.by_signal is None and not (every and state.step % every == 0 and state.best is not None):
        judge(state, job)
    save(state, job.config, job.files.run, which="last", group=job.group)
    if job.stop.by_signal is not None:
        job.group.wait()  # a rank that ends makes torchrun end the others: not before the checkpoint is written
        raise job.stop.interrupt()


def _draw(job: TrainingJob, stage: StagePlan, step: int) -> BatchPlan:
    points = points_of(job.shapes, stage.stage.level)
    return draw_of_step(stage, step, indices=job.indices, level_points=points, section=job.config.training)


def _means(logs: Logs, job: TrainingJob) -> dict[str, float]:
    """Over all ranks."""
    return {name: float(job.group.total(value)) for name, value in logs.items()}


def _better(value: float, state: State) -> bool:
    return state.best is None or value < state.best


def _should_stop(state: State, job: TrainingJob) -> bool:
    return job.stop.should_stop(step=state.step, seconds=state.seconds)
