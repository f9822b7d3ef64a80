"""The preparation of a whole folder: what is there, what is missing, make it, pack it. Stopping is allowed anywhere.

A shape becomes a part file as soon as it is finished; when all members of a shard have one, they are packed into the
shard and removed. Each file appears by renaming. A run therefore does only what is missing, whatever stopped the last
one; what it finds is checked, and a damaged shard is made again.

Ranks take every world-th shard each. The first writes the index when all are done; where they cannot wait for each
other, whoever finds all shards there.
"""

import contextlib
import errno
import functools
import json
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from data_processing.preparation import report as report
from data_processing.preparation.config import DataConfig, config_file, content_settings, layout_of
from data_processing.preparation.job_file import open_job
from data_processing.preparation.next_step import Draw, next_step, page_or_command
from data_processing.preparation.shape import digest_of, files_of, size_of
from data_processing.preparation.sources import Listing, Source, list_sources
from data_processing.preparation.up_axis import describe_up
from data_processing.preparation.workers import Task, run_tasks
from data_processing.store.shape_set import INDEX_FILE, PARTS, SHARDS, read_index
from data_processing.store.shards import Layout, PackedRow, ShapeRecord, Shard, write_shard
from data_processing.store.splits import split_names
from isofield.runtime.atomic_files import WriteError, remove_leftovers, write_text
from isofield.runtime.commandline import DONE, SOME_FAILED, say
from isofield.runtime.config import to_plain, to_yaml
from isofield.runtime.cores import describe_cores, own_cores
from isofield.runtime.fingerprint import fingerprint
from isofield.runtime.parts import Part, hold_folder
from isofield.runtime.progress import Progress
from isofield.runtime.reasons import reason_of

WHAT = "preparation"  # in messages
Wait = Callable[[], None] | None


@dataclass(frozen=True)
class PreparationJob:
    """A listed input folder and the place of the data set made from it."""

    config: DataConfig
    sources: tuple[Source, ...]
    settings: dict[str, Any]  # what decides the content; in every shard
    splits: dict[str, str] | None = None  # by name, where the input folder says them
    retry_failed: bool = False

    @property
    def folder(self) -> Path:
        return self.config.folder

    @property
    def layout(self) -> Layout:
        return layout_of(self.config)

    @property
    def shard_count(self) -> int:
        return -(-len(self.sources) // self.config.shard_size)

    def members(self, shard: int) -> range:
        """Numbers of the sources of a shard."""
        size = self.config.shard_size
        return range(shard * size, min((shard + 1) * size, len(self.sources)))

    def shard_file(self, shard: int) -> Path:
        return self.folder / SHARDS / f"{shard:05d}.h5"

    def part_file(self, number: int) -> Path:
        digest = fingerprint("[", json.dumps(self.sources[number].name), ", ", self._settings_text, "]", size=6)
        return self.folder / PARTS / f"{number:07d}-{digest}.h5"

    @functools.cached_property
    def _settings_text(self) -> str:
        return json.dumps(self.settings, sort_keys=True)


@dataclass
class ShardState:
    """Which members of a shard are finished, and where."""

    shard: int
    finished: dict[int, ShapeRecord] = field(default_factory=dict)
    missing: set[int] = field(default_factory=set)
    packed: bool = False  # the shard file holds exactly what is finished


def prepare_folder(
    config: DataConfig,
    *,
    command: str = "",
    rank: int = 0,
    world: int = 1,
    wait: Wait = None,
    draw: Draw = None,
    part: Part | None = None,
    keep_failed: bool = False,
) -> int:
    """Prepare a folder, or finish preparing it; returns the exit status. `wait`: until every rank has come there.

    `draw`: makes a page of the data set and returns where it is; a ValueError of it is told, and fails nothing. Of a
    `part` only its own shards are made, and nothing is joined. `keep_failed`: whatever the config says, failed shapes
    whose files did not change are not tried again. Raises FileNotFoundError and ValueError for an input or a config
    that cannot be used, OSError for a full disk.
    """
    job, listing = _listed(config)
    job = replace(job, retry_failed=config.retry_failed and not keep_failed)
    _check_splits_and_licences(job)
    job.folder.mkdir(parents=True, exist_ok=True)
    # Everything that reads the folder happens under the lock: a second command must not see half of a state.
    with hold_folder(job.folder, rank, what=WHAT, part=part):
        open_job(config, job.settings, [source.name for source in job.sources], command)
        if rank == 0:
            write_text(config_file(config), to_yaml(config))
        if world == 1:
            remove_leftovers([job.folder, job.folder / SHARDS, job.folder / PARTS])
        # Listed once: asking for each by name would be a request of a network disk each.
        parts = {file.name for file in (job.folder / PARTS).glob("[0-9]*.h5")}
        states = [_examine(job, shard, parts) for shard in range(rank, job.shard_count, world)]
        _announce(job, listing, states, rank, world)
        if not all(state.packed for state in states):
            (job.folder / INDEX_FILE).unlink(missing_ok=True)  # from here to the end the data set is unfinished
        # From here on all that is made is kept, wherever this is stopped.
        _work(job, states, rank, shared=wait is not None)
        if part is not None:
            return DONE
        if wait is not None:
            wait()  # a shard that is there may be the old one, which another rank makes again
            if rank > 0:
                return DONE
        mine = {state.shard for state in states} if wait is None else set(range(job.shard_count))
        return _finish(job, mine, rank, draw)


def _listed(config: DataConfig) -> tuple[PreparationJob, Listing]:
    listing = list_sources(
        config.input,
        kind=config.kind,
        categories=config.categories,
        exclude=config.exclude,
        labels=config.labels,
        layout=config.layout,
    )
    return PreparationJob(config, listing.sources, content_settings(to_plain(config)), listing.splits), listing


def _check_splits_and_licences(job: PreparationJob) -> None:
    names, categories = zip(*((source.name, source.category) for source in job.sources), strict=True)
    split_names(names, categories, job.config.splits, given=job.splits)
    report.read_licences(job.config.licences)


def _examine(job: PreparationJob, shard: int, parts: Collection[str]) -> ShardState:
    """What of a shard is there and sound. `parts`: names of the part files there are: nobody asks for 50,000 others."""
    state = ShardState(shard)
    in_shard = _checked_records(job, job.shard_file(shard), list(job.members(shard)))
    part_of = {number: job.part_file(number) for number in job.members(shard)} if parts else {}
    part_of = {number: file for number, file in part_of.items() if file.name in parts}
    for number in job.members(shard):
        part = _checked_records(job, part_of[number], [number]) if number in part_of else None
        if part and in_shard and part[number] == in_shard[number]:  # stopped between packing and tidying up
            part_of[number].unlink()
            part = None
        # A part is newer than its shard: it was made again since that was written.
        record = (part or in_shard or {}).get(number)
        found_in = part_of[number] if part else job.shard_file(shard)
        if record is None or _again(job, number, record, found_in):
            if part:
                part_of[number].unlink()
            state.missing.add(number)
        else:
            state.finished[number] = record
    # A part that is still there is not in the shard yet, whatever the shard says.
    left = any(file.exists() for file in part_of.values())
    state.packed = in_shard is not None and not state.missing and not left
    return state


def _checked_records(job: PreparationJob, file: Path, members: list[int]) -> dict[int, ShapeRecord] | None:
    """Records of a shard or part by source number; None without such a file; a damaged one is removed."""
    if not file.exists():
        return None
    try:
        with Shard(file, job.layout) as shard:
            shard.verify()
            if shard.settings != job.settings:
                raise ValueError(f"{file}: made with other settings")
            if [record.name for record in shard.records] != [job.sources[number].name for number in members]:
                raise ValueError(f"{file}: holds other shapes than its place says")
            return dict(zip(members, shard.records, strict=True))
    except ValueError as error:
        say(f"made again: {reason_of(error)}")
        file.unlink()
        return None


def _again(job: PreparationJob, number: int, record: ShapeRecord, found_in: Path) -> bool:
    """Whether a finished shape is to be done again: its file changed since, or it failed and may succeed now."""
    if job.sources[number].refusal:
        return record.status != "failed" or bool(record.source_digest)  # made, or read, before it was refused
    files = files_of(job.sources[number], job.config)
    # Without a digest the failure was not the file's fault (a full disk, no memory, its name): it is tried again.
    if record.status == "failed" and (job.retry_failed or not record.source_digest):
        return True
    if size_of(*files) != record.source_bytes or record.source != job.sources[number].file:
        return True
    # Content is read only where a time says that it may have changed: 50,000 files would take minutes.
    newest = max(file.stat().st_mtime_ns for file in files)
    return newest > found_in.stat().st_mtime_ns and digest_of(*files) != record.source_digest


def _announce(job: PreparationJob, listing: Listing, states: list[ShardState], rank: int, world: int) -> None:
    categories = len({source.category for source in job.sources})
    ignored = ", ".join(f"{count} {suffix}" for suffix, count in sorted(listing.ignored.items()))
    mine = f"; rank {rank} of {world} takes {sum(map(_size, states))}" if world > 1 else ""
    say(
        f"{job.config.input}: {len(job.sources)} shapes in {categories} categories"
        + (f", other files left alone: {ignored}" if ignored else "")
        + mine
    )
    for note in (*listing.notes, *describe_up(job.config, [source.file for source in job.sources])):
        say(f"{job.config.input}: {note}")
    finished = sum(len(state.finished) for state in states)
    if finished:
        say(f"{job.folder}: {finished} shapes are finished already")


def _size(state: ShardState) -> int:
    return len(state.finished) + len(state.missing)


def _work(job: PreparationJob, states: list[ShardState], rank: int, *, shared: bool) -> None:
    """Make the missing parts, and pack each shard as soon as it is complete."""
    # From the number of a shape to its shard, and from the name that a worker reports to the number.
    state_of = {number: state for state in states for number in state.missing}
    number_of = {job.sources[number].name: number for number in state_of}
    for state in states:
        if not state.missing and not state.packed:
            _pack(job, state)
    if not state_of:
        return
    tasks = [Task(job.sources[number], job.part_file(number).absolute()) for number in sorted(state_of)]
    device, workers = _device(job.config), _workers(job.config, len(tasks))
    total = sum(map(_size, states))
    if rank == 0:
        say(f"{describe_cores()}, {workers} process{'es' * (workers > 1)}")
    with (
        # Of ranks that share a screen the first shows it; others (of a scheduler's jobs) have logs of their own.
        Progress(
            total, what="prepare", unit="shape", initial=total - len(tasks), shown=rank == 0 or not shared
        ) as progress,
        report.Timings(job.folder, rank) as timings,
    ):
        config = replace(job.config, input=job.config.input.absolute())  # workers may have another current directory
        outcomes = run_tasks(tasks, config, settings=job.settings, device=device, workers=workers)
        with _kept(job, states), contextlib.closing(outcomes):
            for outcome in outcomes:
                state = state_of[number := number_of[outcome.record.name]]
                state.missing.discard(number)
                state.finished[number] = outcome.record
                timings.add(outcome)
                progress.update()
                if not state.missing:
                    _pack(job, state)


@contextlib.contextmanager
def _kept(job: PreparationJob, states: list[ShardState]) -> Iterator[None]:
    """Say, when a disk is full or a process is stopped, what there is and how to go on."""
    try:
        yield
    except (OSError, KeyboardInterrupt) as error:
        finished = sum(len(state.finished) for state in states)
        kept = f"{finished} of {sum(map(_size, states))} shapes are finished and kept in {job.folder}"
        if isinstance(error, KeyboardInterrupt):
            say(kept)
            raise
        raise OSError(
            f"{reason_of(error)}. Stopped: {kept}; when the cause is gone, run the same command again"
        ) from error


def _pack(job: PreparationJob, state: ShardState) -> None:
    """Parts (and rows of an older shard where there is no part) into the shard; then the parts go."""
    file = job.shard_file(state.shard)
    rows: list[PackedRow] = []
    records: list[ShapeRecord] = []
    with contextlib.ExitStack() as stack:
        old = stack.enter_context(Shard(file, job.layout)) if file.exists() else None
        for number in job.members(state.shard):
            record = state.finished[number]
            records.append(record)
            if record.status != "done":
                continue
            if job.part_file(number).exists():
                with Shard(job.part_file(number), job.layout) as part:
                    rows.append(part.row(0))
            elif old is not None and record.name in old.done_names:
                rows.append(old.row(old.done_names.index(record.name)))
            else:
                state.finished.clear()
                raise _vanished(job, job.part_file(number))
    # The shard is written before a part goes: a stop in between leaves both, and the next run the same bytes.
    write_shard(file, rows, records, layout=job.layout, settings=job.settings)
    for number in job.members(state.shard):
        job.part_file(number).unlink(missing_ok=True)


def _vanished(job: PreparationJob, file: Path) -> WriteError:
    """A file that this run has written, or found, is gone."""
    return WriteError(errno.ENOENT, f"it vanished: something removes files from {job.folder}", str(file))


def _finish(job: PreparationJob, finished: set[int], rank: int, draw: Draw) -> int:
    """Write report and index when all shards are there; the exit status. Those that are not `finished` may not be."""
    absent = [shard for shard in range(job.shard_count) if not job.shard_file(shard).exists()]
    for shard in finished & set(absent):
        raise _vanished(job, job.shard_file(shard))
    if absent:
        say(f"rank {rank} is done; the last rank to finish writes the index")
        return DONE
    with contextlib.suppress(OSError):
        (job.folder / PARTS).rmdir()
    # All shards are read once more, by whoever finishes last: rows of other ranks are known from nowhere else.
    records: list[ShapeRecord] = []
    for shard in range(job.shard_count):
        with Shard(job.shard_file(shard), job.layout) as opened:
            records += opened.records
    members = [len(job.members(shard)) for shard in range(job.shard_count)]
    for line in report.write_all(job.config, records, members=members, given=job.splits):
        say(line)
    failed = [record for record in records if record.status == "failed"]
    say(f"what it made of your data, as a page: {page_or_command(job.folder, draw)}")
    if not any(record.status == "done" for record in records):
        first = (failed or records)[0]
        raise ValueError(f"all {len(records)} shapes failed or are absent; the first: {first.reason}")
    but = report.describe_shortfall(records)
    trains = bool(read_index(job.folder).splits.get("train"))
    say(f"{job.folder} is done{but}; next: {next_step(job.config, trains=trains)}")
    return SOME_FAILED if but else DONE


def _device(config: DataConfig) -> str:
    """The device of this rank. ValueError when the config wants CUDA and there is none.

    On a GPU scan conversion, levels and thinning are made of many shapes at once; all else (reading, parts, winding
    numbers, floods, parts thinner than a voxel, points near the surface) is one shape after the other in one process,
    and most of the time of a shape. The cores beside it are faster by count: `auto` is the CPU.
    """
    if config.device != "cuda":
        return "cpu"
    if not torch.cuda.is_available():
        raise ValueError("device: cuda, but PyTorch finds no CUDA device here; use device: auto or cpu")
    return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"


def _workers(config: DataConfig, tasks: int) -> int:
    if config.workers:
        return min(config.workers, tasks)
    if _device(config) != "cpu":
        return 1
    return max(1, min(own_cores(), tasks))
