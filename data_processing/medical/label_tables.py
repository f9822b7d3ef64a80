"""Label tables as text, whoever wrote them: columns with a header, or a number and a name in every line.

Known: .tsv and .csv with any of the usual separators (BIDS, pandas, spreadsheets), label descriptions of ITK-SNAP,
lookup tables of FreeSurfer and MRtrix, colour tables of 3D Slicer (.ctbl, .csv), label lists of Connectome Workbench;
JSON of nnU-Net, niivue and others. Colours are passed over.
"""

import csv
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from isofield.runtime.number_text import is_number

Entry = tuple[str, tuple[int, ...]]  # a name and its ids
KNOWN_FORMATS = (
    "JSON such as {'labels': {'liver': 1}}, columns id (or index) and name (or label), or lines with a number "
    "and a name as ITK-SNAP, FreeSurfer and 3D Slicer (.ctbl) write them"
)
ID_COLUMNS = ("id", "index", "key", "value", "labelvalue", "label value", "label id", "labelid", "label_id", "idx",
              "number", "no", "no.", "#no.", "roi id")  # fmt: skip
NAME_COLUMNS = ("name", "label", "structure", "region", "organ", "tissue", "anatomy", "segment", "class", "description",
                "label name", "labelname", "label_name", "roi name", "class name", "class_name")  # fmt: skip
SIDE_COLUMNS = ("hemisphere", "hemi", "side")
SIDES = {"l": "left", "left": "left", "lh": "left", "r": "right", "right": "right", "rh": "right"}
SEPARATORS = "\t;,|"
ASSIGNMENT = re.compile(r"\s*\"?([^=:,;\t]+?)\"?\s*[=:]\s*\"?([^=:,;\t]+?)\"?\s*")  # liver=1, 1 = liver, liver: 1
COMMENTS = ("#", "//", "%")
CLOCK = re.compile(r"(?<!\d)\d{1,2}:\d\d(?!\d)")  # 12:30 is no label 30 called 12
STARTS_WITH_NUMBER = re.compile(r"\"?\d+(?:\.0*)?\"?(?=[\s,;|:=]|$)")
FEWEST_COLOURS, MOST_COLOURS = 3, 4  # numbers behind a name that are no part of it
ENCODINGS = ("utf-8-sig", "cp1252", "latin-1")


def decoded(content: bytes) -> str:
    """Text of a table: UTF-8, or UTF-16 by its mark, else what editors on Windows write. ValueError for no text."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    if b"\0" in content:
        raise ValueError("it is no text")
    # The last one takes any bytes: a strange letter in a name is better than no table.
    for encoding in ENCODINGS:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise AssertionError("latin-1 takes any byte")


def whole_number(text: Any) -> int | None:
    """17, "17", "17.0" or " 17 " as 17; None for what is no whole number."""
    if isinstance(text, bool) or not isinstance(text, int | float | str):
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    if not number.is_integer():
        return None
    # Beyond 2^53 a float no longer holds every whole number: the text itself is read.
    return text if isinstance(text, int) else int(number) if abs(number) < 1 << 53 else int(str(text))


def table_rows(text: str, *, surely: bool) -> list[Entry]:
    """Names and ids of a table of columns or lines; nothing for what is no table.

    `surely`: the user says that it is one; then also lines without a header count, and ValueError names the line that
    has no number and name.
    """
    lines = text.splitlines()
    rows = _column_rows(lines)
    if rows is not None or not surely:
        return rows or []
    found = _workbench_rows(lines) or list(_line_rows(lines))
    _refuse_two_names(found)
    return found


def json_rows(data: Any, *, surely: bool) -> list[Entry]:
    """{"labels": {...}} or the mapping itself; names to ids (nnU-Net 2, or regions: lists) or ids to names.

    Also lists: of names by their place (or by the numbers in "I", niivue), or of objects with an id and a name. Other
    numbers by name are labels only if that is sure: side-cars say how fast a scanner was.
    """
    # Below a key "labels" there is no doubt what the numbers are; a bare mapping may be about anything.
    mapping = data.get("labels", data) if isinstance(data, Mapping) else data
    surely = surely or mapping is not data
    if isinstance(mapping, list):
        return _listed_rows(mapping, data.get("I") if isinstance(data, Mapping) else None) if surely else []
    if not isinstance(mapping, Mapping):
        return []
    rows: list[Entry] = []
    for key, value in mapping.items():
        if (label := whole_number(str(key))) is not None and isinstance(value, str):
            rows.append((value, (label,)))
        elif surely and (label := whole_number(value)) is not None:
            rows.append((str(key), (label,)))
        elif surely and isinstance(value, list) and value and all(whole_number(item) is not None for item in value):
            rows.append((str(key), tuple(int(whole_number(item) or 0) for item in value)))
        elif surely:
            raise ValueError(f"expected an id for label {reprlib.repr(key)}, got {reprlib.repr(value)}")
        else:
            return []  # a side-car about other things
    return rows


def _listed_rows(items: Sequence[Any], ids: Any) -> list[Entry]:
    rows: list[Entry] = []
    for place, item in enumerate(items):
        if isinstance(item, str):
            label = whole_number(ids[place]) if isinstance(ids, list) and place < len(ids) else place
            name = item
        elif isinstance(item, Mapping):
            # The keys of objects are the columns of tables, by whatever name each program has for them.
            columns = {str(key).strip().lower(): value for key, value in item.items()}
            label = next((whole_number(columns[key]) for key in ID_COLUMNS if key in columns), None)
            name = next((str(columns[key]) for key in NAME_COLUMNS if key in columns), "")
        else:
            raise ValueError(f"expected names of labels, got {item!r}")
        if label is None or not name:
            raise ValueError(f"expected an id and a name, got {item!r}")
        rows.append((name, (label,)))
    return rows


def _column_rows(lines: Sequence[str]) -> list[Entry] | None:
    """Of a table whose first line names its columns; None for any other. ValueError for an id that is no number."""
    start = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith(COMMENTS)), None)
    if start is None:
        return None
    # The separator that finds both columns is the file's own.
    for separator in SEPARATORS:
        reader = csv.DictReader(lines[start:], delimiter=separator, skipinitialspace=True)
        columns = {str(column).strip().lower(): column for column in reader.fieldnames or () if column}
        label = next((columns[name] for name in ID_COLUMNS if name in columns), None)
        # Beside a column that names, "label" is the number.
        if label is None and "label" in columns and any(n in columns for n in NAME_COLUMNS if n != "label"):
            label = columns["label"]
        named = next((columns[name] for name in NAME_COLUMNS if name in columns and columns[name] != label), None)
        if label is None or named is None:
            continue
        # Tables of atlases list left and right as two rows of one name, told apart by a column of its own.
        side = next((columns[name] for name in SIDE_COLUMNS if name in columns), None)
        rows: list[Entry] = []
        for row in reader:
            text = (row[label] or "").strip()  # short ones have None
            if not text:
                continue
            number = whole_number(text)
            if number is None:
                raise ValueError(
                    f"line {start + reader.line_num}: expected a whole number as {label}, got {text[:40]!r}"
                )
            rows.append((_with_side(row[named] or "", row[side] if side else ""), (number,)))
        _refuse_two_names(rows)
        return rows
    return None


def _refuse_two_names(rows: Sequence[Entry]) -> None:
    """Of a table with a row for each number: two names of one would be judged as two organs."""
    names: dict[int, str] = {}
    for name, (number,) in rows:
        if names.setdefault(number, name) != name:
            raise ValueError(f"label {number} is {names[number][:40]!r} and {name[:40]!r}: keep one of the rows")


def _with_side(name: str, side: str | None) -> str:
    word = SIDES.get((side or "").strip().lower(), "")
    return f"{word} {name.strip()}" if word else name.strip()


def _line_rows(lines: Sequence[str]) -> Iterator[Entry]:
    """A number and a name in each line, all of them in the same order, and colours or other numbers around them."""
    first: tuple[int, bool] | None = None  # the first line that tells, and whether its number stands before the name
    for number, line in enumerate(lines, start=1):
        line = line.strip()
        if not line or line.startswith(COMMENTS):
            continue
        entry = None if CLOCK.search(line) else _entry_of(line)
        if entry is None:
            raise ValueError(f"line {number}: expected a number and a name, got {line[:60]!r}")
        # A line of the other order says something else: a date, a version, a number of labels.
        number_first = STARTS_WITH_NUMBER.match(line) is not None
        first = first or (number, number_first)
        if number_first != first[1]:
            order = "a number and a name" if first[1] else "a name and a number"
            raise ValueError(f"line {number}: expected {order} as in line {first[0]}, got {line[:60]!r}")
        yield entry


def _entry_of(line: str) -> Entry | None:
    quoted = re.fullmatch(r'\s*(\d+(?:\.0*)?)[\s,;].*?"([^"]+)"\s*', line)  # ITK-SNAP: the name is the last
    if quoted:
        return quoted[2].strip(), (int(float(quoted[1])),)
    if assigned := ASSIGNMENT.fullmatch(line):
        pair = [assigned[1], assigned[2]]
        numbers = [whole_number(word) for word in pair]
        if (numbers[0] is None) != (numbers[1] is None):
            return (pair[1], (numbers[0],)) if numbers[0] is not None else (pair[0], (int(numbers[1] or 0),))
    separator = next((mark for mark in SEPARATORS if mark in line), None)
    words = [word.strip().strip('"') for word in (line.split(separator) if separator else line.split())]
    words = [word.rstrip(":=") for word in words if word.rstrip(":=")]
    first, rest = whole_number(words[0]) if words else None, words[1:]
    if first is None:  # the name before the number
        label = whole_number(words[-1]) if len(words) > 1 else None
        return None if label is None else (" ".join(words[:-1]), (label,))
    behind = 0
    while behind < min(len(rest), MOST_COLOURS) and is_number(rest[len(rest) - 1 - behind]):
        behind += 1
    name = rest[: len(rest) - behind] if behind >= FEWEST_COLOURS else rest
    name = [word for word in name if not separator or not is_number(word)]
    return (" ".join(name), (first,)) if name and not all(map(is_number, name)) else None


def _workbench_rows(lines: Sequence[str]) -> list[Entry]:
    """A name in one line, its number and colour in the next."""
    told = [line.strip() for line in lines if line.strip()]
    numbers = [line.split() for line in told[1::2]]
    if len(told) % 2 or any(len(words) != 5 or not all(map(is_number, words)) for words in numbers):
        return []
    return [(name, (int(words[0]),)) for name, words in zip(told[::2], numbers, strict=True)]
