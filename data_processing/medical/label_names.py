"""Names of labels: which id of a volume means which structure. Nothing is ever guessed from the ids themselves.

A table comes from (1) the config: `table: total` (totalsegmentator.py) or a file; or else from the scan's own company:
(2) its header (TotalSegmentator writes an XML label table, 3D Slicer the names of segments), (3) a side-car NAME.json,
.tsv (BIDS), .csv or .ctbl, (4) a table above it by the inheritance of BIDS, (5) a dataset.json in its folder or above
(nnU-Net). Only names need a table; ids speak for themselves. What tables look like is in label_tables.py.
"""

import csv
import functools
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_processing.formats.images import ImageHeader
from data_processing.formats.scans import scan_stem
from data_processing.medical.advice import OptionError
from data_processing.medical.label_tables import KNOWN_FORMATS, decoded, json_rows, table_rows
from data_processing.medical.totalsegmentator import NAMED_TABLES
from isofield.runtime.hints import did_you_mean
from isofield.runtime.json_files import parse_json
from isofield.runtime.name_words import composed
from isofield.runtime.reasons import reason_of

MAX_TABLE_BYTES = 1 << 22
MAX_LEVELS_UP = 4  # folders above a scan in which a table is looked for
SHOWN = 12  # names in a message
TABLE_SUFFIXES = (".json", ".tsv", ".csv", ".ctbl")


@dataclass(frozen=True)
class LabelTable:
    """Entries of name and ids (more than one for regions of nnU-Net), and where they were read."""

    entries: tuple[tuple[str, tuple[int, ...]], ...]
    where: str

    def ids_of(self, name: str) -> tuple[int, ...]:
        """Ids of a name, whatever its case, with spaces, dashes and underlines alike.

        ValueError that names the candidates when there is none, or more than one ("thalamus", left or right?).
        """
        wanted = plain_name(name)
        found = [entry for entry in self.entries if plain_name(entry[0]) == wanted]
        if len({ids for _, ids in found}) == 1:
            return found[0][1]
        # A name without its side fits left and right: said, never guessed.
        candidates = found or [entry for entry in self.entries if _without_side(entry[0]) == wanted]
        if candidates:
            listed = ", ".join(f"{entry!r} ({' + '.join(map(str, ids))})" for entry, ids in candidates)
            raise ValueError(f"label {name!r} is ambiguous in {self.where}: it has {listed}; name one, or give its id")
        raise ValueError(f"no label {name!r} in {self.where}; {self._nearest(name)}")

    def name_of(self, label: int) -> str:
        """The name of one id; "" for none."""
        return next((name for name, ids in self.entries if ids == (label,)), "")

    def _nearest(self, name: str) -> str:
        names = [entry for entry, _ in self.entries]
        shown = f"{', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"
        return f"{did_you_mean(name, names, most=3, compared=plain_name)} it has {len(names)} names: {shown}".lstrip()


@dataclass(frozen=True)
class Naming:
    """What the user said of labels: a table by name or file, and a threshold for maps of probabilities."""

    table: str | None = None
    threshold: float | None = None


def find_table(scan: Path, table: str | None, *, header: Any = None) -> LabelTable | None:
    """The label table of a scan: the one named in the config, else its own; None when there is none.

    `table`: a name of `NAMED_TABLES`, or a file (as given, or beside the scan or in a folder above it).
    `header`: the scan's nibabel header. Raises FileNotFoundError, and ValueError for a table that cannot be read.
    """
    if table is not None:
        return named_table(table) if table in NAMED_TABLES else read_table(_table_file(scan, table))
    return own_table(scan, header=header)


def own_table(scan: Path, *, header: Any = None) -> LabelTable | None:
    """The table that came with the scan: in its header, beside it, or as dataset.json of its data set."""
    found = None if header is None else table_of_header(header, scan)
    if found is not None or not scan.is_file():  # nothing lies beside a scan in memory
        return found
    stem = scan_stem(scan.name)
    for suffix in TABLE_SUFFIXES:
        beside = scan.with_name(stem + suffix)
        if beside.is_file() and (found := _table_or_none(beside)) is not None:
            return found
    inherited = _inherited_table(scan, stem)
    if inherited is not None:
        return inherited
    dataset = next((folder / "dataset.json" for folder in _folders(scan) if (folder / "dataset.json").is_file()), None)
    return None if dataset is None else _table_or_none(dataset)


def _inherited_table(scan: Path, stem: str) -> LabelTable | None:
    """By the inheritance of BIDS: dseg.tsv or desc-aseg_dseg.tsv, beside a scan of those entities or above it."""
    if not stem.startswith("sub-"):
        return None
    # A table applies where its entities are a part of the scan's, and the suffix is the same.
    entities = stem.split("_")
    for folder in _folders(scan):
        for file in sorted(folder.glob(f"*{entities[-1]}.tsv")):
            if set(file.stem.split("_")) <= set(entities) and (found := _table_or_none(file)) is not None:
                return found
    return None


def named_table(name: str) -> LabelTable:
    """One of the tables we know by name."""
    return LabelTable(tuple((entry, (label,)) for entry, label in NAMED_TABLES[name].items()), f"the table {name}")


def read_table(file: Path) -> LabelTable:
    """A table in a .json, .tsv or .csv file. FileNotFoundError; ValueError when it holds no names of labels."""
    table = _table_or_none(file, surely=True)
    if table is None:
        raise ValueError(f"{file}: expected names of labels: {KNOWN_FORMATS}")
    return table


def table_of_header(header: Any, scan: Path) -> LabelTable | None:
    """What the file itself says: segments of 3D Slicer, or an extension of NIfTI."""
    if not isinstance(header, ImageHeader):
        return table_of_extensions(header, scan)
    entries = tuple((segment.name, (segment.label,)) for segment in header.segments)
    return LabelTable(entries, f"the segments of {scan}") if entries else None


def table_of_extensions(header: Any, scan: Path) -> LabelTable | None:
    """The XML label table in the header extensions of a NIfTI file, as TotalSegmentator and Connectome write it."""
    for extension in getattr(header, "extensions", ()):
        content = extension.get_content()
        text = content if isinstance(content, bytes) else str(content).encode()
        if b"<Label " not in text or len(text) > MAX_TABLE_BYTES:
            continue
        entries = _xml_entries(text.rstrip(b"\0 \n"), scan)
        if entries:
            return LabelTable(tuple(entries), f"the header extension of {scan}")
    return None


def _xml_entries(text: bytes, scan: Path) -> list[tuple[str, tuple[int, ...]]]:
    # Entities can blow a few bytes up to gigabytes; UTF-16 would hide them.
    if b"<!ENTITY" in text or b"<!DOCTYPE" in text or b"\0" in text:
        raise ValueError(f"{scan}: the label table in its header declares entities: remove the extension")
    try:
        root = ElementTree.fromstring(text, ElementTree.XMLParser(encoding="utf-8"))  # whatever it says it is in
        labels = [(" ".join((label.text or "").split()), (int(label.get("Key", "")),)) for label in root.iter("Label")]
    except (ElementTree.ParseError, ValueError) as error:
        raise OptionError(
            f"{scan}: the label table in its header is damaged (no XML, or no number as Key): name one in ",
            "table",
        ) from error
    return [(name, ids) for name, ids in labels if name and ids != (0,)]


def _table_file(scan: Path, table: str) -> Path:
    places = [Path(table), *(folder / table for folder in _folders(scan))]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        known = ", ".join(NAMED_TABLES)
        raise FileNotFoundError(
            f"label table {table!r} is neither a known one ({known}) nor a file here, beside {scan} or above it"
        )
    return found


def _folders(scan: Path) -> list[Path]:
    return list(scan.absolute().parents)[: MAX_LEVELS_UP + 1]


@functools.lru_cache(maxsize=64)
def _read_once(file: Path, changed: int, surely: bool) -> LabelTable | None:
    """`changed`: when the file did last; a new time is a new table."""
    surely_text = surely or file.suffix.lower() == ".ctbl"
    try:
        text = decoded(file.read_bytes())
        is_json = file.suffix.lower() == ".json"
        rows = json_rows(parse_json(text), surely=surely) if is_json else table_rows(text, surely=surely_text)
    except (ValueError, csv.Error) as error:
        said = reason_of(error, otherwise="it is no text in rows")
        raise OptionError(
            f"{file}: not a table of labels ({said}); expected {KNOWN_FORMATS}: repair it, or name another in ",
            "table",
        ) from error
    entries = tuple((name, ids) for name, ids in rows if name and ids != (0,))
    return LabelTable(entries, str(file)) if entries else None


def _table_or_none(file: Path, *, surely: bool = False) -> LabelTable | None:
    """None for a file that holds other things than labels, as a side-car may. `surely`: the user says it is a table."""
    if not file.is_file():
        raise FileNotFoundError(f"label table {file} does not exist")
    if file.stat().st_size > MAX_TABLE_BYTES:
        raise ValueError(f"{file}: {file.stat().st_size:,} bytes is no table of labels")
    return _read_once(file, file.stat().st_mtime_ns, surely)


def plain_name(name: str) -> str:
    """A name without regard to case, with spaces, dashes and underlines alike, and umlauts as one character."""
    return " ".join(composed(name).replace("_", " ").replace("-", " ").lower().split())


def _without_side(name: str) -> str:
    return " ".join(word for word in plain_name(name).split() if word not in ("left", "right"))
