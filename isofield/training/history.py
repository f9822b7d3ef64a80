"""The numbers of all validations of a run, in curves.csv: a line for each, whatever was resumed; and their picture."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

from isofield.run_dir import RunDir, refuse_vanished_run
from isofield.runtime.atomic_files import refuse_large
from isofield.runtime.commandline import say
from isofield.runtime.csv_cells import write_csv_file
from isofield.runtime.reasons import reason_of

MAX_BYTES = 1 << 26
STEP = "step"
Points = Mapping[str, list[tuple[int, float]]]  # of each curve, by its name: step and value
Draw = Callable[[Path, Points], None]  # writes the picture


class History:
    """Lines up to `step`: what a killed training noted beyond its last checkpoint comes again."""

    def __init__(self, run: RunDir, *, step: int, draw: Draw | None = None) -> None:
        self._run, self._draw = run, draw
        self._rows = {row[STEP]: row for row in _read(run.curves_file) if row[STEP] <= step}

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """A validation; one of the same step before is replaced. Writes both files, or WriteError."""
        refuse_vanished_run(self._run)
        self._rows[int(step)] = {STEP: int(step), **{name: float(value) for name, value in values.items()}}
        rows = [self._rows[key] for key in sorted(self._rows)]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        write_csv_file(self._run.curves_file, columns, rows)
        if self._draw is not None:
            self._draw(self._run.curves_picture, self.curves())

    def curves(self) -> Points:
        """What was noted, by name."""
        names = dict.fromkeys(name for row in self._rows.values() for name in row if name != STEP)
        return {
            name: [(int(step), row[name]) for step, row in sorted(self._rows.items()) if name in row] for name in names
        }


def _read(file: Path) -> list[dict[str, float]]:
    """The lines of an earlier start; none, and a line says so, where it is damaged: the rest of the run is not."""
    if not file.is_file():
        return []
    try:
        refuse_large(file, MAX_BYTES)
        with open(file, encoding="utf-8", newline="") as handle:
            # Columns differ by what was measured at a step: an empty cell is no number.
            reader = csv.DictReader(handle)
            rows = [{name: float(value) for name, value in row.items() if value} for row in reader]
        if STEP not in (reader.fieldnames or [STEP]):
            raise ValueError(f"it has no column {STEP}")
        if not all(row[STEP].is_integer() for row in rows):
            raise ValueError(f"{STEP} is no whole number in it")
        return [{**row, STEP: int(row[STEP])} for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        reason = reason_of(error, otherwise="a line of it is cut off, or holds what is no number")
        say(f"{file}: not a table of curves ({reason}): begun anew; the checkpoints are not touched by it")
        return []
