"""The command line of analyse.py, checked before any work. Imports nothing heavy at its top."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_processing.medical.totalsegmentator import NAMED_TABLES
from isofield.outliers.analysis.limits import limit_of
from isofield.runtime.invocation import as_typed
from isofield.runtime.parts import HELP, part_of

if TYPE_CHECKING:
    from data_processing.medical.label_names import LabelTable
    from isofield.outliers.analysis.organ_rows import AnalysisConfig


def read_options(argv: Sequence[str] | None, description: str | None, *, prog: str | None = None) -> argparse.Namespace:
    """Wrong usage exits with 2, as errors do here: 1 means that there are outliers."""
    parser = argparse.ArgumentParser(prog=prog or "analyse.py", description=as_typed(description or ""))
    add = parser.add_argument
    add(
        "--models",
        type=Path,
        nargs="+",
        required=True,
        metavar="RUN",
        help="priors: runs/ORGAN, or packed ones",
    )
    add("--input", type=Path, required=True, metavar="FOLDER", help="label volumes, or folders with a file per organ")
    add("--out", type=Path, required=True, help="folder of the results, outside of --input")
    tables = ", ".join(NAMED_TABLES)
    add("--labels", metavar="TABLE", help=f"what labels mean: {tables}, or a file [the scan's own table]")
    add("--layout", choices=("auto", "volumes", "organs"), default="auto", help="organs: one file per organ [auto]")
    add("--pattern", default="*", metavar="GLOB", help="of the files to look at, such as '*_seg.nii.gz' [all]")
    add("--threshold", type=float, help="of maps of probabilities: above is inside [whole-numbered labels]")
    add("--fpr", type=float, default=0.05, help="share of clean masks that may be flagged [0.05]")
    add("--bh", action="store_true", help="Benjamini-Hochberg across the folder: fpr is then the false discovery rate")
    add("--limit", nargs="+", default=[], metavar="M<V", help="also flag by metrics of your own: 'dice<0.8' 'hd95>10'")
    add("--tolerance", type=float, default=1.0, metavar="MM", help="of the surface Dice nsd [1]")
    add("--checkpoint", default="best", help="best, last or a step [best]")
    add("--no-masks", action="store_true", help="write no reconstructions, maps and repaired masks")
    add("--no-pictures", action="store_true", help="draw nothing")
    add("--resume", action="store_true", help="do only what is missing in --out; without it, start anew")
    add("--part", type=part_of, metavar="K/N", help=f"{HELP}; goes on as --resume does")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N [auto]")
    # What the other commands call --run are several here, and argparse would only say that --models is required.
    words = sys.argv[1:] if argv is None else argv
    if any(word == "--run" or word.startswith("--run=") for word in words):
        parser.error("--run: analyse calls it --models, and takes several: --models runs/ORGAN [...]")
    options = parser.parse_args(argv)
    refuse_overlap(options.input, options.out)
    if not 0 < options.fpr < 1:
        raise ValueError(f"--fpr: expected a rate between 0 and 1, got {options.fpr}")
    return options


def refuse_overlap(folder: Path, out: Path) -> None:
    """ValueError when results would be written into the input, or the input lies among the results."""
    inside, results = folder.resolve(), out.resolve()
    if not inside.is_dir():
        what = "is a file, expected a folder: give the one that it is in" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"--input {folder} {what}")
    if results == inside or inside in results.parents or results in inside.parents:
        raise ValueError(f"--out {out} and --input {folder} lie in each other: nothing is written into the input")


def settings_of(options: argparse.Namespace) -> "AnalysisConfig":
    """What decides how rows come out."""
    from isofield.outliers.analysis.organ_rows import AnalysisConfig

    if not options.tolerance >= 0:
        raise ValueError(f"--tolerance: expected at least 0 mm, got {options.tolerance}")
    return AnalysisConfig(
        fpr=options.fpr,
        tolerance=options.tolerance,
        keep_masks=not options.no_masks,
        pictures=not options.no_pictures,
        limits=tuple(limit_of(words) for words in options.limit),
    )


def table_of(labels: str | None) -> "LabelTable | None":
    """The table the user named, for the names of organ files; one beside the scans is found scan by scan."""
    from data_processing.medical.label_names import named_table, read_table

    if labels in NAMED_TABLES:
        return named_table(labels)
    return read_table(Path(labels)) if labels and Path(labels).is_file() else None
