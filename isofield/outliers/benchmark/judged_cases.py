"""Scored cases of one source as arrays: which are clean, which are of a kind, and whose they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isofield.outliers.benchmark.cases import CLEAN
from isofield.outliers.benchmark.ranking import Estimate
from isofield.outliers.benchmark.sources import OWN
from isofield.runtime.seeds import numpy_generator

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ScoredCase:
    """What is kept of a case: scores of each detector and what is known of it, without its signed distances."""

    name: str
    subject: str
    family: str
    severity: str
    truth: dict[str, float]
    scores: dict[str, float]
    source: str = OWN


@dataclass(frozen=True)
class Row:
    """One number of the benchmark, with its interval over patients."""

    table: str
    family: str
    severity: str
    detector: str
    estimate: Estimate
    n: int


@dataclass(frozen=True, eq=False)
class JudgedCases:
    """Cases with their scores by detector and their patients (numbers), and which of them are of a kind, or clean."""

    cases: list[ScoredCase]
    scores: dict[str, Array]
    patients: NDArray[np.int64]
    groups: dict[tuple[str, str], NDArray[np.int64]]
    clean: NDArray[np.int64]


def judged_cases(cases: list[ScoredCase]) -> JudgedCases:
    """Cases as arrays; at least one."""
    scores = {detector: np.array([case.scores[detector] for case in cases]) for detector in cases[0].scores}
    # Patients by number: intervals draw whole patients, as masks of one are not independent.
    patients = np.unique([case.subject for case in cases], return_inverse=True)[1].astype(np.int64)
    kinds = {(case.family, case.severity): None for case in cases if case.family != CLEAN}
    groups = {kind: _where(cases, *kind) for kind in kinds}
    return JudgedCases(cases, scores, patients, groups, _where(cases, CLEAN, CLEAN))


def calibrating_patients(owners: NDArray[np.int64], seed: int, *, count: int) -> NDArray[np.bool_]:
    """Which of `count` patients (by number) calibrate: half of those that have clean masks."""
    drawn = numpy_generator(seed, "calibration and test").permutation(owners)[: len(owners) // 2]
    marks = np.zeros(count, dtype=bool)
    marks[drawn] = True
    return marks


def over_seeds(values: Sequence[float]) -> Estimate:
    low, high = np.percentile(values, (2.5, 97.5))
    return Estimate(float(np.mean(values)), float(low), float(high))


def _where(cases: Sequence[ScoredCase], family: str, severity: str) -> NDArray[np.int64]:
    return np.array([i for i, c in enumerate(cases) if (c.family, c.severity) == (family, severity)], dtype=np.int64)
