"""Train a model: `python train.py --config configs/imnet/autoencoder.yaml [--set k=v ...] [--resume] [--dry-run]`."""

import torch

from data_processing.commandline import DONE, Parser, run, say
from data_processing.config import to_yaml
from data_processing.seeds import seed_of
from data_processing.storage import open_shapes
from engine import distributed
from engine.config import read_run_config
from engine.ops import memory
from engine.registry import new_model, resolve
from engine.run_dir import RunDir
from engine.training import train


def main() -> int:
    parser = Parser(description="Train a model on a prepared data set. Under torchrun: on several devices.")
    parser.add_argument("--config", required=True, help="YAML file, such as configs/imnet/autoencoder.yaml")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", action="extend", help="override single keys"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the run's last checkpoint, if it has one")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved config and stop")
    arguments = parser.parse_args()

    config = resolve(read_run_config(arguments.config, overrides=arguments.set), where=arguments.config)
    if arguments.dry_run:
        say(to_yaml(config))
        return DONE
    memory.keep_freed()  # each step finds what the one before left
    with distributed.session(config.device) as group:
        shapes = open_shapes(config.data.path)
        run_dir = RunDir(config.run_path)
        if group.is_first:
            say(to_yaml(config))
        torch.manual_seed(seed_of(config.training.seed, "weights"))
        model = new_model(config.model, where=arguments.config)
        train(model, shapes, config, run_dir, group, resume=arguments.resume)
    return DONE


if __name__ == "__main__":
    run(main, again=" with --resume")
