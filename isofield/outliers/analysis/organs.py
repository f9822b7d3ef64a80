"""Which label of a scan is which organ of which prior: by name, never by number.

A run that learnt kidneys under one label finds them as kidney_left and kidney_right too, and the other way round.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from data_processing.geometry.voxel_grid import RefusedFileError
from data_processing.medical.crops import Crop, label_ids
from data_processing.medical.label_names import LabelTable, Naming, find_table, plain_name
from data_processing.medical.label_volumes import LabelVolume, label_volume
from data_processing.medical.masks import ScanMask, read_crop, read_structure
from data_processing.medical.structures import LabelConfig, StructureConfig
from data_processing.medical.totalsegmentator import NAMED_TABLES
from isofield.outliers.analysis.priors import Prior, organ_name
from isofield.outliers.analysis.scans import Scan

SHOWN = 6


@dataclass(frozen=True, eq=False)
class OrganMatch:
    """An organ of a scan that is to be judged, or the reason why not. `structure`: labels as the scan has them."""

    organ: str
    prior: Prior | None = None
    structure: StructureConfig | None = None
    suffix: str = ""
    status: Literal["", "NO_MODEL", "EMPTY", "ERROR"] = ""
    reason: str = ""

    @property
    def part(self) -> str:
        assert self.structure is not None
        return f"{self.structure.name}/{self.suffix}" if self.suffix else self.structure.name


def settings_for(wanted: OrganMatch, scan: Scan, naming: Naming) -> LabelConfig:
    """How to cut it from its scan."""
    assert wanted.prior is not None and wanted.structure is not None
    return replace(
        wanted.prior.labels,
        structures=(wanted.structure,),
        table=naming.table,
        threshold=naming.threshold,
        files="organ" if scan.organs else "scan",
    )


def cut_organ(wanted: OrganMatch, scan: Scan, naming: Naming) -> tuple[Crop, ScanMask]:
    """The organ as a crop that knows its place in the scan, and as the mask that goes into the cube."""
    settings = settings_for(wanted, scan, naming)
    # A folder of organs is read from any one of its files: the others are found beside it.
    file = scan.file if not scan.organs else scan.organs[0][1]
    return read_crop(file, wanted.part, settings), read_structure(file, wanted.part, settings)


def wanted_of(scan: Scan, priors: Sequence[Prior], naming: Naming) -> list[OrganMatch]:
    """Everything of a scan that gets a row. Raises what reading raises; ValueError when nothing tells labels' names."""
    return _of_files(scan, priors) if scan.organs else _of_volume(scan, priors, naming)


def _of_volume(scan: Scan, priors: Sequence[Prior], naming: Naming) -> list[OrganMatch]:
    volume = label_volume(scan.file, threshold=naming.threshold)
    table = find_table(scan.file, naming.table, header=volume.header)
    if table is None:
        raise RefusedFileError(f"{scan.file}: {nameless(volume)}")
    matches: list[OrganMatch] = []
    # Ids that some prior looks at: they are not told a second time below.
    used: set[int] = set()
    for prior in priors:
        for structure in prior.structures:
            for wanted in _matches(prior, structure, table):
                ids = [] if wanted.structure is None else _ids(volume, wanted, naming)
                used |= set(ids)
                if wanted.structure is not None and not any(label in volume.boxes for label in ids):
                    what = " + ".join(map(str, wanted.structure.labels))
                    wanted = replace(wanted, status="EMPTY", reason=f"no voxel has the label {what}")
                matches.append(wanted)
    # What no model knows is a row as well: nothing in a scan goes unmentioned.
    for label in sorted(set(volume.boxes) - used):
        name = table.name_of(label) or next((n for n, ids in table.entries if label in ids), "")
        reason = "" if name else f"; {table.where} has no name for it"
        matches.append(
            OrganMatch(name or f"label {label}", status="NO_MODEL", reason=f"no model knows label {label}{reason}")
        )
    return matches


def _ids(volume: LabelVolume, wanted: OrganMatch, naming: Naming) -> list[int]:
    assert wanted.prior is not None and wanted.structure is not None
    settings = replace(wanted.prior.labels, structures=(wanted.structure,), table=naming.table, files="scan")
    return label_ids(volume, wanted.structure, settings)


def _of_files(scan: Scan, priors: Sequence[Prior]) -> list[OrganMatch]:
    # Files have no ids: numbered, they pass for a label table, and one way of matching names serves both.
    entries = tuple((stem, (number,)) for number, (stem, _) in enumerate(scan.organs, start=1))
    table = LabelTable(entries, f"the files in {scan.file}")
    matches = [w for prior in priors for structure in prior.structures for w in _matches(prior, structure, table)]
    used = {plain_name(str(name)) for wanted in matches if wanted.structure for name in wanted.structure.labels}
    others = [stem for stem, _ in scan.organs if plain_name(stem) not in used]
    return matches + [
        OrganMatch(stem, status="NO_MODEL", reason="no model knows an organ of this name") for stem in others
    ]


def _matches(prior: Prior, structure: StructureConfig, table: LabelTable) -> Iterator[OrganMatch]:
    """The parts of a structure as the table names them; each of its parts once."""
    for suffix in structure.suffixes():
        organ = organ_name(structure, suffix)
        named = _named(structure, suffix, table)
        if named is not None:
            unnamed = _of_unnamed_labels(structure, named, table)
            yield OrganMatch(organ, prior, named, suffix, "ERROR" if unnamed else "", unnamed)
            continue
        try:
            # Only asked why there is nothing: the error tells whether the name is missing or fits several labels.
            table.ids_of(structure.name)
        except ValueError as error:
            kind: Literal["ERROR", "EMPTY"] = "ERROR" if "ambiguous" in str(error) else "EMPTY"
            reason = str(error) if kind == "ERROR" else f"{table.where}: nothing is called {organ}"
            yield OrganMatch(organ, status=kind, reason=reason)


def _named(structure: StructureConfig, suffix: str, table: LabelTable) -> StructureConfig | None:
    """The structure with labels that the table has, in the table's own spelling; None when it has none."""
    # The labels that the run learnt, else the one side that is asked for, else the whole pair, which is then divided.
    own = [_entry(table, label) if isinstance(label, str) else None for label in structure.labels]
    if all(own):
        return replace(structure, labels=tuple(filter(None, own)))
    side = suffix if suffix in ("left", "right") else ""
    if side:
        sided = next(filter(None, (_entry(table, name) for name in _sided(structure.name, side))), None)
        if sided is not None:
            mirror: Literal["never", "always"] = "always" if structure.mirrors(suffix) else "never"
            # A label of one side alone is no pair: all of it is judged, islands too.
            pieces = None if structure.components == 2 else structure.components
            return replace(structure, labels=(sided,), components=pieces, side=_side(side), mirror=mirror)
    whole = _entry(table, structure.name)
    if whole is None:
        return None
    # A whole pair under one label: its two largest pieces are left and right.
    pair = 2 if side and structure.components in (None, 1) else structure.components
    return replace(structure, labels=(whole,), components=pair, side=None if pair == 2 else structure.side)


def _of_unnamed_labels(structure: StructureConfig, named: StructureConfig, table: LabelTable) -> str:
    """Why a whole of several labels cannot be found: it was learnt by numbers, and its name stands for fewer here.

    A kidney that was learnt with its tumour would be judged without it.
    """
    numbers = [label for label in structure.labels if isinstance(label, int)]
    ids = {label for entry, ids in table.entries if entry in named.labels for label in ids}
    if len(named.labels) > 1 or named.side is not None or len(numbers) <= max(1, len(ids)):
        return ""
    return (
        f"this run learnt labels {', '.join(map(str, numbers))} as one, by number; {table.where}: {named.labels[0]} is "
        "one of them at most, and what the others are called nothing says: prepare the run's data with names, such as "
        "labels: [kidney, tumor], and train again"
    )


def _side(side: str) -> Literal["left", "right"]:
    return "left" if side == "left" else "right"


def _sided(name: str, side: str) -> tuple[str, str]:
    return f"{name}_{side}", f"{side} {name}"


def _entry(table: LabelTable, name: str) -> str | None:
    """The table's entry of exactly this name, as it is spelt there."""
    return next((entry for entry, _ in table.entries if plain_name(entry) == plain_name(name)), None)


def known_names(priors: Sequence[Prior], table: LabelTable | None) -> list[str]:
    """Every name that a file of one organ may bear."""
    names = [name for named in NAMED_TABLES.values() for name in named]
    names += [] if table is None else [name for name, _ in table.entries]
    for prior in priors:
        for one in prior.structures:
            names += [str(label) for label in one.labels if isinstance(label, str)]
            names += [one.name, *(name for side in ("left", "right") for name in _sided(one.name, side))]
    return names


def nameless(volume: LabelVolume) -> str:
    """What to say of labels that nothing names: the tables that could be meant, and what they would mean."""
    labels = sorted(volume.boxes)
    candidates = []
    for name, table in NAMED_TABLES.items():
        names = {label: organ for organ, label in table.items()}
        if labels and all(label in names for label in labels):
            candidates.append(f"{name} ({', '.join(f'{label} {names[label]}' for label in labels[:SHOWN])})")
    listed = ", ".join(map(str, labels[:SHOWN])) + (", ..." if len(labels) > SHOWN else "")
    could = f"; it could be {'; or '.join(candidates)}" if candidates else ""
    known = "|".join(NAMED_TABLES)
    return f"nothing says what its labels {listed or '(none)'} mean{could}: give --labels {known}|FILE"
