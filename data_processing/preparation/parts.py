"""`--part 3/16` of a preparation: each part makes its shards, the last one to finish writes the index.

Parts are the ranks of a launcher that cannot wait for each other: part K of N takes every N-th shard. Splits, and what
is a copy of what, are told when they are joined, of all shapes.
"""

from pathlib import Path

from data_processing.preparation.config import DataConfig
from data_processing.preparation.job import WHAT, prepare_folder
from data_processing.preparation.next_step import Draw
from data_processing.store.shape_set import JOB_FILE, SHARDS, read_json
from isofield.runtime.commandline import DONE, say
from isofield.runtime.parts import Part, describe_part, join_parts


def prepare_part(config: DataConfig, part: Part, *, command: str = "", draw: Draw = None) -> int:
    """Prepare one part of a folder, and join them if it is the last; returns the exit status. Raises as prepare_folder.

    What is joined is looked through as by a call for all: a shard of an earlier start whose input changed since is
    made again, whoever had it. Shapes that failed have just been tried.
    """
    prepare_folder(config, command=command, rank=part.rank, world=part.total, part=part)
    status = join_parts(
        config.folder,
        part,
        what=WHAT,
        is_whole=lambda: _is_whole(config),
        join=lambda: prepare_folder(config, command=command, draw=draw, keep_failed=True),
    )
    if status is None:
        say(describe_part(part))
        return DONE
    return status


def _is_whole(config: DataConfig) -> bool:
    """Whether every shard has its file."""
    names = read_json(config.folder / JOB_FILE).get("names")
    count = -(-len(names) // config.shard_size) if isinstance(names, list) else 0
    return all(Path(config.folder, SHARDS, f"{shard:05d}.h5").exists() for shard in range(count))
