"""Tables of sources: whether clean masks of another one are taken for faults, and faults in it are found.

The detectors and their calibration are those of the masks' own source, as in a folder that somebody else has drawn.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from isofield.metrics.conformal import conformal_p, is_flagged, scores_needed
from isofield.outliers.benchmark.cases import CLEAN
from isofield.outliers.benchmark.corruptions import MATCHED, TARGETS
from isofield.outliers.benchmark.judged_cases import (
    JudgedCases,
    Row,
    ScoredCase,
    calibrating_patients,
    judged_cases,
    over_seeds,
)
from isofield.outliers.benchmark.ranking import binomial_interval, mean_auroc
from isofield.outliers.benchmark.sources import OWN

TABLE, FLAGGED, WITHIN = "source", "source_flagged", "source_within_binomial"
Groups = dict[str, list[NDArray[np.int64]]]


def source_rows(cases: list[ScoredCase], *, seeds: int, fpr: float) -> list[Row]:
    """Rows of every source but the masks' own: `family` is the source, `severity` what was done in it.

    "clean": clean masks of the source against clean ones of its own kind, where 0.5 is right. Mild and moderate: the
    mean over the matched families, against clean masks of the same source; so are faults without a strength and real
    ones.
    """
    sources = dict.fromkeys(case.source for case in cases if case.source != OWN)
    if not sources:
        return []
    # Of one numbering of patients: clean masks of two sources are compared, and patients divided alike in all.
    judged = judged_cases(cases)
    rows: list[Row] = []
    for source in sources:
        members = np.array([n for n, case in enumerate(cases) if case.source == source], dtype=np.int64)
        groups = _groups_of(judged, members)
        rows += _auroc_rows(judged, source, groups)
        rows += _flag_rows(judged, source, groups, seeds=seeds, fpr=fpr)
    return rows


def own_clean(judged: JudgedCases) -> NDArray[np.int64]:
    """Clean masks as they are."""
    return np.array([n for n in judged.clean if judged.cases[n].source == OWN], dtype=np.int64)


def _groups_of(judged: JudgedCases, members: NDArray[np.int64]) -> Groups:
    """Cases of a source by what was done: of matched families one array each, which count alike."""
    groups: Groups = {CLEAN: [np.intersect1d(judged.clean, members)]}
    for (family, severity), rows in judged.groups.items():
        there = np.intersect1d(rows, members)
        if len(there):
            groups.setdefault(severity if family in MATCHED else family, []).append(there)
    return groups


def _auroc_rows(judged: JudgedCases, source: str, groups: Groups) -> Iterator[Row]:
    patients, own, (clean,) = judged.patients, own_clean(judged), groups[CLEAN]
    for detector, values in judged.scores.items():
        for kind, families in groups.items():
            below = own if kind == CLEAN else clean
            parts = [(values[rows], patients[rows]) for rows in families]
            estimate = mean_auroc(parts, (values[below], patients[below]), key=f"{source} {kind}")
            yield Row(TABLE, source, kind, detector, estimate, sum(map(len, families)))


def _flag_rows(judged: JudgedCases, source: str, groups: Groups, *, seeds: int, fpr: float) -> Iterator[Row]:
    """Shares flagged by a calibration with own clean masks of half of the patients; the interval is over seeds."""
    patients, own = judged.patients, own_clean(judged)
    owners = np.unique(patients[own])
    for detector, values in judged.scores.items():
        shares: dict[str, list[float]] = {}
        within: list[float] = []
        for seed in range(seeds):
            calibrates = calibrating_patients(owners, seed, count=int(patients.max()) + 1)
            held = own[calibrates[patients[own]]]
            if len(held) < scores_needed(fpr):
                continue
            flags = np.array([is_flagged(conformal_p(values[held], value), fpr) for value in values])
            for kind, families in groups.items():
                tested = [rows[~calibrates[patients[rows]]] for rows in families]
                rates = [float(flags[rows].mean()) for rows in tested if len(rows)]
                if rates:
                    shares.setdefault(kind, []).append(float(np.mean(rates)))
            (clean,) = groups[CLEAN]
            tested_clean = clean[~calibrates[patients[clean]]]
            most = binomial_interval(len(tested_clean), fpr)[1]
            within.append(float(flags[tested_clean].sum() <= most))
        for kind, rates in shares.items():
            yield Row(FLAGGED, source, kind, detector, over_seeds(rates), sum(map(len, groups[kind])))
        if within:
            yield Row(WITHIN, source, CLEAN, detector, over_seeds(within), len(within))


def source_lines(rows: list[Row], *, detectors: tuple[str, ...]) -> list[str]:
    """The table of sources as Markdown, one line a source and detector; nothing where there are none."""
    by = {(r.table, r.family, r.severity, r.detector): r.estimate for r in rows}
    sources = list(dict.fromkeys(r.family for r in rows if r.table == TABLE))
    if not sources:
        return []
    kinds = [CLEAN, *TARGETS]
    kinds += [k for k in dict.fromkeys(r.severity for r in rows if r.table == TABLE) if k not in kinds]
    heads = ["source", "detector", *(f"{kind.replace('_', ' ')} AUROC" for kind in kinds)]
    heads += [f"{kind} flagged" for kind in (CLEAN, *TARGETS)]
    lines = ["", "| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) - 2)]
    for source in sources:
        for detector in detectors:
            cells = [str(by.get((TABLE, source, kind, detector), "")) for kind in kinds]
            shares = [by.get((FLAGGED, source, kind, detector)) for kind in (CLEAN, *TARGETS)]
            cells += ["" if share is None else f"{share.value:.2f}" for share in shares]
            lines.append(f"| {source} | {detector} | " + " | ".join(cells) + " |")
    return lines
