"""What to do after a preparation: its page, and which shipped configuration can be trained on what it holds."""

from collections.abc import Callable
from pathlib import Path

import yaml

from data_processing.preparation.config import DataConfig
from isofield.runtime.invocation import next_command
from isofield.runtime.reasons import reason_of
from isofield.runtime.shipped import config_names, find_config

Draw = Callable[[Path], Path] | None  # of the page of a data set
SMALL = "small"  # in the name of those that a CPU trains


def page_or_command(folder: Path, draw: Draw) -> str:
    """Where `draw` left the page of a data set; what to type for it where it was not wanted, or cannot be drawn."""
    later = next_command("inspect", folder)
    try:
        return later if draw is None else str(draw(folder))
    except ValueError as error:
        return f"{later} (it could not be drawn now: {reason_of(error)})"


def next_step(config: DataConfig, *, trains: bool) -> str:
    """What to type next; `trains`: whether any shape is there to train on. Where none is, how they are divided."""
    if trains:
        return train_command(config)
    shares = "splits.ratios.train=0.8 splits.ratios.val=0 splits.ratios.test=0.2"
    keys = {"ratios": shares, "lists": "splits.lists.train=FILE"}
    how = keys.get(config.splits.rule, "splits.rule=ratios")
    return f"no shape is in the split train: run the same command with --set {how}; what is made is kept"


def train_command(config: DataConfig) -> str:
    """The shipped config that reads this very folder, small ones first; else one that its contents are enough for."""
    own = [name for name in config_names() if not name.startswith("data/") and _reads(name, config.folder)]
    if own:
        return next_command("train", "--config", min(own, key=lambda name: (SMALL not in name, name)))
    name = _by_contents(config)
    if name is None:
        return f"choose a model that trains on its contents: {next_command('configs')}"
    return next_command("train", "--config", name, "--set", f"name={config.name}", f"data.path={config.folder}")


def _reads(name: str, folder: Path) -> bool:
    """Whether a config trains on this folder, and needs no other run for that."""
    plain = yaml.safe_load(find_config(name).read_text(encoding="utf-8"))
    return Path(plain["data"]["path"]) == folder and "init_from" not in plain["model"]


def _by_contents(config: DataConfig) -> str | None:
    contents = config.contents
    if contents.boundary is not None and len(contents.boundary.sigmas) == 2:  # as the shares of these configs
        if config.labels is not None and 64 in contents.grids:
            return "ifnet/small_organs"
        if contents.surface is not None:
            return "ifnet/small_points_3000"
        if 32 in contents.grids:
            return "ifnet/small_voxels_32"
    return "imnet/small" if contents.levels and contents.voxels else None
