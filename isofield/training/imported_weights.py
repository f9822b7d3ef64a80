"""Weights out of files that others made: checked name by name before a model of ours is built from them.

Reading such a file without executing anything in it is `checkpoint.load_tensors`. What the names mean is the business
of the packages that know the published models.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from isofield import checkpoint
from isofield.config import RunConfig
from isofield.contract import Model
from isofield.run_dir import RunDir, create_run
from isofield.runtime.config import to_yaml
from isofield.runtime.distributed import Group
from isofield.training.state import initial_state, save

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")  # of a batch normalisation


def read_mapping(path: Path, *, expected: str) -> Mapping[str, Any]:
    """The mapping in a torch file of tensors and plain data; ValueError when it holds anything else."""
    content = checkpoint.load_tensors(path)
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected {expected}, got {type(content).__name__}")
    return content


def renamed_weights(
    state: Mapping[str, Any], names: Mapping[str, str], *, expected: str, where: str
) -> dict[str, torch.Tensor]:
    """The tensors of a state_dict under our names (`names`: theirs to ours), as float32; counts stay integers.

    Exactly these names, each a dense tensor of finite floats that holds what it declares: else ValueError.
    """
    # Names before numbers: a file of another model is told by its names, and none of its tensors is looked at.
    missing, unknown = sorted(set(names) - set(state)), sorted(map(str, set(state) - set(names)))
    if missing or unknown:
        raise ValueError(f"{where}: not {expected}; missing {some(missing)}; unknown {some(unknown)}")
    return {ours: _tensor(state[theirs], theirs, where) for theirs, ours in names.items()}


def refuse_other_dimensions(weights: Mapping[str, torch.Tensor], wanted: Mapping[str, int], *, where: str) -> None:
    """ValueError for the first tensor that has not as many dimensions as wanted."""
    for name, dimensions in wanted.items():
        if weights[name].dim() != dimensions:
            raise ValueError(f"{where}: {name} is {tuple(weights[name].shape)}, expected {dimensions} dimensions")


def refuse_misfits(weights: Mapping[str, torch.Tensor], build: Callable[[], torch.nn.Module], *, where: str) -> None:
    """ValueError for the first tensor whose shape is not that of the model that `build` makes."""
    # Only the shapes: nothing of the size that a stranger's file declares is allocated.
    expected = checkpoint.sizes_of(lambda: build().state_dict())
    for name, value in weights.items():
        if value.shape != expected[name]:
            raise ValueError(f"{where}: {name} is {tuple(value.shape)}, expected {tuple(expected[name])}")


def write_run(model: Model, config: RunConfig, path: Path, *, preparation: Mapping[str, Any]) -> RunDir:
    """A run at step 0 with these weights as `last` and `best`. ValueError when there are checkpoints already."""
    run = RunDir(path)
    create_run(run, config=to_yaml(config), preparation=preparation, resume=False)
    for which in ("last", "best"):
        save(initial_state(model, config), config, run, which=which, group=Group(0, 1, torch.device("cpu")))
    return run


def _tensor(value: Any, name: str, where: str) -> torch.Tensor:
    count = name.endswith("num_batches_tracked")
    wanted = "tensor of one integer" if count else "tensor of floats"
    if not isinstance(value, torch.Tensor) or (value.dtype != torch.int64 if count else not value.is_floating_point()):
        raise ValueError(f"{where}: {name} is {type(value).__name__}, expected a {wanted}")
    # A tensor with stride 0, or of another layout, can declare far more numbers than the file has bytes.
    if value.layout is not torch.strided or value.untyped_storage().nbytes() < value.numel() * value.element_size():
        raise ValueError(f"{where}: {name} declares {tuple(value.shape)} but does not hold as many numbers")
    if count:
        return value
    if not torch.isfinite(value).all():
        raise ValueError(f"{where}: {name} holds NaN or infinite weights")
    return value.float()


def some(names: Sequence[str]) -> str:
    """The first names of a list, for errors: a file may hold any number of any length."""
    shown = ", ".join(name if len(name) <= 60 else f"{name[:60]}..." for name in names[:3])
    return (shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")) or "none"
