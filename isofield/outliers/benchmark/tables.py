"""Tables of the benchmark: which detector tells what, where the disagreement lies, what the prior rebuilds."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isofield.metrics.conformal import conformal_p, is_flagged, scores_needed
from isofield.outliers.benchmark.baselines import Baselines
from isofield.outliers.benchmark.cases import CLEAN, Case
from isofield.outliers.benchmark.corruptions import FAMILIES, MATCHED, TARGETS
from isofield.outliers.benchmark.judged_cases import (
    JudgedCases,
    Row,
    ScoredCase,
    calibrating_patients,
    judged_cases,
    over_seeds,
)
from isofield.outliers.benchmark.ranking import Estimate, binomial_interval, mean_auroc, mean_over_patients
from isofield.outliers.benchmark.source_tables import source_lines, source_rows
from isofield.outliers.benchmark.sources import OWN
from isofield.outliers.scoring.scores import Measured, Scorer
from isofield.outliers.scoring.shape_space import SdfGrid
from isofield.runtime.atomic_files import write_text
from isofield.runtime.csv_cells import write_csv_file

Array = NDArray[np.float64]
OURS, JOINED = "ours", "ours_and_prior"
SHOWN_IN_SOURCES = (OURS, JOINED, f"{OURS}:prior", "mahalanobis", "pca", "mahalanobis_pca")
UNSEEN = "macro_unseen"  # over families that nothing in training resembled
MADE = {"prior": "rebuilt_dice", "repaired": "repaired_dice"}  # what is compared with the clean mask, by its truth
COLUMNS = ("table", "family", "severity", "detector", "value", "low", "high", "n")


@dataclass(frozen=True, eq=False)
class Detectors:
    """All that is fitted on training masks."""

    sdf_grid: SdfGrid
    ours: Scorer
    baselines: Baselines

    def scores(self, measured: Sequence[Measured]) -> dict[str, Array]:
        """(N,) of each detector; larger is stranger. Groups of ours stand for themselves too, as `ours:GROUP`."""
        return {
            **self.baselines.scores(measured),
            **{f"{OURS}:{group}": values for group, values in self.ours.strangeness(measured).items()},
            # Whether it would pay to add what the prior disagrees with.
            JOINED: dataclasses.replace(self.ours, with_prior=True).scores(measured),
            OURS: self.ours.scores(measured),
        }


def score_cases(cases: Sequence[Case], detectors: Detectors) -> list[ScoredCase]:
    """Cases with their scores. What was measured of a case, half a megabyte, is not kept."""
    scores = detectors.scores([case.measured for case in cases])
    return [
        ScoredCase(
            case.name,
            case.subject,
            case.family,
            case.severity,
            case.truth,
            {detector: float(values[number]) for detector, values in scores.items()},
            case.source,
        )
        for number, case in enumerate(cases)
    ]


@dataclass(frozen=True, eq=False)
class Benchmark:
    """Scored cases of held-out patients."""

    cases: list[ScoredCase]
    seeds: int = 20
    fpr: float = 0.05
    seen: dict[str, tuple[str, ...]] = field(default_factory=dict)  # what training had that resembles a family


@dataclass(frozen=True)
class Value:
    """A number of a case's truth, less another one; `made`: of what."""

    table: str
    made: str
    key: str
    less: str = ""

    def of(self, truth: dict[str, float]) -> float:
        return truth.get(self.key, np.nan) - (truth[self.less] if self.less else 0.0)


def tables(benchmark: Benchmark, *, about: dict[str, Any]) -> dict[str, Any]:
    """Every table as rows, and what they are made of."""
    cases = benchmark.cases
    judged = judged_cases([case for case in cases if case.source == OWN])
    rows = [*auroc_rows(judged, benchmark.seen), *flag_rows(judged, benchmark), *truth_rows(judged)]
    rows += source_rows(cases, seeds=benchmark.seeds, fpr=benchmark.fpr)
    return {
        **about,
        "patients": len(np.unique(judged.patients[judged.clean])),
        "clean": len(judged.clean),
        "fpr": benchmark.fpr,
        "seeds": benchmark.seeds,
        "seen_in_training": {family: list(kinds) for family, kinds in benchmark.seen.items() if kinds},
        "unmatched": [
            f"{c.name} {c.family} {c.severity}" for c in cases if c.family in MATCHED and not c.truth["matched"]
        ],
        "rows": rows,
    }


def auroc_rows(judged: JudgedCases, seen: dict[str, tuple[str, ...]]) -> list[Row]:
    """AUROC of each family and severity, and the mean over the matched families; and over those `seen` has none of."""
    rows, patients, clean = [], judged.patients, judged.clean
    for detector, values in judged.scores.items():
        # Every family against the same clean masks; families that training resembled are told apart.
        below = (values[clean], patients[clean])
        parts = {kind: (values[members], patients[members]) for kind, members in judged.groups.items()}
        for (family, severity), part in parts.items():
            estimate = mean_auroc([part], below, key=f"{family} {severity}")
            rows.append(Row("auroc", family, severity, detector, estimate, len(part[0])))
        for severity in TARGETS:
            unseen = [family for family in MATCHED if not seen.get(family)]
            for name, families in (("macro", MATCHED), (UNSEEN, unseen)):
                matched = [parts[family, severity] for family in families if (family, severity) in parts]
                if matched:
                    estimate = mean_auroc(matched, below, key=f"{name} {severity}")
                    rows.append(Row("auroc", name, severity, detector, estimate, sum(len(p[0]) for p in matched)))
    return rows


def flag_rows(judged: JudgedCases, benchmark: Benchmark) -> list[Row]:
    """Shares that are flagged after calibration on half of the patients, over the seeds; and of clean masks.

    The interval is over seeds here (2.5 to 97.5 %): each divides the patients anew.
    """
    patients, groups, clean = judged.patients, judged.groups, judged.clean
    shares: dict[tuple[str, str, str], list[float]] = {}
    counts: dict[tuple[str, str, str], int] = {}
    within: dict[str, list[float]] = {detector: [] for detector in judged.scores}
    for seed in range(benchmark.seeds):
        # Half of the patients calibrate, the others are tested: no patient is on both sides.
        calibrates = calibrating_patients(np.unique(patients[clean]), seed, count=int(patients.max()) + 1)
        held = clean[calibrates[patients[clean]]]
        if len(held) < scores_needed(benchmark.fpr):
            continue
        for detector, values in judged.scores.items():
            flags = np.array([is_flagged(conformal_p(values[held], v), benchmark.fpr) for v in values])
            kinds = {(CLEAN, CLEAN): clean, **groups}
            for (family, severity), members in kinds.items():
                tested = members[~calibrates[patients[members]]]
                if len(tested):
                    shares.setdefault((family, severity, detector), []).append(float(flags[tested].mean()))
                    counts[family, severity, detector] = len(tested)
            # Clean masks have to be flagged about as often as was asked for, no more.
            tested = clean[~calibrates[patients[clean]]]
            most = binomial_interval(len(tested), benchmark.fpr)[1]
            within[detector].append(float(flags[tested].sum() <= most))
            for severity in TARGETS:
                rates = [shares[family, severity, detector][-1] for family in MATCHED if (family, severity) in groups]
                if rates:
                    shares.setdefault(("macro", severity, detector), []).append(float(np.mean(rates)))
                    counts["macro", severity, detector] = len(rates)
    rows = [Row("flagged", *key, over_seeds(values), counts[key]) for key, values in shares.items()]
    rows += [Row("seeds_within_binomial", CLEAN, CLEAN, name, over_seeds(v), len(v)) for name, v in within.items() if v]
    return rows


def truth_rows(judged: JudgedCases) -> list[Row]:
    """Dice of reconstructions to the clean mask, what was gained over the corrupted one, precision of the disagreement.

    Of what the prior makes of a mask, and of the mask repaired where the prior is sure.
    """
    ceilings = [Value("dice_ceiling", made, key) for made, key in MADE.items()]
    gains = [Value("dice_gain", made, key, less="dice") for made, key in MADE.items()]
    precisions = [
        Value("average_precision", "prior", "precision"),
        Value("chance_precision", "prior", "chance"),
    ]
    rows = [_mean_row(value, (CLEAN, CLEAN), judged, judged.clean) for value in ceilings]
    means: dict[tuple[str, str, str], list[float]] = {}
    for (family, severity), members in judged.groups.items():
        if severity not in TARGETS:
            continue
        made = [_mean_row(value, (family, severity), judged, members) for value in (*gains, *precisions)]
        rows += made
        if family in MATCHED:
            for row in made:
                means.setdefault((row.table, severity, row.detector), []).append(row.estimate.value)
    # Families count alike in the macro mean, however many masks each has.
    for (table, severity, of), values in means.items():
        estimate = Estimate(float(np.mean(values)), float("nan"), float("nan"))
        rows.append(Row(table, "macro", severity, of, estimate, len(values)))
    return rows


def _mean_row(value: Value, kind: tuple[str, str], judged: JudgedCases, members: NDArray[np.int64]) -> Row:
    values = np.array([value.of(judged.cases[index].truth) for index in members], dtype=np.float64)
    there = np.isfinite(values)
    key = " ".join((value.table, *kind))
    estimate = mean_over_patients(values[there], judged.patients[members][there], key=key)
    return Row(value.table, *kind, value.made, estimate, int(there.sum()))


def write_tables(results: dict[str, Any], folder: Path) -> str:
    """benchmark.json, .csv and .md; returns the text of the last."""
    rows: list[Row] = results["rows"]
    plain = [
        (r.table, r.family, r.severity, r.detector, r.estimate.value, r.estimate.low, r.estimate.high, r.n)
        for r in rows
    ]
    content = {**results, "rows": [dict(zip(COLUMNS, _finite(row), strict=True)) for row in plain]}
    markdown = as_markdown(results)
    write_text(folder / "benchmark.json", json.dumps(content, indent=1) + "\n")
    write_csv_file(folder / "benchmark.csv", COLUMNS, (dict(zip(COLUMNS, row, strict=True)) for row in plain))
    write_text(folder / "benchmark.md", markdown)
    return markdown


def as_markdown(results: dict[str, Any]) -> str:
    """AUROC by detector, ours by family, and the rest."""
    rows: list[Row] = results["rows"]
    by = {(r.table, r.family, r.severity, r.detector): r.estimate for r in rows}
    detectors = list(dict.fromkeys(r.detector for r in rows if r.table == "auroc"))
    real = list(dict.fromkeys(r.family for r in rows if r.table == "auroc" and r.severity == "real"))
    columns = [*(("macro", severity) for severity in TARGETS), *((family, "real") for family in real)]
    heads = [f"{severity} AUROC" for severity in TARGETS] + [family.replace("_", " ") for family in real]
    heads += [f"{severity} flagged" for severity in TARGETS] + ["clean flagged"]
    lines = [f"{results['patients']} patients, {results['clean']} clean masks, model {results['model_hash']}", ""]
    lines += _table_head(["detector", *heads])
    flags = [*(("macro", severity) for severity in TARGETS), (CLEAN, CLEAN)]
    # The first table: detectors against each other.
    for detector in detectors:
        cells = [str(by.get(("auroc", *kind, detector), "")) for kind in columns]
        cells += [_short(by.get(("flagged", *kind, detector))) for kind in flags]
        lines.append(f"| {detector} | " + " | ".join(cells) + " |")
    kinds = ("AUROC", "flagged", "Dice gain", "repaired", "AP", "chance")
    heads = [f"{severity} {kind}" for severity in TARGETS for kind in kinds]
    lines += ["", *_table_head(["family", "seen in training", *heads])]
    # The second: this prior by what was done to the masks.
    for family in ["macro", UNSEEN, *FAMILIES]:
        cells = [", ".join(results["seen_in_training"].get(family, ()))]
        for severity in TARGETS:
            cells.append(str(by.get(("auroc", family, severity, OURS), "")))
            cells.append(_short(by.get(("flagged", family, severity, OURS))))
            cells += [_short(by.get(("dice_gain", family, severity, made)), "+.3f") for made in MADE]
            cells += [
                _short(by.get((table, family, severity, "prior")))
                for table in ("average_precision", "chance_precision")
            ]
        lines.append(f"| {family} | " + " | ".join(cells) + " |")
    ceiling, kept = (by["dice_ceiling", CLEAN, CLEAN, made] for made in MADE)
    lines += ["", f"Dice of a clean mask's reconstruction: {ceiling}; repaired where the prior is sure: {kept}"]
    held = by.get(("seeds_within_binomial", CLEAN, CLEAN, OURS))
    if held is not None:
        lines.append(f"Seeds whose clean flags stay within the binomial interval: {held.value:.2f}")
    lines += source_lines(rows, detectors=SHOWN_IN_SOURCES)
    return "\n".join(lines) + "\n"


def _table_head(names: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(names) + " |", "|---|" + "---:|" * (len(names) - 1)]


def _short(estimate: Estimate | None, form: str = ".2f") -> str:
    return "" if estimate is None or not np.isfinite(estimate.value) else f"{estimate.value:{form}}"


def _finite(row: Sequence[Any]) -> list[Any]:
    return [None if isinstance(value, float) and not np.isfinite(value) else value for value in row]
