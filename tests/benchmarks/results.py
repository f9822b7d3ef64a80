"""What the suite found: rows of one table, and a file named by hardware and versions."""

import dataclasses
import datetime
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from isofield.runtime.commandline import say
from tests.benchmarks.measuring import Timing, machine, number

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Goal:
    """What was asked for, and what was found. `judged` False: measured at other sizes than it was asked for."""

    what: str
    found: float
    wanted: float
    at_least: bool = True
    judged: bool = True

    @property
    def met(self) -> bool | None:
        return (self.found >= self.wanted if self.at_least else self.found <= self.wanted) if self.judged else None

    def line(self) -> str:
        sign = ">=" if self.at_least else "<="
        verdict = {True: "met", False: "NOT met", None: "not judged"}[self.met]
        return f"{self.what} {sign} {number(self.wanted)}: {number(self.found)}, {verdict}"


@dataclass(frozen=True)
class Floor:
    """Seconds that no formulation can stay under on this machine, and of what they consist."""

    what: str
    seconds: float


@dataclass(frozen=True)
class Result:
    """A row."""

    name: str
    work: str  # with its sizes
    ours: Timing
    plain: Timing | None = None
    plain_is: str = ""
    floor: Floor | None = None
    goals: list[Goal] = field(default_factory=list)
    note: str = ""

    @property
    def ratio(self) -> tuple[float, float] | None:
        """Plain over ours: wall, CPU."""
        return (self.plain.wall / self.ours.wall, self.plain.cpu / self.ours.cpu) if self.plain else None

    @property
    def share(self) -> float | None:
        return self.floor.seconds / self.ours.wall if self.floor else None

    def record(self) -> dict[str, Any]:
        """For the file."""
        ours, plain, ratio = self.ours, self.plain, self.ratio
        return {
            "name": self.name,
            "work": self.work,
            "ours": {"wall": ours.wall, "cpu": ours.cpu},
            "plain": {"wall": plain.wall, "cpu": plain.cpu, "is": self.plain_is} if plain else None,
            "ratio": {"wall": ratio[0], "cpu": ratio[1]} if ratio else None,
            "floor": dataclasses.asdict(self.floor) if self.floor else None,
            "share_of_floor": self.share,
            "goals": [dataclasses.asdict(goal) | {"met": goal.met} for goal in self.goals],
            "note": self.note,
        }


TITLES = ("work", "ours s", "CPU-s", "plain s", "CPU-s", "ratio", "of CPU-s", "floor s", "share", "target")


def cells(result: Result) -> list[str]:
    """One line of the table."""
    plain = [number(value) for value in result.plain[:2]] if result.plain else ["-", "-"]
    ratio = [f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in result.ratio] if result.ratio else ["-", "-"]
    floor = [number(result.floor.seconds), f"{result.share:.0%}"] if result.floor else ["-", "-"]
    goals = "; ".join(goal.line() for goal in result.goals) or "stated"
    return [result.work, *(number(value) for value in result.ours[:2]), *plain, *ratio, *floor, goals]


def show(results: list[Result]) -> None:
    """The table, and below it what plain and floor are."""
    rows = [list(TITLES), *(cells(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(TITLES))]
    for row in rows:
        middle = "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:-1], widths[1:-1], strict=True))
        say(f"{row[0]:{widths[0]}}  {middle}  {row[-1]}")
    say("")
    for result in results:
        plain = f" plain: {result.plain_is};" if result.plain else ""
        floor = f" floor: {result.floor.what};" if result.floor else ""
        say(f"{result.name}:{plain}{floor} {result.note}".rstrip(" ;:"))


def save(
    results: list[Result], skipped: dict[str, str], folder: Path, *, device: torch.device, quick: bool, **more: Any
) -> Path:
    """NAME.json: hardware, versions and rows. A file of the same name is replaced."""
    hardware, date = machine(device), datetime.date.today().isoformat()
    part = hardware["gpu"] if "gpu" in hardware else f"{hardware['cpu']} {hardware['threads']} threads"
    name = " ".join([part, f"torch {hardware['torch']}", device.type, date, *["quick"] * quick])
    content = {
        "machine": hardware,
        "device": device.type,
        "date": date,
        "quick": quick,
        **more,
        "rows": [result.record() for result in results],
        "skipped": skipped,
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / (re.sub(r"[^A-Za-z0-9.+]+", "-", name).strip("-") + ".json")
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return file
