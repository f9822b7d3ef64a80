"""Judged sets as CSV and as a table for the terminal; JSON is written as that of pairs (tables.py)."""

from pathlib import Path

from isofield.runtime.commandline import first_of
from isofield.runtime.csv_cells import write_csv_file
from isofield.runtime.json_files import Row
from isofield.runtime.number_text import short

COLUMNS = ("cov", "mmd", "1nna")


def write_csv(path: Path, evaluation: Row) -> None:
    """Replace the CSV file: a line for each sample and each reference, with what is nearest to it."""
    settings = evaluation["settings"]
    shared = {"protocol": evaluation["protocol"], "split": evaluation["split"] or ""}
    shared |= {key: settings[key] for key in ("points", "seed", "normalisation") if key in settings}
    rows = evaluation["per_shape"]
    first = ["set", "name", "status"]
    columns = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in (*first, "reason")]
    write_csv_file(path, [*first, *columns, *shared, "reason"], (row | shared for row in rows))


def table(evaluation: Row) -> str:
    """Scores by distance, sizes of the sets, nearness to the training shapes, and what failed."""
    lines = [f"{evaluation['protocol']}, sets: {conditions(evaluation['settings'])}"]
    lines.append(", ".join(f"{side} {_count(count)}" for side, count in evaluation["sets"].items()))
    lines.append(f"{'':10}" + "".join(f"{column:>10}" for column in COLUMNS))
    for kind, row in evaluation["scores"].items():
        lines.append(f"{kind:10}" + "".join(f"{short(row.get(column)):>10}" for column in COLUMNS))
    if evaluation["jsd"] is not None:
        lines.append(f"jsd {short(evaluation['jsd']['jsd'])} bits")
    for kind, row in evaluation["nearness_to_training"].items():
        lines.append(
            f"nearest training shape by {kind}: median {short(row['median_of_samples'])} of samples, "
            f"{short(row['median_of_references'])} of references; samples are nearer in {row['nearer']:.0%} of pairs"
        )
    failed = [f"failed: {row['set']}: {row['name']}: {row['reason']}" for row in evaluation["failed"]]
    lines += first_of(failed, rest=f"the results of {evaluation['protocol']}")
    return "\n".join(lines)


def conditions(settings: Row) -> str:
    """What the numbers depend on, in one line."""
    if "points" not in settings:
        return str(settings["scale"])
    emd = f"; EMD of {settings['emd_points']:,} points" if "emd" in settings["distances"] else ""
    return f"{settings['points']:,} points, seed {settings['seed']}, normalisation {settings['normalisation']}{emd}"


def _count(count: Row) -> str:
    return f"{count['n']}" + (f" ({count['failed_count']} failed)" if count["failed_count"] else "")
