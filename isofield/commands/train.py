"""Train a model: `isofield train --config imnet/autoencoder [--set k=v ...] [--resume] [--dry-run]`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from isofield.runtime.commandline import DONE, Parser, command_of, say, tell


def main(arguments: Sequence[str] | None = None, *, prog: str | None = None) -> int:
    """One call: `arguments` as on the command line (None: those of this process). Returns the exit status."""
    parser = Parser(prog=prog, description="Train a model on a prepared data set. Under torchrun: on several devices.")
    parser.add_argument("--config", required=True, help="YAML file, or the name of a shipped one: imnet/autoencoder")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", action="extend", help="override single keys"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the run's last checkpoint, if it has one")
    parser.add_argument("--show-config", action="store_true", help="print the resolved config (the run keeps it too)")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved config and stop")
    return train_run(parser.parse_args(arguments))


def train_run(options: argparse.Namespace) -> int:
    """From a configuration to a run directory."""
    # Imported only now: torch takes two seconds, for which --help and a misspelt option need not wait.
    import torch

    from data_processing.store.shape_set import open_shapes
    from isofield.config import read_run_config
    from isofield.ops import memory
    from isofield.registry import new_model, resolve
    from isofield.reports.curves import write_curves
    from isofield.run_dir import RunDir, refuse_training
    from isofield.runtime import distributed
    from isofield.runtime.config import to_yaml
    from isofield.runtime.precision import describe_precision, products_in
    from isofield.runtime.seeds import seed_of
    from isofield.training.loop import train

    if options.resume:
        refuse_training(RunDir(Path(options.config).parent))  # the config of a pack, as if that could go on
    config = resolve(read_run_config(options.config, overrides=options.set), where=options.config)
    if options.dry_run:
        say(to_yaml(config))
        tell("a dry run: nothing was done; next: the same command without --dry-run")
        return DONE
    memory.keep_freed()  # each step finds what the one before left
    precision = config.training.precision
    with distributed.session(config.device) as group, products_in(precision, group.device):
        shapes = open_shapes(config.data.path)
        run_dir = RunDir(config.run_path)
        if group.is_first:
            say(to_yaml(config) if options.show_config else f"resolved config: {run_dir.config_file}")
            for line in describe_precision(precision, group.device):
                say(line)
        torch.manual_seed(seed_of(config.training.seed, "weights"))
        model = new_model(config.model, where=options.config)
        train(model, shapes, config, run_dir, group, resume=options.resume, draw=write_curves)
    return DONE


command = command_of(main, again="--resume")
