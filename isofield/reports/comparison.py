"""A comparison as one self-contained HTML page: tables, differences, and the shapes where candidates differ most.

Pictures are drawn from the meshes or masks that lie in the runs now; where a run was trained or generated anew since
its evaluation, the page says so. Nothing is fetched from anywhere, and every name is escaped.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from data_processing.geometry import rendering
from isofield.evaluation.comparability import ComparableGroup
from isofield.evaluation.mask_pairs import folder_masks_to_compare, run_masks_to_compare
from isofield.evaluation.names import AGAINST, MASKS
from isofield.evaluation.pairs import Pair, pairs_of_folders, pairs_of_run, read_manifest
from isofield.evaluation.results import Candidate
from isofield.reports.comparison_pictures import show_masks, show_meshes
from isofield.reports.comparison_table import ELSEWHERE, ComparisonTable
from isofield.reports.comparison_texts import describe_bootstrap, difference_text, wins_text
from isofield.reports.page import write_page
from isofield.run_dir import RunDir
from isofield.runtime.json_files import Row
from isofield.runtime.number_text import short

Pairs = Mapping[str, Pair]


def write_comparison(
    path: Path,
    tables: Sequence[ComparisonTable],
    *,
    title: str,
    notes: Sequence[str] = (),
    seed: int,
    up: rendering.Up = "y",
    pictures: int = 24,
) -> None:
    """Replace the page, atomically. `pictures`: the most shapes to show, those that differ most, of the first table."""
    # A table of one candidate has nothing that differs: pictures are of the first that has two.
    shown = next((table.group for table in tables if len(table.group.candidates) > 1), tables[0].group)
    pairs, lost = _pairs_of(shown) if pictures else ([{} for _ in shown.candidates], [])
    names = names_that_differ(shown)
    cards = [_card(name, shown, pairs, up=up) for name in names[:pictures]]
    write_page(
        path,
        "comparison.html.j2",
        title=title,
        notes=[*notes, *lost],
        tables=tables,
        bootstrap=describe_bootstrap(seed),
        difference_text=difference_text,
        wins_text=wins_text,
        elsewhere=ELSEWHERE,
        metrics=shown.candidates[0].metrics,
        shown=shown,
        cards=cards,
        of_masks=shown.protocol == MASKS,
        turnable=any(card["turns"] for card in cards),
        count=len(names),
    )


def names_that_differ(group: ComparableGroup) -> list[str]:
    """Shapes that any candidate has, those first of which the deciding metric lies farthest apart.

    A shape that only some have is farther apart than any number.
    """
    rows = [each.done() for each in group.candidates]
    metric = group.candidates[0].metrics[0]
    names = sorted({name for of_candidate in rows for name in of_candidate})
    apart = {name: _spread([of_candidate.get(name, {}).get(metric) for of_candidate in rows]) for name in names}
    return sorted(names, key=lambda name: (-apart[name], name))


def _spread(values: Sequence[float | None]) -> float:
    there = [value for value in values if value is not None]
    if len(there) < len(values):
        return math.inf if there else 0.0
    low, high = min(there), max(there)
    return 0.0 if low == high else high - low  # two infinite ones do not differ


def _card(name: str, group: ComparableGroup, pairs: Sequence[Pairs], *, up: rendering.Up) -> Row:
    """Truth and every candidate beside each other, with the numbers of each."""
    own = [of_candidate.get(name) for of_candidate in pairs]
    shown = show_masks(own) if group.protocol == MASKS else show_meshes(own, up=up)
    metrics, columns = group.candidates[0].metrics, list[Row]()
    for candidate, side in zip(group.candidates, shown.sides, strict=True):
        row: Row = next((row for row in candidate.evaluation["per_shape"] if row["name"] == name), {})
        is_done = row.get("status") == "done"
        numbers = [short(row.get(key)) for key in metrics] if is_done else []
        failure = "" if is_done else f"failed: {row.get('reason', '')}"
        columns.append({"name": candidate.name, "shown": side, "numbers": numbers, "failure": failure})
    turns = any(side.mesh for side in (shown.truth, *shown.sides))
    return {"name": name, "truth": shown.truth, "columns": columns, "limit": shown.limit, "turns": turns}


def _pairs_of(group: ComparableGroup) -> tuple[list[Pairs], list[str]]:
    """Where the shapes of each candidate lie, and why some cannot be shown."""
    of_candidates: list[Pairs] = []
    notes: list[str] = []
    for candidate in group.candidates:
        try:
            of_candidates.append({pair.name: pair for pair in _pairs(candidate)})
            notes += _changed(candidate)
        except (ValueError, OSError) as error:
            of_candidates.append({})
            notes.append(f"{candidate.name}: no pictures: {error}")
    return of_candidates, notes


def _pairs(candidate: Candidate) -> Sequence[Pair]:
    """As its evaluation had them. ValueError, OSError where that cannot be told or nothing is there any more."""
    # An evaluation of two folders noted both paths; one of a run noted in words what the run was held against.
    settings, truth = candidate.settings, str(candidate.settings.get("ground_truth", ""))
    if "predictions" in settings:
        predictions = Path(str(settings["predictions"]))
        return _folder_masks(candidate) if candidate.protocol == MASKS else pairs_of_folders(predictions, Path(truth))
    run = candidate.run or Path(str(settings.get("run", "")))
    against = next((each for each in AGAINST if truth == f"{each} of the data set"), None)
    own = against is not None or truth == "labels of the scans"
    folder = None if own else Path(truth)
    data = Path(str(settings["data"])) if "data" in settings else None  # another data set than the run's own
    if candidate.protocol == MASKS:
        return run_masks_to_compare(run, candidate.split, truth_folder=folder, data=data).pairs
    how: Callable[..., Sequence[Pair]] = pairs_of_run
    judged = {"against": against} if against else {}
    return how(RunDir(run), candidate.split, truth_folder=folder, data=data, **judged)


def _folder_masks(candidate: Candidate) -> Sequence[Pair]:
    """Of two folders, where files and results say all that decides which label is which structure."""
    settings = candidate.settings
    what = folder_masks_to_compare(Path(str(settings["predictions"])), Path(str(settings["ground_truth"])))
    asked = not {"match", "threshold"}.isdisjoint(settings)
    if asked or any(settings.get(key) != value for key, value in what.about.items()):
        raise ValueError("its labels were named, matched or cut by options of that evaluation")
    return what.pairs


def _changed(candidate: Candidate) -> list[str]:
    """A note where the meshes that lie there now are of another model than those that were evaluated."""
    before = candidate.settings.get("model_hash")
    if candidate.run is None or before is None:
        return []
    now = read_manifest(RunDir(candidate.run), candidate.split).get("model_hash")
    return [] if now == before else [f"{candidate.name}: evaluated of model {before}, pictures are of {now}"]
