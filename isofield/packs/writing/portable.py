"""Settings without the machine that they were used on: paths become names."""

import re
from pathlib import Path, PurePosixPath
from typing import Any

# Keys of our configurations that hold a path, relative ones too: to nobody else they lead anywhere.
PATH_KEYS = frozenset({"path", "runs", "init_from", "output", "licences", "folder", "mask", "data"})
ELSEWHERE = re.compile(r"/|~|\.\.[/\\]|[A-Za-z]:[\\/]")  # begins a path that is no name below some folder


def portable(settings: Any) -> Any:
    """The same plain data, each path in it cut to its last part; other text stays as it is."""
    if isinstance(settings, dict):
        return {key: _name(value) if key in PATH_KEYS else portable(value) for key, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [portable(value) for value in settings]
    if isinstance(settings, str) and ELSEWHERE.match(settings):
        return _name(settings)
    return settings


def refuse_own_places(texts: dict[str, str], run: Path) -> None:
    """ValueError for a text that names a folder of this machine all the same: a card somebody wrote, a note."""
    places = {str(run.resolve()), str(run.resolve().parent), str(Path.cwd()), str(Path.home())}
    for name, text in texts.items():
        for place in sorted(places - {"/"}, key=len, reverse=True):
            if f"{place}/" in text or re.search(rf"{re.escape(place)}(?![\w.-])", text):
                raise ValueError(
                    f"{name} would name {place}, a folder of this machine: take it out of what goes into it"
                )


def _name(value: Any) -> Any:
    if not isinstance(value, str):
        return portable(value)  # the section `data:` of a training config
    return PurePosixPath(value.replace("\\", "/")).name or value
