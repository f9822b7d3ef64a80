"""A folder of scans, one after the other: each is read once, its organs are cut in one pass, judged in batches.

Every organ of every scan ends as a row, whatever happens; a file that cannot be read is one row. What is done is in the
journal: stopped anywhere, it goes on.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from data_processing.formats.scans import open_any_scan
from data_processing.geometry.voxel_grid import AbsentPartError
from data_processing.medical.advice import COMMAND_OPTIONS, worded
from data_processing.medical.crops import Crop
from data_processing.medical.label_names import LabelTable, Naming, find_table
from data_processing.medical.label_volumes import label_volume
from data_processing.medical.masks import ScanMask
from data_processing.preparation.shape import SHAPE_ERRORS
from isofield.outliers.analysis.journal import FILES, forget, line_of_organ, open_journal, rows_of
from isofield.outliers.analysis.organ_rows import MASKS, PICTURES, AnalysisConfig, ScoredOrgan, place_of, row_of
from isofield.outliers.analysis.organs import OrganMatch, cut_organ, nameless, wanted_of
from isofield.outliers.analysis.priors import Prior
from isofield.outliers.analysis.rows import Row, new_row
from isofield.outliers.analysis.scans import Scan
from isofield.outliers.analysis.shape_files import SHAPES
from isofield.outliers.scoring.cube_masks import CubeMask, cube_mask
from isofield.outliers.scoring.detector import Judgement
from isofield.runtime.atomic_files import WriteError, remove_leftovers
from isofield.runtime.distributed import Group
from isofield.runtime.fingerprint import fingerprint, of_contents
from isofield.runtime.journal import FAILED, Journal, stands
from isofield.runtime.progress import Progress
from isofield.runtime.reasons import reason_of

FORMAT = 3  # of what a row is made of: a change makes all rows anew


@dataclass(frozen=True, eq=False)
class AnalysisJob:
    """What is the same for all scans."""

    folder: Path
    out: Path
    priors: Sequence[Prior]
    naming: Naming
    settings: AnalysisConfig
    device: torch.device

    def file_of(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


@dataclass(frozen=True, eq=False)
class OrganPart:
    """An organ of a scan that a prior knows. `before`: its row where it is done already."""

    wanted: OrganMatch
    prior: Prior
    made_with: str
    before: Row | None


@dataclass(frozen=True, eq=False)
class Cut:
    """An organ cut from its scan, in `seconds`, and in the cube of its prior."""

    crop: Crop
    mask: ScanMask
    cube: CubeMask
    seconds: float


def analyse(
    job: AnalysisJob, scans: Sequence[Scan], *, group: Group, resume: bool, keep_failed: bool = False
) -> list[Row]:
    """All rows on the first rank (none on others, nor on parts), in the order of the scans.

    The folder of the results is there. `keep_failed`: scans with errors are not tried again.
    """
    if group.is_first:
        # By one rank while the others wait: it would take away what they have begun to write.
        remove_leftovers([job.out])
        if not resume:
            forget(job.out)
    group.wait()
    journal = open_journal(job.out, group.rank, takes_record=group.part is None)
    group.wait()  # nobody writes before all have read
    with journal:
        mine = scans[group.rank :: group.size]
        with Progress(len(mine), what="analyse", unit="scan", shown=group.is_shown) as progress:
            for scan in mine:
                progress.note(scan.key[-24:])
                analyse_scan(job, scan, journal, keep_failed=keep_failed)
                progress.update()
    group.wait()
    if not group.is_first:
        return []
    journal.collect()
    return [row for scan in scans for row in _noted(job, journal, scan)]


def are_analysed(job: AnalysisJob, scans: Sequence[Scan]) -> bool:
    """Whether each scan has all its rows, by whichever part, errors too."""
    journal = open_journal(job.out)
    # Names first: only when all are there, files are looked at.
    return all(scan.key in journal.lines for scan in scans) and all(
        _is_done(job, scan, _made_with_or_nothing(job, scan), journal, keep_failed=True) for scan in scans
    )


def _noted(job: AnalysisJob, journal: Journal, scan: Scan) -> list[Row]:
    rows = rows_of(journal, scan.key)
    if rows is None:
        raise OSError(f"{job.out}: the rows of {scan.key}, which a rank has noted, are in no journal: run it again")
    return rows


def analyse_scan(job: AnalysisJob, scan: Scan, journal: Journal, *, keep_failed: bool = False) -> None:
    """Do what is missing of a scan and note it."""
    made_with = _made_with_or_nothing(job, scan)
    # Done before, from the same files and priors, with all its maps there: only the note is made again.
    if _is_done(job, scan, made_with, journal, keep_failed=keep_failed):
        journal.add(scan.key, made_with, journal.row(scan.key, made_with))
        return
    # Else what a stop left of this scan goes first.
    remove_leftovers([job.out / folder / scan.key for folder in (MASKS, PICTURES, SHAPES)])
    organs: dict[str, str] = {}
    for row, row_made_with in _rows(job, scan, journal):
        if row["organ"] in organs:  # a table may call two labels the same
            row = {**row, "organ": f"{row['organ']} ({len(organs)})"}
        organs[row["organ"]] = row_made_with
        quick = row["seconds"] is None  # what took no time to find out may be lost in a power cut
        journal.add(line_of_organ(scan.key, row["organ"]), row_made_with, row, surely=not quick)
    journal.add(scan.key, made_with, organs)


def refuse_nameless(scans: Sequence[Scan], naming: Naming) -> None:
    """ValueError when not one of the scans can say what its labels mean."""
    reason = ""
    for scan in scans:
        try:
            if scan.organs or _table(scan, naming) is not None:
                return
            reason = reason or f"{scan.file}: {nameless(label_volume(scan.file, threshold=naming.threshold))}"
        except FileNotFoundError:
            raise  # a table that was named is not there
        except SHAPE_ERRORS:
            continue  # a row says so
    if reason:
        raise ValueError(reason)


def _table(scan: Scan, naming: Naming) -> LabelTable | None:
    return find_table(scan.file, naming.table, header=open_any_scan(scan.file).header)


def _made_with(job: AnalysisJob, scan: Scan) -> str:
    """Of everything the rows of a scan depend on, without unpacking a voxel."""
    table = None if scan.organs else _table(scan, job.naming)
    priors = sorted(prior.fingerprint for prior in job.priors)
    names = [name for name, _ in scan.organs]
    told = None if table is None else table.entries
    settings = asdict(job.naming), asdict(job.settings)
    return fingerprint([FORMAT, of_contents(scan.files), names, told, *settings, priors], size=8)


def _made_with_or_nothing(job: AnalysisJob, scan: Scan) -> str:
    """The same; "" of a scan that cannot be read: it is tried again."""
    try:
        return _made_with(job, scan)
    except SHAPE_ERRORS:
        return ""


def _is_done(job: AnalysisJob, scan: Scan, made_with: str, journal: Journal, *, keep_failed: bool) -> bool:
    """Whether all rows of a scan stand; of errors, where they are kept, that they are noted."""
    if journal.row(scan.key, made_with) is None or not (made_with or keep_failed):
        return False
    rows = rows_of(journal, scan.key)
    if keep_failed and rows is not None:
        rows = [row for row in rows if row["status"] not in FAILED]
    return rows is not None and all(stands(row, job.out, FILES) for row in rows)


def _row_made_with(job: AnalysisJob, scan: Scan, wanted: OrganMatch) -> str:
    """Of everything one row depends on: other models have no say in it."""
    prior, structure = wanted.prior, wanted.structure
    files = scan.files
    if scan.organs and structure is not None:
        files = tuple(path for stem, path in scan.organs if stem in structure.labels)
    cut_as = None if structure is None else asdict(structure)
    known = None if prior is None else prior.fingerprint
    settings = asdict(job.naming), asdict(job.settings)
    return fingerprint([FORMAT, of_contents(files), *settings, cut_as, known, wanted.status], size=8)


def _rows(job: AnalysisJob, scan: Scan, journal: Journal) -> Iterator[tuple[Row, str]]:
    try:
        wanted = wanted_of(scan, job.priors, job.naming)
    except SHAPE_ERRORS as error:
        yield _with_notice(job, scan, OrganMatch(""), "ERROR", worded(error, COMMAND_OPTIONS)), "error"
        return
    known: dict[int, list[OrganPart]] = {}
    for one in wanted:
        # Each organ by itself: a prior that was trained anew costs the rows of its own organs alone.
        made_with = _row_made_with(job, scan, one)
        before = journal.row(line_of_organ(scan.key, one.organ), made_with)
        before = before if before is not None and stands(before, job.out, FILES) else None
        if one.prior is not None and not one.status:
            known.setdefault(id(one.prior), []).append(OrganPart(one, one.prior, made_with, before))
        else:
            yield before or _rows_without_score(job, scan, one), made_with
    # Organs of one prior together, as many as it takes in a pass: most of the time is the network's.
    for parts in known.values():
        step = parts[0].prior.at_once
        for start in range(0, len(parts), step):
            yield from _rows_together(job, scan, parts[start : start + step])


def _rows_together(job: AnalysisJob, scan: Scan, parts: Sequence[OrganPart]) -> Iterator[tuple[Row, str]]:
    """Organs that one prior judges in one pass, finished one by one.

    The company is always the same, also where some of them are done: in another the last bits may be others.
    """
    yield from ((part.before, part.made_with) for part in parts if part.before is not None)
    if all(part.before is not None for part in parts):
        return
    # All of them are cut and encoded, also those that are done: another batch could change the last bits of the new
    # ones.
    ready: list[tuple[OrganPart, Cut]] = []
    for part in parts:
        made = _cut(job, scan, part)
        if isinstance(made, Cut):
            ready.append((part, made))
        elif part.before is None:
            yield made, part.made_with
    began = time.perf_counter()
    judgements = _judgements(parts[0].prior, [made.cube for _, made in ready], job.settings.fpr)
    share = (time.perf_counter() - began) / max(1, len(ready))
    for (part, made), judgement in zip(ready, judgements, strict=True):
        if part.before is None:
            yield _score_parts(job, scan, part, made, judgement, share), part.made_with


def _cut(job: AnalysisJob, scan: Scan, part: OrganPart) -> Cut | Row:
    """An organ in the cube of its prior, or the row that says why it is not there."""
    began = time.perf_counter()
    try:
        # An organ that is not there is a finding about the scan, one that cannot be read an error.
        crop, mask = cut_organ(part.wanted, scan, job.naming)
    except AbsentPartError as error:
        return _with_notice(job, scan, part.wanted, "EMPTY", str(error), dice=0.0, volume_ml=0.0)
    except SHAPE_ERRORS as error:
        return _with_notice(job, scan, part.wanted, "ERROR", worded(error, COMMAND_OPTIONS))
    try:
        cube = cube_mask(mask, part.prior.preparation, device=job.device)
    except ValueError as error:
        status = "OUTLIER" if part.prior.detector is not None else "UNSURE"
        reason = f"larger than any mask the prior was made for: {error}"
        return _with_notice(job, scan, part.wanted, status, reason, flagged=status == "OUTLIER", **place_of(mask))
    return Cut(crop, mask, cube, time.perf_counter() - began)


def _score_parts(
    job: AnalysisJob, scan: Scan, part: OrganPart, made: Cut, judgement: Judgement | Exception, seconds: float
) -> Row:
    """The row of an organ, its pictures and maps written."""
    one, place = part.wanted, place_of(made.mask)
    if isinstance(judgement, Exception):
        return _with_notice(job, scan, one, "ERROR", reason_of(judgement), **place)
    if judgement.reconstruction is None:
        reason = f"nothing is left of it in the cube of its prior: {judgement.reason}"
        return _with_notice(job, scan, one, "OUTLIER", reason, flagged=True, dice=0.0, **place)
    # Drawing and writing may fail too: then the row says so, and the next organ is done. A full disk ends all of it.
    judged = ScoredOrgan(scan, one, made.crop, made.mask, made.cube, judgement, made.seconds + seconds)
    try:
        file = job.file_of(_file_of(scan, one))
        return row_of(judged, file=file, out=job.out, settings=job.settings, device=job.device)
    except WriteError:
        raise
    except SHAPE_ERRORS as error:
        return _with_notice(job, scan, one, "ERROR", worded(error, COMMAND_OPTIONS), **place)


def _judgements(prior: Prior, cubes: Sequence[CubeMask], fpr: float) -> list[Judgement | Exception]:
    """Of all in one batch; where that fails, each by itself, so that one cannot take the others along."""
    try:
        return list(prior.judge_masks(cubes, fpr=fpr))
    except SHAPE_ERRORS as error:
        if len(cubes) == 1:
            return [error]
        return [judgement for cube in cubes for judgement in _judgements(prior, [cube], fpr)]


def _rows_without_score(job: AnalysisJob, scan: Scan, wanted: OrganMatch) -> Row:
    """A row of what no model looks at; of a file of its own at least its header is read."""
    if scan.organs and wanted.status == "NO_MODEL":
        try:
            open_any_scan(_file_of(scan, wanted))
        except SHAPE_ERRORS as error:
            return _with_notice(job, scan, wanted, "ERROR", worded(error, COMMAND_OPTIONS))
    known = {"dice": 0.0, "volume_ml": 0.0} if wanted.status == "EMPTY" else {}
    return _with_notice(job, scan, wanted, wanted.status, wanted.reason, **known)


def _with_notice(job: AnalysisJob, scan: Scan, wanted: OrganMatch, status: str, reason: str, **known: object) -> Row:
    if wanted.prior is not None:
        known |= {"model": str(wanted.prior.run.path), "model_hash": wanted.prior.loaded.model_hash}
        known |= {"structure": wanted.part} if wanted.structure is not None else {}
    return new_row(scan.key, job.file_of(_file_of(scan, wanted)), wanted.organ, status, reason, **known)


def _file_of(scan: Scan, wanted: OrganMatch) -> Path:
    """The volume, or the file of the organ; the folder where there is none."""
    labels = (wanted.organ,) if wanted.structure is None else wanted.structure.labels
    return next((path for stem, path in scan.organs if stem in labels), scan.file)
