"""python -m data_processing --config configs/data/NAME.yaml [--set k=v ...]: a folder of raw files to a data set.

Run it again after an interruption, however it came: it does only what is missing. Under `torchrun` each rank takes its
share of the shards (and torchrun itself ends with 1, not 2, when some shapes failed).
"""

import os
import shlex
import sys

from data_processing.commandline import DONE, Parser, run, say
from data_processing.config import read_config, to_yaml
from data_processing.job import prepare_folder
from data_processing.prepare import DataConfig


def main() -> int:
    parser = Parser(prog="python -m data_processing", description=__doc__)
    parser.add_argument("--config", required=True, help="a file of configs/data/")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="K=V", help="override: seed=1")
    parser.add_argument("--dry-run", action="store_true", help="show the resolved config and stop")
    arguments = parser.parse_args()
    config = read_config(arguments.config, DataConfig, overrides=arguments.set)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if rank == 0:
        say(to_yaml(config))
    if arguments.dry_run:
        return DONE
    command = shlex.join(["python", "-m", "data_processing", *sys.argv[1:]])
    return prepare_folder(config, command=command, rank=rank, world=world)


if __name__ == "__main__":
    run(main)
