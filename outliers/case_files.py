"""Measured cases of one shape in a file, so that a benchmark that was stopped goes on where it was."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from data_processing.arrays import read_npz
from data_processing.files import replacing
from outliers.cases import Case
from outliers.scores import Measured

MAX_BYTES = 1 << 32
VERSION = 4  # of what is measured: older files are made again


def kept_cases(folder: Path, name: str, key: dict[str, Any], make: Callable[[], Iterable[Case]]) -> list[Case]:
    """The cases in `folder` that were made under this key; else they are made and written."""
    text = json.dumps({**key, "name": name, "version": VERSION}, sort_keys=True)
    file = folder / f"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}.npz"
    if file.is_file():
        return _read(file)
    cases = list(make())
    with replacing(file) as temporary:
        np.savez_compressed(
            temporary,
            about=np.array([[c.name, c.subject, c.family, c.severity, json.dumps(c.truth)] for c in cases]),
            names=np.array(list(cases[0].measured.numbers)),
            numbers=np.array([list(c.measured.numbers.values()) for c in cases]),
            distances=np.stack([c.measured.distances_D for c in cases]).astype(np.float16),
        )
    return _read(file)


def _read(file: Path) -> list[Case]:
    arrays = read_npz(file, most=MAX_BYTES, names=("about", "names", "numbers", "distances"))
    about, names, numbers, distances = (arrays[key] for key in ("about", "names", "numbers", "distances"))
    called = [str(name) for name in names]
    return [
        Case(
            name=str(row[0]),
            subject=str(row[1]),
            family=str(row[2]),
            severity=str(row[3]),
            measured=Measured(dict(zip(called, values.tolist(), strict=True)), distance_D.astype(np.float32)),
            truth=json.loads(str(row[4])),
        )
        for row, values, distance_D in zip(about, numbers, distances, strict=True)
    ]
