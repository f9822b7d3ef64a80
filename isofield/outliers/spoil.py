"""Label volumes spoilt on purpose, to see what analyse.py finds, in a demo or in your own data.

`python -m isofield.outliers.spoil --input FOLDER --scans NAME ... --structures NAME ... --out DIR`. Each structure
of each scan gets another kind of fault; spoilt.csv beside the volumes says which. Names of labels go beside each.
"""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_processing.medical.crops import organ_file
from data_processing.medical.label_names import LabelTable, find_table
from data_processing.medical.label_volumes import label_volume
from data_processing.medical.scan_grid import write_scan_mask
from isofield.outliers.benchmark.corruptions import FAMILIES, FLIP, MATCHED, TARGETS, corrupt
from isofield.runtime.atomic_files import write_text
from isofield.runtime.commandline import DONE, Parser, run, say
from isofield.runtime.csv_cells import write_csv_file

MARGIN = 12  # voxels around a structure in which it may be spoilt
MOST_LABEL = 255  # of the volumes that are written


def main(arguments: Sequence[str] | None = None) -> int:
    """One call: `arguments` as on the command line (None: those of this process). Returns the exit status."""
    parser = Parser(prog="python -m isofield.outliers.spoil", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--input", type=Path, required=True, help="folder of label volumes")
    parser.add_argument("--scans", nargs="+", required=True, metavar="NAME", help="scans to be spoilt")
    parser.add_argument("--clean", nargs="*", default=[], metavar="NAME", help="scans to stand beside them unspoilt")
    parser.add_argument("--structures", nargs="+", required=True, metavar="NAME", help="names of labels")
    parser.add_argument("--labels", help="table of labels: a known name or a file [the scan's own]")
    parser.add_argument(
        "--families", nargs="+", choices=FAMILIES, default=[*MATCHED, FLIP], help="[all but half, in turn]"
    )
    parser.add_argument("--severity", choices=TARGETS, default="moderate", help="[moderate]")
    parser.add_argument("--seed", type=int, default=0, help="[0]")
    parser.add_argument("--out", type=Path, required=True, help="folder of the spoilt volumes")
    options = parser.parse_args(arguments)
    if options.out.resolve() == options.input.resolve():
        raise ValueError("--out is --input: the clean volumes would be lost")
    # Families in turn, over structures and scans: each comes about equally often.
    families = itertools.cycle(options.families)
    wanted = [(name, [(structure, next(families)) for structure in options.structures]) for name in options.scans]
    wanted += [(name, [(structure, "") for structure in options.structures]) for name in options.clean]
    how = {"table": options.labels, "severity": options.severity, "seed": options.seed}
    told = [row for name, chosen in wanted for row in write_spoilt(options.input, name, chosen, options.out, **how)]
    write_csv_file(options.out / "spoilt.csv", ("scan", "structure", "family", "dice"), told)
    say(f"{options.out}: {len(options.scans)} scans spoilt, {len(options.clean)} clean; {options.out / 'spoilt.csv'}")
    return DONE


def write_spoilt(
    folder: Path,
    name: str,
    chosen: Sequence[tuple[str, str]],
    out: Path,
    *,
    table: str | None,
    severity: str,
    seed: int,
) -> list[dict[str, object]]:
    """Write one scan with nothing but the chosen structures, each with its fault (no family: none); a row for each.

    FileNotFoundError when there is no such scan, ValueError for a structure that it does not have.
    """
    file = organ_file(folder, name, exact=True)
    volume = label_volume(file)
    names = find_table(file, table, header=volume.header)
    if names is None:
        raise ValueError(f"{file}: nothing says what its labels mean: give --labels")
    values = np.zeros(volume.grid.shape, dtype=np.uint8)
    rows: list[dict[str, object]] = []
    for structure, family in chosen:
        label = _label(names, structure, list(volume.boxes), file)
        # Faults may add to a mask: it gets room around its box, as far as the scan goes.
        mask, box = volume.mask([label])
        wider = tuple(
            slice(max(0, side.start - MARGIN), min(size, side.stop + MARGIN))
            for side, size in zip(box, values.shape, strict=True)
        )
        inside: NDArray[np.bool_] = np.zeros([side.stop - side.start for side in wider], dtype=bool)
        inner = tuple(slice(b.start - w.start, b.stop - w.start) for b, w in zip(box, wider, strict=True))
        inside[inner] = mask
        dice = 1.0
        if family:
            spoilt = corrupt(inside, family, severity=severity, seed=seed, name=f"{name}/{structure}")
            inside, dice = spoilt.mask_RRR, spoilt.dice
        values[wider][inside] = label
        rows.append({"scan": _stem(name, family), "structure": structure, "family": family, "dice": round(dice, 4)})
    # A table beside the volume makes it readable without that of the clean one.
    stem = _stem(name, chosen[0][1])
    write_scan_mask(out / f"{stem}.nii.gz", values, volume.grid)
    table_there = {structure: names.ids_of(structure)[0] for structure, _ in chosen}
    write_text(out / f"{stem}.json", json.dumps({"labels": table_there}, indent=1) + "\n")
    return rows


def _stem(name: str, family: str) -> str:
    return f"{name}_spoilt" if family else f"{name}_clean"


def _label(names: LabelTable, structure: str, there: Sequence[int], file: Path) -> int:
    ids = names.ids_of(structure)
    if len(ids) != 1 or ids[0] not in there or ids[0] > MOST_LABEL:
        raise ValueError(f"{file}: {structure} ({ids}) is not there, or not one label up to {MOST_LABEL}")
    return ids[0]


if __name__ == "__main__":
    run(main)
