"""A published organ model is a folder called by the number of its organ in TotalSegmentator's first label table.

In it: checkpoints/*.tar, val_min=EPOCH.npy (epoch and validation loss), outlier_threshold.npy (at the worst 5 % of the
very masks it is applied to). It becomes a run that knows its organ by name. Its thresholds are kept to be shown, and
trusted by nothing: the run has no calibration until clean masks gave it one. Nothing in these files is executed.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_processing.formats.npy import read_npy_file
from data_processing.medical.totalsegmentator import NAMED_TABLES
from isofield.runtime.reasons import reason_of

TABLE = "total_v1"
THRESHOLDS = "outlier_threshold.npy"
MAX_NUMBERS = 1000
SHOWN = 5


@dataclass(frozen=True)
class OrganFolder:
    """What a folder holds. `validation`: epoch and loss; `thresholds`: the old ones, or why they cannot be read."""

    organ: str
    label: int
    checkpoint: Path
    validation: tuple[float, ...]
    thresholds: list[float] | str | None

    def origin_note(self) -> dict[str, Any]:
        """For the run: where it comes from, and what is not trusted."""
        return {
            "organ": self.organ,
            "label": {TABLE: self.label},
            "checkpoint": self.checkpoint.name,
            "validation": list(self.validation),
            "old_thresholds": self.thresholds,
            "note": f"calibration is missing; {self.about_thresholds()}",
        }

    def about_thresholds(self) -> str:
        """In words."""
        if self.thresholds is None:
            return "no thresholds came with it"
        if isinstance(self.thresholds, str):
            return f"its old thresholds cannot be read: {self.thresholds}"
        return f"its old thresholds {', '.join(f'{value:g}' for value in self.thresholds)} are not used"


def read_organ_folder(folder: Path, *, checkpoint: str | None = None) -> OrganFolder:
    """What of the folder becomes a run.

    `checkpoint`: the name of the file; none: the only one, or that of the epoch with the least validation loss. Raises
    FileNotFoundError, and ValueError when the folder's name is no number of the table or the checkpoint is not clear.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"organ folder {folder} does not exist")
    names = {label: organ for organ, label in NAMED_TABLES[TABLE].items()}
    name = folder.resolve().name
    if not name.isdecimal() or int(name) not in names:
        raise ValueError(f"{folder}: expected a folder called by a number of {TABLE}, 1 to {max(names)}; got {name!r}")
    validation = _validation(folder)
    chosen = _checkpoint(folder / "checkpoints", checkpoint, validation)
    thresholds = _numbers(folder / THRESHOLDS) if (folder / THRESHOLDS).is_file() else None
    return OrganFolder(names[int(name)], int(name), chosen, validation, thresholds)


def _validation(folder: Path) -> tuple[float, ...]:
    """Epoch and loss of the best validation; only the epoch where the file is damaged; () without a file."""
    files = sorted(folder.glob("val_min=*.npy"))
    if len(files) > 1:
        raise ValueError(f"{folder}: expected one val_min=EPOCH.npy, got {', '.join(file.name for file in files)}")
    if not files:
        return ()
    numbers = _numbers(files[0])
    if not isinstance(numbers, str) and len(numbers) >= 2:
        return tuple(numbers[:2])
    epoch = re.search(r"(\d+)\.npy$", files[0].name)
    return (float(epoch[1]),) if epoch else ()


def _checkpoint(folder: Path, asked: str | None, validation: tuple[float, ...]) -> Path:
    files = sorted(folder.glob("*.tar"))
    names = ", ".join(file.name for file in files[:SHOWN]) + (", ..." if len(files) > SHOWN else "")
    if not files:
        raise FileNotFoundError(f"{folder} holds no published checkpoint (*.tar)")
    # The one that is asked for, the only one, or that of the epoch with the least validation loss; never a guess.
    if asked is not None:
        found = [file for file in files if asked in (file.name, file.stem)]
    elif len(files) == 1:
        found = files
    else:
        found = [file for file in files if validation and _last_number(file.stem) == validation[0]]
    if len(found) != 1:
        why = f"{asked!r} is none of them" if asked else "none is that of the least validation loss"
        raise ValueError(f"{folder}: which checkpoint? {why}; it has {names}: name one with --checkpoint")
    return found[0]


def _last_number(name: str) -> int | None:
    files = re.findall(r"\d+", name)
    return int(files[-1]) if files else None


def _numbers(file: Path) -> list[float] | str:
    """The numbers of a .npy file; a reason where it does not hold plain numbers."""
    try:
        values = read_npy_file(file, most=MAX_NUMBERS * 8)
        return [float(value) for value in np.asarray(values, dtype=np.float64).ravel()]
    except (ValueError, OSError) as error:
        return f"{file.name}: {reason_of(error)[:200]}"
