"""Lists that say which shape is in which split: one name or ID a line (.lst, .txt), a CSV with an ID and a split, JSON.

A line may be the whole name of a shape, the end of it (an ID), or the folder it lies in, with or without a suffix; or
the path of its file where the list was written. JSON: a list of names, lists by split, or splits by name.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from isofield.runtime.json_files import parse_json
from isofield.runtime.name_words import composed

SPLIT_WORDS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
SPLIT_COLUMNS = ("split", "set", "subset", "partition")
ID_COLUMNS = ("modelid", "model_id", "name", "shape", "uid", "object", "object_id", "file", "filename", "path", "id")
CATEGORY_COLUMNS = ("synsetid", "synset", "category", "class")
LIST_SUFFIXES = (".lst", ".txt", ".json")  # the first means nothing else
TABLES = frozenset({"split.json", "splits.json", "split.csv", "splits.csv"})
MAX_LIST_BYTES = 1 << 28
SHOWN = 3


@dataclass(frozen=True)
class Listed:
    """One shape of a list: what it may be called there, in order, its split, and where that stands."""

    names: tuple[str, ...]
    split: str
    where: str


class NameIndex:
    """Shapes by their names, by the ends of these, and by the folders they lie in."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._whole = {composed(name): number for number, name in enumerate(names)}
        self._ends: dict[str, set[int]] = {}
        for number, name in enumerate(names):
            parts = composed(name).split("/")
            for last in (len(parts), len(parts) - 1):
                for first in range(last):
                    self._ends.setdefault("/".join(parts[first:last]), set()).add(number)

    def find(self, listed: Listed) -> int | None:
        """The number of the shape; None where there is none. ValueError where a line stands for several."""
        for name in listed.names:
            for text in _spellings(composed(name)):
                if text in self._whole:
                    return self._whole[text]
                numbers = sorted(self._ends.get(text, ()))
                if len(numbers) > 1:
                    shown = ", ".join(self.names[number] for number in numbers[:SHOWN])
                    raise ValueError(f"{listed.where}: {name!r} stands for {len(numbers)} shapes: {shown}; say which")
                if numbers:
                    return numbers[0]
        return None


def _spellings(name: str) -> dict[str, None]:
    """What a line may mean, in order: as it is, as a path without suffix, and the end of a path from somewhere else.

    Of such an end two parts at least: a name alone may be that of a shape in another folder.
    """
    bare = name.strip("/")
    path = PurePosixPath(name.replace("\\", "/"))
    whole = str(path).strip("/")
    found = [name, bare]
    for text in (
        whole,
        *(["/".join(path.parts[n:]) for n in range(1, len(path.parts) - 1)] if len(path.parts) > 2 else []),
    ):
        found += [text, str(PurePosixPath(text).with_suffix(""))] if text not in ("", ".") else []
    return dict.fromkeys(found)


def read_names(file: Path) -> list[str]:
    """Lines of a list of names without blanks, empty lines and comments (#), or the names in a JSON list.

    FileNotFoundError, or ValueError when it is no text, or JSON of another kind.
    """
    if file.suffix.lower() == ".json":
        names = _json(file)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{file}: expected a JSON list of names")
        return [name.strip() for name in names if name.strip()]
    lines = (line.strip() for line in _text(file).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def read_list(file: Path, split: str, *, category: str = "") -> list[Listed]:
    """The shapes of a list. `category`: the folder the list lies in, where its IDs are looked for first."""
    return [
        Listed((f"{category}/{name}", name) if category else (name,), split, f"{file}: line {number}")
        for number, name in enumerate(read_names(file), start=1)
    ]


def read_table(file: Path) -> list[Listed]:
    """The shapes of a CSV with the columns split and an ID, or of JSON. ValueError for others, and unknown splits."""
    if file.suffix.lower() == ".json":
        return read_json_table(file)
    text = _text(file)
    head = text.partition("\n")[0]
    # The first line decides what separates: spreadsheets of some countries write semicolons.
    delimiter = max(",;\t", key=head.count)
    try:
        rows = list(csv.DictReader(io.StringIO(text), delimiter=delimiter))
    except csv.Error as error:
        raise ValueError(f"{file}: expected a CSV with a line for each shape") from error
    columns = {(name or "").strip().lower(): name for name in (rows[0] if rows else {})}
    split_column = next((columns[name] for name in SPLIT_COLUMNS if name in columns), None)
    id_columns = [columns[name] for name in ID_COLUMNS if name in columns]
    if split_column is None or not id_columns:
        raise ValueError(
            f"{file}: expected a column split and one of {', '.join(ID_COLUMNS)}; got "
            f"{', '.join(columns)[:200] or 'none'}"
        )
    # IDs are unique within a category only, where a column names one.
    above = [columns[name] for name in CATEGORY_COLUMNS if name in columns]
    return [
        listed
        for number, row in enumerate(rows, start=2)
        if (listed := _entry_of_row(row, split_column, id_columns, above, f"{file}: line {number}"))
    ]


def read_json_table(file: Path) -> list[Listed]:
    """The shapes of a JSON object, {"train": [names], ...} or {name: "train", ...}. ValueError for any other."""
    data = _json(file)
    listed = list[Listed]()
    for key, value in data.items() if isinstance(data, dict) else ():
        split = SPLIT_WORDS.get(key.lower())
        if split and isinstance(value, list) and all(isinstance(name, str) for name in value):
            listed += [Listed((name.strip(),), split, f"{file}: {key}") for name in value if name.strip()]
        elif isinstance(value, str) and value.lower() in SPLIT_WORDS:
            listed.append(Listed((key.strip(),), SPLIT_WORDS[value.lower()], f"{file}: {key}"))
        else:
            raise ValueError(f"{file}: expected lists of names by split, or splits by name; got {key[:40]!r}")
    if not listed:
        raise ValueError(f"{file}: expected lists of names by split, or splits by name, as a JSON object")
    return listed


def _json(file: Path) -> object:
    try:
        return parse_json(_text(file))
    except ValueError as error:
        raise ValueError(f"{file}: expected a JSON file of names of shapes, cut off or damaged") from error


def lists_among(files: Iterable[str]) -> list[str]:
    """Files below a folder that are called as lists of splits are, whatever their suffix."""
    return [file for file in files if _is_list(PurePosixPath(file), LIST_SUFFIXES) or _is_table(PurePosixPath(file))]


def _is_list(path: PurePosixPath, suffixes: Sequence[str]) -> bool:
    # At most two folders deep: train.txt further down belongs to something else.
    return path.suffix.lower() in suffixes and path.stem.lower() in SPLIT_WORDS and len(path.parts) <= 3


def _is_table(path: PurePosixPath) -> bool:
    return len(path.parts) == 1 and path.name.lower() in TABLES


def _entry_of_row(
    row: dict[str, str | None], split_column: str, id_columns: Sequence[str], above: Sequence[str], where: str
) -> Listed | None:
    """What a row says; None where it leaves the split open."""
    word = (row.get(split_column) or "").strip().lower()
    if not word:
        return None
    if word not in SPLIT_WORDS:
        raise ValueError(f"{where}: expected {', '.join(SPLIT_WORDS)} as split, got {word[:40]!r}")
    ids = [text.strip() for column in id_columns if (text := row.get(column)) and text.strip()]
    folders = [text.strip() for column in above if (text := row.get(column)) and text.strip()]
    # From the most exact name to the plainest: a shape that is called by its ID alone is found as well.
    names = [f"{folder}/{name}" for folder in folders for name in ids] + ids
    return Listed(tuple(names), SPLIT_WORDS[word], where)


def read_list_files(folder: Path, files: Iterable[str], *, all_kinds: bool) -> list[Listed]:
    """What lists among the files below a folder say: CATEGORY/train.lst and so on, as Occupancy Networks has them.

    `all_kinds`: train.txt, train.json, split.json and CSV files with an ID and a split too, which may well be
    something else.
    """
    listed = list[Listed]()
    suffixes = LIST_SUFFIXES if all_kinds else LIST_SUFFIXES[:1]
    for file in files:
        path = PurePosixPath(file)
        if _is_list(path, suffixes):
            category = path.parent.name
            listed += read_list(folder / file, SPLIT_WORDS[path.stem.lower()], category=category)
        elif all_kinds and _is_table(path) and path.suffix.lower() == ".json":
            listed += read_json_table(folder / file)
        elif all_kinds and path.suffix.lower() == ".csv" and len(path.parts) == 1:
            listed += _table_or_nothing(folder / file)
    return listed


def _table_or_nothing(file: Path) -> list[Listed]:
    try:
        return read_table(file)
    except ValueError:
        # A table that speaks of splits and cannot be read must not be passed over in silence: shapes would change
        # sides.
        if "split" in _text(file).partition("\n")[0].lower():
            raise
        return []


def given_splits(names: Sequence[str], lists: Sequence[Listed]) -> tuple[dict[str, str], list[str]]:
    """The split of each shape that lists name, and what to say of those that are missing on either side.

    ValueError for a shape in two splits, and where no line is a shape.
    """
    index, splits, absent = NameIndex(names), dict[str, str](), list[Listed]()
    # A shape that two lists put into two splits would leak from training into the test.
    for listed in lists:
        number = index.find(listed)
        if number is None:
            absent.append(listed)
        elif splits.setdefault(names[number], listed.split) != listed.split:
            other = splits[names[number]]
            raise ValueError(f"{listed.where}: shape {names[number]!r} is in {other} and in {listed.split}")
    if not splits:
        first = lists[0]
        raise ValueError(
            f"{first.where}: {first.names[-1]!r} is no shape here, nor is any other of the lists; shapes are called "
            f"{names[0]!r}"
        )
    notes = [f"splits by {len(lists)} lines of lists in the folder"]
    if absent:
        notes.append(f"{len(absent)} of their names are not here, first {absent[0].names[-1]!r} ({absent[0].where})")
    if len(splits) < len(names):
        unlisted = [name for name in names if name not in splits]
        notes.append(f"{len(unlisted)} shapes are in no list, and so in no split, first {unlisted[0]!r}")
    return splits, notes


def _text(file: Path) -> str:
    if not file.is_file():
        raise FileNotFoundError(f"list of names {file} does not exist")
    if file.stat().st_size > MAX_LIST_BYTES:
        raise ValueError(f"{file}: {file.stat().st_size} bytes is no list of names")
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: expected one name a line in UTF-8") from error
