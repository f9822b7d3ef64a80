"""Numbers of papers that can stand beside measured ones: from published_numbers.yaml, never best, never paired."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from isofield.runtime.hints import did_you_mean

FILE = Path(__file__).with_name("published_numbers.yaml")


@dataclass(frozen=True)
class PublishedMethod:
    """`rows`: by protocol and average (per category, per shape, not stated) the numbers by metric."""

    method: str
    task: str
    source: str
    rows: dict[tuple[str, str], dict[str, float]]

    def under(self, protocol: str) -> dict[str, dict[str, float]]:
        """Numbers by average."""
        return {average: numbers for (name, average), numbers in self.rows.items() if name == protocol}


@functools.cache
def published_methods() -> tuple[PublishedMethod, ...]:
    """All of the file."""
    entries: list[dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    methods = []
    for entry in entries:
        rows = {(row.pop("protocol"), row.pop("average")): dict(row) for row in entry["rows"]}
        methods.append(PublishedMethod(entry["method"], entry["task"], entry["source"], rows))
    return tuple(methods)


def find_published(names: Sequence[str] | None) -> list[PublishedMethod]:
    """None: none; no name: all; else those called so. ValueError that names the known ones."""
    if names is None:
        return []
    known = {each.method: each for each in published_methods()}
    for name in names:
        if name not in known:
            hint = f"{did_you_mean(name, known)} known: {', '.join(known)}".lstrip()
            raise ValueError(f"--published {name}: nobody's numbers are called so; {hint}")
    return [known[name] for name in names] if names else list(known.values())
