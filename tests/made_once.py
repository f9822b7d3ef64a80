"""Set-ups that many tests look at and none changes: made once for all processes of the suite, by whoever is first."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from isofield.runtime.locks import hold_lock

PATIENCE = 1800.0  # seconds that another process may take to make it
_places: list[Path] = []  # where set-ups lie; one at most


def lay_down_in(folder: Path) -> None:
    """All processes of one run of the suite name the same folder."""
    _places[:] = [folder]


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """The folder that `make` filled, in this process or in another. Nothing may be written into it afterwards.

    Where `make` fails, the next who asks tries anew.
    """
    if not _places:  # no test: a tool that takes a set-up for its own
        _places.append(Path(tempfile.mkdtemp(prefix="isofield-setups-")))
    (place,) = _places
    place.mkdir(parents=True, exist_ok=True)
    folder, finished = place / name, place / f"{name}.finished"
    with hold_lock(place / f"{name}.lock", what="test", wait=PATIENCE):
        if not finished.is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            finished.touch()
    return folder
