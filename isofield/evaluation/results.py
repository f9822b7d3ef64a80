"""Evaluations read back from their JSON files: of a run, of the folder beside predictions, or a file by itself.

What judges sets of shapes has no rows that could be paired; it is left out, and named.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isofield.run_dir import RunDir
from isofield.runtime.invocation import next_command
from isofield.runtime.json_files import Row, read_object
from isofield.runtime.reasons import DAMAGED, reason_of

AGAIN = "expected a file that `evaluate` wrote: evaluate again"


@dataclass(frozen=True)
class Candidate:
    """What one argument of compare has under one protocol and split. `run`: its folder, None of two folders."""

    name: str
    file: Path
    run: Path | None
    evaluation: Row

    @property
    def protocol(self) -> str:
        return str(self.evaluation["protocol"])

    @property
    def split(self) -> str:
        """Empty for two folders."""
        return str(self.evaluation["split"] or "")

    @property
    def settings(self) -> Row:
        settings: Row = self.evaluation["settings"]
        return settings

    @property
    def metrics(self) -> list[str]:
        """Those that the protocol publishes: the first decides where two differ most."""
        return list(self.settings["published_metrics"])

    def done(self) -> dict[str, Row]:
        """Rows that have numbers, by the name of the shape."""
        return {row["name"]: row for row in self.evaluation["per_shape"] if row["status"] == "done"}


def read_candidates(
    paths: Sequence[Path], names: Sequence[str] | None = None
) -> tuple[list[list[Candidate]], list[str]]:
    """Of each path its evaluations, and notes on what was left out.

    `names`: what the paths are called in tables; None takes those of the runs. FileNotFoundError, ValueError for a
    path that has none, a file that is none, and for names of another count or two alike.
    """
    if names is not None and (len(names) != len(paths) or len(set(names)) != len(names)):
        raise ValueError(f"--names: expected {len(paths)} different names, one for each path, got {' '.join(names)}")
    called = list(names) if names is not None else _names(paths)
    notes: list[str] = []
    return [_candidates_of(path, name, notes) for path, name in zip(paths, called, strict=True)], notes


def _candidates_of(path: Path, name: str, notes: list[str]) -> list[Candidate]:
    """All evaluations that a run, a folder or a file holds."""
    # A run, the folder of its results, or one file of them: people name any of the three.
    folder = path / "evaluation" if (path / "evaluation").is_dir() else path
    if path.is_dir():
        files = sorted(file for file in folder.glob("*.json") if not file.name.startswith("."))
    elif path.is_file():
        files = [path]
    else:
        raise FileNotFoundError(
            f"{path} does not exist: expected a run, a folder of evaluations, or a JSON file of one"
        )
    candidates = []
    for file in files:
        data = read_object(file, again=AGAIN)
        if "sets" in data:
            notes.append(f"{file}: judges sets of shapes, which cannot be paired; left out")
            continue
        candidates.append(Candidate(name, file, _run_of(file), _checked(data, file)))
    if not candidates:
        make = next_command("evaluate", "--run", path, "--split", "test")
        raise FileNotFoundError(f"{path} has no evaluation of pairs ({folder}/*.json); make one: {make}")
    return candidates


def _run_of(file: Path) -> Path | None:
    """The run in whose folder of evaluations the file lies."""
    run = RunDir(file.parent.parent)
    return run.path if run.evaluation.name == file.parent.name and run.config_file.is_file() else None


def _names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path that tells something; longer ones where two would be alike."""
    resolved = [path.resolve() for path in paths]
    plain = [run.name if path.is_file() and (run := _run_of(path)) else path.stem for path in resolved]
    if len(set(plain)) == len(plain):
        return plain
    whole = [str(path) for path in paths]
    return whole if len(set(whole)) == len(whole) else [f"{n}: {name}" for n, name in enumerate(whole, start=1)]


def _checked(data: Row, file: Path) -> Row:
    """The evaluation, with "inf" as a number. ValueError that names the file where something lacks."""
    try:
        settings, rows = data["settings"], data["per_shape"]
        metrics = settings["published_metrics"]
        if not (isinstance(data["protocol"], str) and isinstance(data.get("split"), str | None) and metrics):
            raise ValueError("protocol, split or published metrics")
        if not all(isinstance(settings["units"][key], str) for key in metrics):
            raise ValueError("units")
        per_shape = [_checked_row(row, metrics) for row in rows]
        if len({row["name"] for row in per_shape}) != len(per_shape):
            raise ValueError("two shapes of one name")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        lacking = f"it lacks {error.args[0]!r}" if isinstance(error, KeyError) else DAMAGED
        raise ValueError(f"{file}: no evaluation of ours ({reason_of(error, otherwise=lacking)}); {AGAIN}") from error
    return data | {"per_shape": per_shape, "split": data.get("split")}


def _checked_row(row: Row, metrics: Sequence[str]) -> Row:
    if not all(isinstance(row[key], str) for key in ("name", "category", "status")):
        raise ValueError("name, category and status of a shape")
    if row["status"] != "done":
        return row
    return row | {key: _number(row[key]) for key in metrics}


def _number(value: Any) -> float | None:
    """JSON has no infinite numbers: they stand there as words."""
    if value is None or value == "inf":
        return None if value is None else float("inf")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def chosen_candidates(
    of_paths: Sequence[Sequence[Candidate]], *, protocols: Sequence[str] | None, split: str | None
) -> list[list[Candidate]]:
    """Those of the protocols and the split; None: any. ValueError for a path that has none left."""
    chosen = []
    for candidates in of_paths:
        fitting = [
            each
            for each in candidates
            if (protocols is None or each.protocol in protocols) and (split is None or each.split == split)
        ]
        if not fitting:
            asked = " ".join(
                [*(["--protocol", *protocols] if protocols else []), *(["--split", split] if split else [])]
            )
            there = "; ".join(f"{each.protocol}, split {each.split or 'none'}" for each in candidates)
            raise ValueError(f"{asked}: {candidates[0].name} has no such evaluation; it has: {there}")
        chosen.append(fitting)
    return chosen
