"""The sections of a training config. How YAML becomes these is in isofield.runtime.config."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from data_processing.loading.batches import Level, LoadingConfig
from isofield.runtime.config import read_config
from isofield.runtime.invocation import kept_line, resuming_command
from isofield.runtime.precision import Precision


@dataclass(frozen=True)
class TrainingStage:
    """Some epochs over the points of one sampling level, over samples near the surface, or over codes."""

    level: Level  # resolution of the points; boundary: near the surface; codes: of a frozen model
    epochs: int  # each shows every training shape once
    points: int = 4096  # of a shape in a step

    def __post_init__(self) -> None:
        if min(self.epochs, self.points) < 1 or (isinstance(self.level, int) and self.level < 1):
            raise ValueError("level, epochs and points of a stage must be at least 1")


@dataclass(frozen=True)
class ValidationConfig:
    """A fixed set, judged every so often; decides which checkpoint is `best`."""

    every: int = 1000  # steps; 0: only at the end
    split: str = "val"  # where the data set has none, the first training shapes, and a line says so
    shapes: int = 64  # at most
    pictures: int = 4  # of these shapes, reconstructed, rendered for TensorBoard, and measured (IoU, Chamfer)
    resolution: int = 64  # of the reconstructions

    def __post_init__(self) -> None:
        if self.every < 0 or self.shapes < 1 or self.pictures < 0 or self.resolution < 2:
            raise ValueError(
                "validation: every and pictures must not be negative, shapes at least 1, resolution at least 2"
            )


@dataclass(frozen=True)
class OptimConfig:
    """The `training.optim:` section. Defaults are IM-NET's: Adam 5e-5, betas (0.5, 0.999), nothing else."""

    learning_rate: float = 5e-5  # of Adam
    betas: tuple[float, float] = (0.5, 0.999)  # Adam's
    weight_decay: float = 0.0  # decoupled from the gradient (AdamW); 0: plain Adam
    schedule: Literal["constant", "cosine"] = "constant"  # of the learning rate, after the warm-up
    warmup_steps: int = 0  # in which the learning rate rises from 0
    final_fraction: float = 0.0  # of the learning rate, at the end of `cosine`
    clip_norm: float | None = None  # longest gradient; none: not clipped
    ema_decay: float = 0.0  # 0: no averaging of weights
    restart_at_stage: bool = True  # Adam starts afresh at each stage, as published

    def __post_init__(self) -> None:
        if not (self.learning_rate > 0 and all(0 <= beta < 1 for beta in self.betas) and 0 <= self.ema_decay < 1):
            raise ValueError("learning_rate must be positive, betas and ema_decay in [0, 1)")
        if self.weight_decay < 0 or self.warmup_steps < 0 or not 0 <= self.final_fraction <= 1:
            raise ValueError("weight_decay and warmup_steps must not be negative, final_fraction must be in [0, 1]")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ValueError(f"clip_norm must be positive (or null for none), got {self.clip_norm}")


@dataclass(frozen=True)
class TrainingConfig:
    """The `training:` section: how long, on what, with which optimiser."""

    stages: tuple[TrainingStage, ...]  # one after the other
    batch_shapes: int = 32  # over all processes
    seed: int = 0  # of weights and draws
    precision: Precision = "float32"  # on a GPU tf32 or bfloat16: five to eight times faster
    compile: bool = False  # the parts of the model by torch.compile
    record_steps: bool = True  # on one GPU, without ema_decay: a step of the latent GAN as one CUDA graph
    max_steps: int | None = None  # stop here (a later --resume goes on)
    max_minutes: float | None = None  # stop when this much time was spent in training, over all resumes
    min_steps: int = 0  # max_minutes ends nothing before: a slow machine gets a model that draws something
    checkpoint_every: int = 1000  # steps
    keep_checkpoints: int = 0  # numbered ones, beside last and best
    log_every: int = 10  # steps
    tracker: Literal["none", "wandb", "mlflow"] = "none"  # beside TensorBoard; offline, into the run's logs
    optim: OptimConfig = field(default_factory=OptimConfig)  # the optimiser
    validation: ValidationConfig = field(default_factory=ValidationConfig)  # what decides which checkpoint is `best`

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("training.stages: expected at least one stage, such as {level: 16, epochs: 100}")
        if min(self.batch_shapes, self.checkpoint_every, self.log_every) < 1 or self.keep_checkpoints < 0:
            raise ValueError(
                "batch_shapes, checkpoint_every and log_every must be at least 1, keep_checkpoints at least 0"
            )
        if (self.max_steps is not None and self.max_steps < 1) or (
            self.max_minutes is not None and not self.max_minutes > 0
        ):
            raise ValueError("max_steps must be at least 1 and max_minutes positive (or null: no limit)")
        if self.min_steps < 0:
            raise ValueError(f"min_steps must not be negative (0: max_minutes ends it anywhere), got {self.min_steps}")


@dataclass(frozen=True)
class RunConfig:
    """A whole training config. `model` is checked by the registry against the section of the model it names."""

    name: str  # of the folder that is made
    model: dict[str, Any]  # `type`, and the keys of its section
    data: LoadingConfig  # the data set, and what the network is shown of it
    training: TrainingConfig  # how long, on what, with which optimiser
    runs: Path = Path("runs")  # folder of all runs
    device: str = "auto"  # auto, cpu, cuda or cuda:N

    def __post_init__(self) -> None:
        if not self.name or Path(self.name).name != self.name or self.name.startswith("."):
            raise ValueError(f"name: expected a plain folder name, got {self.name!r}")

    @property
    def run_path(self) -> Path:
        return self.runs / self.name


def limit_reached(config: RunConfig, *, step: int, seconds: float) -> str:
    """The key and value of the limit that a training of so many steps and seconds ended at; "" where at none."""
    limits = config.training
    if limits.max_steps is not None and step >= limits.max_steps:
        return f"training.max_steps ({limits.max_steps})"
    late = limits.max_minutes is not None and seconds > 60 * limits.max_minutes and step >= limits.min_steps
    return f"training.max_minutes ({limits.max_minutes:g})" if late else ""


def resume_command(config: RunConfig, file: Path, *, kept: bool = False) -> str:
    """What to type so that a run goes on to its last step, without the limits that ended it.

    `file`: its config. `kept`: in rows and files, which say the same whichever way a command was called.
    """
    section = config.training
    limits = {"training.max_steps": section.max_steps, "training.max_minutes": section.max_minutes}
    lifted = [f"{key}=null" for key, limit in limits.items() if limit is not None]
    words = ["--config", str(file), "--resume", *(["--set", *lifted] if lifted else [])]
    return kept_line("train", *words) if kept else resuming_command(*words)


def read_run_config(path: Path | str, *, overrides: Sequence[str] = ()) -> RunConfig:
    """A training config out of a YAML file; ValueError that names file, key and what was expected."""
    return read_config(path, RunConfig, overrides=overrides)
