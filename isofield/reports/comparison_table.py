"""What a comparison says, as lines of cells: the same for Markdown, LaTeX, CSV and the page.

A line for each category, then the means over categories and over shapes; columns for each metric and candidate. Means
are over the shapes of which every candidate has a number; numbers of papers stand beside them and are never best.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from isofield.evaluation.comparability import ComparableGroup
from isofield.evaluation.paired_differences import PairedDifference, paired_differences
from isofield.evaluation.protocols import LOWER_IS_BETTER
from isofield.evaluation.published_numbers import PublishedMethod
from isofield.reports.pairs import LABELS
from isofield.runtime.json_files import Row
from isofield.runtime.number_text import short

OVER_CATEGORIES, OVER_SHAPES, NOT_STATED = "mean over categories", "mean over shapes", "mean, of what is not stated"
AVERAGES = {"per category": OVER_CATEGORIES, "per shape": OVER_SHAPES, "not stated": NOT_STATED}
ELSEWHERE = "not measured here"


@dataclass(frozen=True)
class ComparedCell:
    """A mean under one metric. `is_best`: of those measured here, where there are two at least."""

    value: float | None
    is_best: bool = False

    @property
    def text(self) -> str:
        """Four digits; a dash where there is no number."""
        return short(self.value)


@dataclass(frozen=True)
class ComparedLine:
    """`n`: shapes that the means are over, of the metric that has fewest; None of published numbers alone."""

    label: str
    n: int | None
    cells: dict[str, list[ComparedCell]]  # of each metric, in the order of the columns
    is_total: bool = False


@dataclass(frozen=True)
class ComparedDifference:
    """Two candidates over one category, or all shapes."""

    first: str
    second: str
    label: str
    differences: list[PairedDifference]


@dataclass(frozen=True)
class ComparisonTable:
    """One group. `columns`: candidates, then methods of papers, `measured` of them ours."""

    group: ComparableGroup
    metrics: list[str]
    units: dict[str, str]
    columns: list[str]
    measured: int
    lines: list[ComparedLine]
    differences: list[ComparedDifference]
    notes: list[str] = field(default_factory=list)

    @property
    def heading(self) -> str:
        """Protocol, split and what decides the numbers."""
        settings = self.group.candidates[0].settings
        split = f", split {self.group.split}" if self.group.split else ""
        keys = [key for key in ("points", "iou_points", "seed", "tolerance_mm") if key in settings]
        words = [f"{key.replace('_', ' ')} {settings[key]}" for key in keys]
        return f"Protocol {self.group.protocol}{split}" + (f" ({', '.join(words)})" if words else "")

    def label(self, metric: str) -> str:
        """Its words."""
        return LABELS.get(metric, metric)

    def is_lower_better(self, metric: str) -> bool:
        """Which way is better."""
        return metric in LOWER_IS_BETTER


def comparison_table(group: ComparableGroup, published: Sequence[PublishedMethod], *, seed: int) -> ComparisonTable:
    """All that is said of a group; `seed` of the bootstrap."""
    done = [each.done() for each in group.candidates]
    metrics = [key for key in group.candidates[0].metrics if all(key in each.metrics for each in group.candidates)]
    papers = [each for each in published if each.under(group.protocol)]
    categories = sorted({row["category"] for rows in done for row in rows.values()})
    of_category = {name: [_of_category(rows, name) for rows in done] for name in categories}
    means = {name: _means(parts, metrics) for name, parts in of_category.items()}
    # Categories first, then the mean over them, then the one over shapes: the last lines are what papers quote.
    lines = [_line(name, *means[name], papers=len(papers)) for name in categories]
    totals = {OVER_CATEGORIES: _mean_of_means(means, metrics, len(done)), OVER_SHAPES: _means(done, metrics)}
    of_papers = {AVERAGES[average] for each in papers for average in each.under(group.protocol)}
    for name in (OVER_CATEGORIES, OVER_SHAPES, *sorted(of_papers - totals.keys())):
        numbers, n = totals.get(name, ({key: [None] * len(done) for key in metrics}, None))
        lines.append(_line(name, numbers, n, papers=[_under(each, group.protocol, name) for each in papers]))
    return ComparisonTable(
        group,
        metrics,
        {key: group.candidates[0].settings["units"][key] for key in metrics},
        [*(each.name for each in group.candidates), *(each.method for each in papers)],
        len(done),
        lines,
        list(_differences(group, done, of_category, metrics, seed)),
        [
            *group.notes,
            *_notes_on_shapes(group, done, metrics),
            *map(_source, papers),
            *_nothing_published(group, published),
        ],
    )


def _nothing_published(group: ComparableGroup, published: Sequence[PublishedMethod]) -> list[str]:
    """Asked for, and not there: a table without papers must not look like one that has them."""
    if not published or any(each.under(group.protocol) for each in published):
        return []
    known = sorted({protocol for each in published for protocol, _ in each.rows})
    return [f"published: no number is known under {group.protocol}, only under {', '.join(known)}"]


def _of_category(rows: Mapping[str, Row], category: str) -> dict[str, Row]:
    return {name: row for name, row in rows.items() if row["category"] == category}


def _common(parts: Sequence[Mapping[str, Row]], metric: str) -> list[str]:
    """Names of shapes of which every candidate has the number."""
    names = set.intersection(*(set(part) for part in parts))
    return sorted(name for name in names if all(part[name][metric] is not None for part in parts))


def _means(parts: Sequence[Mapping[str, Row]], metrics: Sequence[str]) -> tuple[dict[str, list[float | None]], int]:
    """Of each metric the mean of each candidate, over common shapes; and how many these are at least."""
    common = {metric: _common(parts, metric) for metric in metrics}
    means = {
        metric: [float(np.mean([part[name][metric] for name in names])) if names else None for part in parts]
        for metric, names in common.items()
    }
    return means, min(map(len, common.values()))


def _mean_of_means(
    means: Mapping[str, tuple[dict[str, list[float | None]], int]], metrics: Sequence[str], count: int
) -> tuple[dict[str, list[float | None]], int]:
    """Over categories that have one."""
    numbers: dict[str, list[float | None]] = {}
    for metric in metrics:
        columns = [[row[metric][n] for row, _ in means.values()] for n in range(count)]
        values = [[value for value in column if value is not None] for column in columns]
        numbers[metric] = [float(np.mean(column)) if column else None for column in values]
    return numbers, sum(n for _, n in means.values())


def _under(method: PublishedMethod, protocol: str, label: str) -> dict[str, float]:
    return next((row for average, row in method.under(protocol).items() if AVERAGES[average] == label), {})


def _line(
    label: str,
    numbers: Mapping[str, Sequence[float | None]],
    n: int | None,
    *,
    papers: int | Sequence[Mapping[str, float]],
) -> ComparedLine:
    """`papers`: numbers of each paper, or how many there are that have none."""
    beside: Sequence[Mapping[str, float]] = [{}] * papers if isinstance(papers, int) else papers
    cells = {}
    for metric, values in numbers.items():
        there = [value for value in values if value is not None]
        best = (min if metric in LOWER_IS_BETTER else max)(there) if len(there) > 1 else None
        ours = [ComparedCell(value, best is not None and value == best) for value in values]
        cells[metric] = [*ours, *(ComparedCell(row.get(metric)) for row in beside)]
    return ComparedLine(label, n, cells, is_total=not isinstance(papers, int))


def _differences(
    group: ComparableGroup,
    done: Sequence[Mapping[str, Row]],
    of_category: Mapping[str, Sequence[Mapping[str, Row]]],
    metrics: Sequence[str],
    seed: int,
) -> Iterable[ComparedDifference]:
    """Every two candidates, over all shapes first; over each category where there are several."""
    parts: dict[str, Sequence[Mapping[str, Row]]] = {"all shapes": done}
    parts |= of_category if len(of_category) > 1 else {}
    for first, second in combinations(range(len(done)), 2):
        for label, rows in parts.items():
            names = group.candidates[first].name, group.candidates[second].name
            found = paired_differences(rows[first], rows[second], metrics, lower=LOWER_IS_BETTER, seed=seed)
            yield ComparedDifference(*names, label, found)


def _notes_on_shapes(group: ComparableGroup, done: Sequence[Mapping[str, Row]], metrics: Sequence[str]) -> list[str]:
    """Where means are over fewer shapes than were asked for."""
    total, notes = len(group.candidates[0].evaluation["per_shape"]), []
    if len(done) > 1 and not any(_common(done, metric) for metric in metrics):
        return [f"nothing can be compared: no shape of {total} has numbers of all candidates"]
    for metric in metrics:
        if (count := len(_common(done, metric))) < total:
            notes.append(f"{LABELS.get(metric, metric)}: means over the {count} of {total} shapes that all have it")
    return notes


def _source(method: PublishedMethod) -> str:
    return f"{method.method}: {ELSEWHERE}, and of other shapes unless yours are theirs; {method.task}. {method.source}"
