"""What a preparation leaves beside its shards: the index (dataset.json), the report of every input, and the timings.

The index and the report depend on the records and the config alone: the same job gives the same bytes. Timings do not,
and are kept apart.
"""

import csv
import io
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from data_processing.preparation.config import DataConfig, layout_of
from data_processing.preparation.workers import Outcome
from data_processing.store.shape_set import INDEX_FILE, DatasetIndex, ShardEntry
from data_processing.store.shards import SCHEMA, FailedShape, ShapeRecord
from data_processing.store.splits import PARTIAL, SPLITS, split_names, without_copies
from isofield.runtime.atomic_files import refuse_vanished, write_text
from isofield.runtime.commandline import first_of
from isofield.runtime.config import to_plain
from isofield.runtime.csv_cells import cell, write_csv_file

MAX_LICENCE_BYTES = 1 << 28
MAX_HEADER = 1 << 12  # characters of the first line of timings
STAGES = ("read", "occupancy", "carve", "pool", "levels", "grids", "boundary", "surface", "rendering", "write")


def write_all(
    config: DataConfig,
    records: Sequence[ShapeRecord],
    *,
    members: Sequence[int],
    given: Mapping[str, str] | None = None,
) -> list[str]:
    """Write report.csv, report.json and dataset.json; returns the lines that sum it up.

    `records`: of all inputs in order; `members`: how many of them each shard has; `given`: splits by name that the
    input folder says.
    """
    names, categories = [r.name for r in records], [r.category for r in records]
    # Only now is known what can be read and what is equal: both decide who is in a split.
    failed = {index for index, record in enumerate(records) if record.status != "done"}
    aside = _partial(config, records)
    splits = split_names(names, categories, config.splits, set_aside=aside, unreadable=failed, given=given)
    # What cannot be read stands in the tables of the split that it would have been in, and takes nobody's place there.
    whole = split_names(names, categories, config.splits, set_aside=aside, given=given) if failed else {}
    absent = {int(index): split for split, indices in whole.items() for index in indices if int(index) in failed}
    splits, copies = without_copies(splits, [record.shape_digest for record in records])
    split_of = {int(i): split for split, indices in splits.items() for i in indices if int(i) not in failed}
    licences = read_licences(config.licences)
    rows = [
        _report_row(record, split_of.get(index, ""), licences.get(record.source, {}), layout_of(config).level_points)
        | {"copy_of": records[copies[index]].name if index in copies else ""}
        for index, record in enumerate(records)
    ]
    # The index comes last: with it the data set is finished.
    _write_reports(config, rows, records)
    index = _index(config, records, members, split_of | absent, licences)
    write_text(config.folder / INDEX_FILE, json.dumps(to_plain(index), indent=None) + "\n")
    return [
        _summary(config, records, index),
        *_absent_split(config, index),
        *_without_licence(config, records, licences),
        *_copy_lines(records, copies, split_of),
        *_shapes_to_look_at(config, records),
    ]


def _partial(config: DataConfig, records: Sequence[ShapeRecord]) -> list[int]:
    """Shapes that the border of their scan cuts off: kept, but in a split of their own."""
    if config.labels is None or config.labels.keep_partial:
        return []
    return [index for index, record in enumerate(records) if record.quality.startswith("partial")]


def read_licences(file: Path | None) -> dict[str, dict[str, str]]:
    """Rows of a CSV with at least the columns file (below the input folder) and licence, by file.

    FileNotFoundError, or ValueError when a column is missing.
    """
    if file is None:
        return {}
    if not file.is_file():
        raise FileNotFoundError(f"licences: {file} does not exist")
    if file.stat().st_size > MAX_LICENCE_BYTES:
        raise ValueError(f"licences: {file} has {file.stat().st_size} bytes (limit {MAX_LICENCE_BYTES})")
    try:
        # As spreadsheets write it too: a mark at the start, semicolons, folders as on Windows.
        text = file.read_text(encoding="utf-8-sig")
        head = text.partition("\n")[0]
        rows = list(csv.reader(io.StringIO(text), delimiter=max(",;\t", key=head.count)))
        columns = [name.strip().lower() for name in rows[0]] if rows else []
        absent = {"file", "licence"} - set(columns)
        if absent:
            raise ValueError(
                f"licences: {file} has no column {', '.join(sorted(absent))}; expected file,licence,author"
            )
        found = [dict(itertools.zip_longest(columns, row[: len(columns)], fillvalue="")) for row in rows[1:] if row]
        return {row["file"].strip().replace("\\", "/"): row for row in found}
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"licences: {file} is no CSV in UTF-8: save it as one") from error


class Timings:
    """timings.csv: seconds of each stage of each shape, appended as they come. Each rank has its own.

    WriteError when it vanishes: the folder of the data set is gone then.
    """

    def __init__(self, folder: Path, rank: int) -> None:
        self._file = folder / ("timings.csv" if rank == 0 else f"timings-{rank}.csv")

    def __enter__(self) -> Self:
        # A file that an earlier start began keeps its columns.
        new = not self._file.exists()
        self._stages = STAGES if new else self._stages_there()
        self._handle = open(self._file, "a", encoding="utf-8", newline="")
        self._writer = csv.writer(self._handle)
        if new:
            self._writer.writerow(["name", *(f"{stage}_{kind}" for stage in self._stages for kind in ("wall", "cpu"))])
        return self

    def _stages_there(self) -> Sequence[str]:
        """The columns of a file begun by an earlier version; stages that it does not know are left out."""
        with open(self._file, encoding="utf-8", errors="replace", newline="") as handle:
            header = handle.readline(MAX_HEADER).strip().split(",")
        return [name.removesuffix("_wall") for name in header if name.endswith("_wall")] or STAGES

    def add(self, outcome: Outcome) -> None:
        times = [seconds.get(stage, 0.0) for stage in self._stages for seconds in (outcome.wall, outcome.cpu)]
        self._writer.writerow([cell(outcome.record.name), *(f"{seconds:.4f}" for seconds in times)])
        self._handle.flush()
        refuse_vanished(self._handle)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.close()


def _report_row(record: ShapeRecord, split: str, licence: dict[str, str], levels: Iterable[int]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": record.name,
        "category": record.category,
        "split": split,
        "status": record.status,
        "reason": record.reason,
        "method": record.method,
        "quality": record.quality,
        "inside_fraction": record.inside_fraction if record.status == "done" else "",
    }
    for level in levels:
        row[f"mixed_cells_{level}"] = record.mixed_cells.get(level, "")
        row[f"dropped_cells_{level}"] = record.dropped_cells.get(level, "")
    return row | {
        "source": record.source,
        "source_bytes": record.source_bytes,
        "licence": licence.get("licence", ""),
        "author": licence.get("author", ""),
    }


def _write_reports(config: DataConfig, rows: list[dict[str, Any]], records: Sequence[ShapeRecord]) -> None:
    write_csv_file(config.folder / "report.csv", list(rows[0]), rows)
    whole = {"name": config.name, "settings": to_plain(config), "counts": _counts(records), "shapes": rows}
    write_text(config.folder / "report.json", json.dumps(whole, indent=1) + "\n")


def _counts(records: Sequence[ShapeRecord]) -> dict[str, Any]:
    done = [record for record in records if record.status == "done"]
    return {
        "prepared": len(done),
        "failed": sum(record.status == "failed" for record in records),
        "absent": sum(record.status == "absent" for record in records),
        "partial": sum(record.quality.startswith("partial") for record in done),
        "suspect": sum(record.quality.startswith("suspect") for record in done),
        "more_mixed_cells_than_points": sum(any(record.dropped_cells.values()) for record in done),
        "methods": dict(sorted(Counter(record.method for record in done).items())),
    }


def _index(
    config: DataConfig,
    records: Sequence[ShapeRecord],
    members: Sequence[int],
    split_of: dict[int, str],
    licences: dict[str, dict[str, str]],
) -> DatasetIndex:
    # Failed shapes keep their number in the job but have no row: rows are counted over the others.
    done = [index for index, record in enumerate(records) if record.status == "done"]
    position = {index: row for row, index in enumerate(done)}
    splits: dict[str, list[int]] = {split: [] for split in (*SPLITS, PARTIAL) if split in split_of.values()}
    for index in done:
        if index in split_of:
            splits[split_of[index]].append(position[index])
    return DatasetIndex(
        schema=SCHEMA,
        name=config.name,
        settings=to_plain(config),
        input_folder=str(config.input.resolve()),
        layout=layout_of(config),
        shards=_shard_entries(records, members),
        names=[records[i].name for i in done],
        categories=[records[i].category for i in done],
        sources=[records[i].source for i in done],
        methods=[records[i].method for i in done],
        qualities=[records[i].quality for i in done],
        licences=[licences.get(records[i].source, {}).get("licence", "") for i in done],
        splits=splits,
        failed=[
            FailedShape(record.name, record.category, split_of.get(index, ""), record.reason)
            for index, record in enumerate(records)
            if record.status == "failed"
        ],
    )


def _shard_entries(records: Sequence[ShapeRecord], members: Sequence[int]) -> list[ShardEntry]:
    entries, first = [], 0
    for number, count in enumerate(members):
        rows = sum(record.status == "done" for record in records[first : first + count])
        entries.append(ShardEntry(f"{number:05d}.h5", rows))
        first += count
    return entries


def _summary(config: DataConfig, records: Sequence[ShapeRecord], index: DatasetIndex) -> str:
    counts = _counts(records)
    methods = ", ".join(f"{method} {count}" for method, count in counts["methods"].items()) or "none"
    partial = f", {counts['partial']} partial" if counts["partial"] else ""
    absent = f", {counts['absent']} absent (structures that their scans do not have)" if counts["absent"] else ""
    splits = ", ".join(f"{split} {len(members)}" for split, members in index.splits.items())
    return (
        f"{config.folder}: {counts['prepared']} prepared ({methods}; {counts['suspect']} suspect{partial}), "
        f"{counts['failed']} failed{absent}; {splits}; every shape is in {config.folder / 'report.csv'}"
    )


def _absent_split(config: DataConfig, index: DatasetIndex) -> list[str]:
    """One line where nothing is there to train or to test on."""
    absent = [split for split in ("train", "test") if not index.splits.get(split)]
    if not absent or not index.names:
        return []
    reason = f"by the rule {config.splits.rule}"
    if config.splits.rule == "published" and len(set(index.categories)) == len(index.names):
        reason = "each category has one shape, and the first of a category trains"
    return [
        f"no {' and no '.join(absent)} split: {reason}; other ways: --set splits.rule=ratios, splits.rule=lists, or "
        "layout=NAME where the folders are one that we know"
    ]


def _without_licence(
    config: DataConfig, records: Sequence[ShapeRecord], licences: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """One line where a table of licences was given and has no row, or an empty one, for some of the shapes."""
    without = [r.source for r in records if not licences.get(r.source, {}).get("licence")]
    if config.licences is None or not without:
        return []
    return [
        f"licences: {len(without)} of {len(records)} shapes have none in {config.licences}, first {without[0]!r} "
        "(column file: the path below the input folder)"
    ]


def _copy_lines(records: Sequence[ShapeRecord], copies: Mapping[int, int], split_of: Mapping[int, str]) -> list[str]:
    """Which shapes are left out of all splits because another split has the same."""
    lines = [f"copy: {records[i].name} is {records[o].name} of {split_of[o]}" for i, o in sorted(copies.items())]
    if not lines:
        return []
    said = (
        f"{len(lines)} shapes are in no split: another split has the same content (test keeps it before val and train)"
    )
    return [said, *first_of(lines, rest="report.csv, column copy_of")]


def _shapes_to_look_at(config: DataConfig, records: Sequence[ShapeRecord]) -> list[str]:
    """The first failed and the first suspect shapes."""
    failed = [f"failed: {record.name}: {record.reason}" for record in records if record.status == "failed"]
    suspect = [f"suspect: {r.name}: {r.quality}" for r in records if r.quality.startswith("suspect")]
    report = str(config.folder / "report.csv")
    nowhere = [f"in no scan: {name}: {reason}" for name, reason in structures_in_no_scan(records).items()]
    return [*nowhere, *first_of(failed, rest=report), *first_of(suspect, rest=report)]


def describe_shortfall(records: Sequence[ShapeRecord]) -> str:
    """The end of a sentence: failed shapes, and structures that no scan has; "" where all is there.

    Whoever asked for a structure that is nowhere has misspelt its labels, or counts on shapes that are not there.
    """
    failed, nowhere = sum(record.status == "failed" for record in records), list(structures_in_no_scan(records))
    reasons = [f"{failed} of {len(records)} shapes failed"] * bool(failed)
    reasons += [f"no scan has {', '.join(nowhere)} (misspelt labels? see above)"] * bool(nowhere)
    return f", but {' and '.join(reasons)}" if reasons else ""


def structures_in_no_scan(records: Sequence[ShapeRecord]) -> dict[str, str]:
    """Structures that were asked for and that no scan has, each with the first reason: its labels may be misspelt."""
    there = {record.category for record in records if record.status != "absent"}
    absent = [record for record in reversed(records) if record.status == "absent"]
    return dict(sorted((record.category, record.reason) for record in absent if record.category not in there))
