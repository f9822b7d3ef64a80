"""Train a model: `python train.py --config configs/imnet/autoencoder.yaml [--set k=v ...] [--resume] [--dry-run]`."""

from collections.abc import Sequence
from typing import NoReturn

import torch

from data_processing.store.shape_set import open_shapes
from isofield.config import read_run_config
from isofield.ops import memory
from isofield.registry import new_model, resolve
from isofield.run_dir import RunDir
from isofield.runtime import distributed
from isofield.runtime.commandline import DONE, Parser, run, say
from isofield.runtime.config import to_yaml
from isofield.runtime.seeds import seed_of
from isofield.training.loop import train


def main(arguments: Sequence[str] | None = None) -> int:
    """One call: `arguments` as on the command line (None: those of this process). Returns the exit status."""
    parser = Parser(description="Train a model on a prepared data set. Under torchrun: on several devices.")
    parser.add_argument("--config", required=True, help="YAML file, such as configs/imnet/autoencoder.yaml")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", action="extend", help="override single keys"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the run's last checkpoint, if it has one")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved config and stop")
    options = parser.parse_args(arguments)

    config = resolve(read_run_config(options.config, overrides=options.set), where=options.config)
    if options.dry_run:
        say(to_yaml(config))
        return DONE
    memory.keep_freed()  # each step finds what the one before left
    with distributed.session(config.device) as group:
        shapes = open_shapes(config.data.path)
        run_dir = RunDir(config.run_path)
        if group.is_first:
            say(to_yaml(config))
        torch.manual_seed(seed_of(config.training.seed, "weights"))
        model = new_model(config.model, where=options.config)
        train(model, shapes, config, run_dir, group, resume=options.resume)
    return DONE


def command() -> NoReturn:
    """The whole process: ends with the exit status."""
    run(main, again=" with --resume")
