"""Point clouds as text (.xyz, .pts, .csv, .txt and their kin): one point a line, in any of the usual dialects.

A file may begin with a byte order mark, comments, a title, a number of points and names of columns. Values stand
between blanks, tabs, commas, semicolons or bars, with decimal points or decimal commas. Columns beside x, y and z are
normals where their names or their lengths say so, and are left alone otherwise (colours, intensities, labels).
"""

import codecs
import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

TEXT_SUFFIXES = frozenset({".xyz", ".xyzn", ".xyzrgb", ".pts", ".asc", ".csv", ".txt"})
GENERIC_SUFFIXES = frozenset({".csv", ".txt"})  # what a file of another kind may be called just as well
COMMENTS = ("#", "//", "%", "!")
MAX_HEAD = 100  # lines before the first point
SHOWN = 60  # characters of a line in a message
SNIFFED_BYTES = 1 << 16
UNIT_ERROR = 0.05  # by which a normal may be longer or shorter than 1
FEWEST_ROWS = 10  # that tell what columns without names are
SECONDS = 1e8  # of a clock; metres of a map end at 10^7
FIELDS = frozenset({"sdf", "tsdf", "udf", "occupancy", "occupancies", "occ", "inside", "signed_distance"})
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?")
NAME = re.compile(r"[^\W\d]\w*(?:[ .:\-]\w+)?")  # of a column: a word or two
TRAILING_COMMENT = re.compile(r"\s+(?:#|//)")
DECIMAL_COMMA = re.compile(r"[+-]?\d+(?:,\d+)?(?:[eE][+-]?\d+)?")
WHOLE, DIGITS = re.compile(r"[+-]?\d+"), re.compile(r"\d{2,}")
NO_NUMBER = re.compile(r"[+-]?(?:nan(?:\(\w*\))?|inf(?:inity)?|1\.#\w+|na|n/a|null|none|)", re.IGNORECASE)
POSITION = r"(?:p|pos|position|point|points|coord|coords|coordinate|coordinates|loc|location|vertex)"
NORMAL = r"(?:n|norm|normal|normals)"
UNIT = r"(?:[ _](?:mm|cm|m|in|ft))"
# Columns of maps: east, north, up are right-handed as x, y, z are; in another order of columns they would be mirrored.
MAP_COLUMNS = {"easting": "x", "east": "x", "northing": "y", "north": "y", "elevation": "z", "height": "z",
               "altitude": "z", "alt": "z", "up": "z", "elev": "z"}  # fmt: skip
# Columns that are no lengths along three axes: angles, and places in a picture.
ANGLES = frozenset({"lat", "latitude", "lon", "long", "lng", "longitude", "azimuth", "az", "theta", "phi", "range",
                    "radius", "rho", "r", "row", "col", "column", "u", "v", "depth", "disparity"})  # fmt: skip
FEWEST_ANGLES = 2  # among the names of a line, where it has no x, y and z
Separator = Literal[" ", ",", ";", "|", "\t"]


@dataclass(frozen=True)
class Dialect:
    """How the values of a line are told apart. A blank stands for any blanks and tabs."""

    separator: Separator
    decimal_comma: bool = False

    def values(self, line: str) -> list[str]:
        """The values of a line as text, without quotes and without an empty one behind the last separator."""
        parts = line.split() if self.separator == " " else line.split(self.separator)
        values = [part.strip().strip("\"'").strip() for part in parts]
        if len(values) > 1 and not values[-1]:
            values.pop()
        return [value.replace(",", ".") for value in values] if self.decimal_comma else values


@dataclass(frozen=True)
class Head:
    """What stands before the points. `first`: number of the first point's line; `columns`: how many values it has."""

    dialect: Dialect
    first: int
    columns: int
    names: tuple[str, ...]
    declared: tuple[int, ...]


def read_text_cloud(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Points (N, 3) and their normals (N, 3), or None where the file has none; NaN where it holds no number.

    ValueError that names the file, the line, what stands there and what was expected.
    """
    lines = _lines(_text(path.read_bytes(), path))
    head = _head(lines, path)
    points, normals = _columns(head, path)
    needed = [*points, *(normals or ())]
    # A number of points that a file declares, once or before each part, tells whether it is whole.
    values, declared = _table(lines, head, needed, path)
    expected = sum([*head.declared, *declared])
    if (head.declared or declared) and expected != len(values):
        raise ValueError(
            f"{path}: declares {expected} points, holds {len(values)} lines of them: it is cut off, or "
            "the line that has a single number is no number of points: remove that line"
        )
    # Columns without names are told by what they hold.
    if not head.names:
        values = _without_numbering(values)
        _refuse_signed_fourth(values, path)
        _refuse_other_first(values, path)
        normals = _unnamed_normals(values, path.suffix.lower())
    return values[:, points], values[:, normals] if normals else None


def is_text_cloud(path: Path) -> bool:
    """Whether a text file begins as a cloud does: some line early on holds three numbers."""
    try:
        with open(path, "rb") as handle:
            start = handle.read(SNIFFED_BYTES)
        _head(_lines(_text(start, path)), path)
    except (OSError, ValueError):
        return False
    return True


def _text(content: bytes, path: Path) -> str:
    """The text of a file by its byte order mark, else UTF-8: titles in other encodings do no harm."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if content.startswith(mark):
            skipped = len(mark) if encoding == "utf-8" else 0
            return content[skipped:].decode(encoding, errors="replace")
    if b"\x00" in content[:SNIFFED_BYTES]:
        raise ValueError(f"{path}: expected lines of x y z, got bytes that are no text")
    return content.decode("utf-8", errors="replace")


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _head(lines: Sequence[str], path: Path) -> Head:
    """What stands before the first line that is a point."""
    names: list[str] = []
    counts: list[int] = []
    before = ""
    for number, line in enumerate(lines[: MAX_HEAD + 1]):
        bare = _without_comment(line)
        dialect = _dialect(bare)
        values = dialect.values(bare)
        # The first line of numbers fixes the dialect and the number of columns for the whole file.
        if _is_point(values):
            _refuse_two_commas(bare, dialect, f"{path}: line {number + 1}")
            _refuse_cut_numbers(lines[number : number + MAX_HEAD], dialect, f"{path}: line {number + 1}")
            return Head(dialect, number, len(values), _names_for(names, values, dialect), tuple(counts))
        if len(values) == 1 and values[0].isdecimal():
            counts.append(int(values[0]))
        elif line.strip():
            names.append(line.strip().lstrip("#/%!").strip())
            before = before or f", got {line.strip()[:SHOWN]!r} in line {number + 1}"
    if not before and not counts:
        raise ValueError(f"{path}: expected lines of x y z, the file is empty")
    raise ValueError(f"{path}: expected lines of at least three numbers x y z{before}")


def _without_comment(line: str) -> str:
    """A line without its comment."""
    line = line.strip()
    if line.startswith(COMMENTS):
        return ""
    return TRAILING_COMMENT.split(line)[0]


def _dialect(line: str) -> Dialect:
    """By the separators that a line of numbers has; commas are decimal ones where another separator is there."""
    if ";" in line:
        return Dialect(";", "," in line)
    if "|" in line:
        return Dialect("|", "," in line)
    if "," in line:
        # Commas with blanks between the values: decimal ones where each value has one at most.
        apart = line.split()
        if len(apart) >= 3 and all(DECIMAL_COMMA.fullmatch(value) for value in apart):
            return Dialect(" ", True)
        return Dialect(",")
    return Dialect("\t") if re.search(r"\t\t|^\t|\t$", line) and " " not in line else Dialect(" ")


def _refuse_two_commas(line: str, dialect: Dialect, where: str) -> None:
    """ValueError for 0,5, 1,5, 2,5: the commas before blanks part values, and the others may be decimal ones."""
    parts = re.split(r",\s+", line) if dialect.separator == "," else []
    if len(parts) >= 3 and all(map(DECIMAL_COMMA.fullmatch, parts)) and any("," in part for part in parts):
        raise ValueError(
            f"{where}: expected commas between values or in them, got both, it seems: {line[:SHOWN]!r}: export with "
            "decimal points"
        )


def _refuse_cut_numbers(lines: Sequence[str], dialect: Dialect, where: str) -> None:
    """ValueError for 0,50,-1,05,2,00: decimal commas between commas make two whole numbers of each value.

    Every other one is digits alone, and some of them begin with 0, as no whole number does.
    """
    rows = (
        [dialect.values(bare) for line in lines if (bare := _without_comment(line))] if dialect.separator == "," else []
    )
    fractions = [value for row in rows for value in row[1::2]]
    if (
        any(value.startswith("0") for value in fractions)
        and all(len(row) >= 6 and len(row) % 2 == 0 and all(map(WHOLE.fullmatch, row)) for row in rows)
        and all(map(DIGITS.fullmatch, fractions))
    ):
        raise ValueError(
            f"{where}: decimal commas between commas, it seems: {lines[0].strip()[:SHOWN]!r}: export with decimal "
            "points, or with semicolons between values"
        )


def _is_point(values: Sequence[str]) -> bool:
    """Three numbers or more, and not fewer numbers than words."""
    numbers = sum(_is_number(value) for value in values)
    return (numbers >= 3 and 2 * numbers >= len(values)) and any(NUMBER.fullmatch(v) or v for v in values)


def _is_number(value: str) -> bool:
    return bool(NUMBER.fullmatch(value)) or (bool(value) and bool(NO_NUMBER.fullmatch(value)))


def _names_for(lines: Iterable[str], first: Sequence[str], dialect: Dialect) -> tuple[str, ...]:
    """Names of the columns: the last line before the points that has as many words, with x, y and z among them.

    Where values stand between commas or the like, a line of as many names is one of columns even without those; and
    where they stand between blanks, one that calls them angles.
    """
    chosen: tuple[str, ...] = ()
    for line in lines:
        for separator in dict.fromkeys((dialect.separator, ",", ";", "\t", " ")):
            words = _on_map(tuple(map(_column, Dialect(separator).values(line))))
            named = separator == dialect.separator != " " and (len(words) > 3 or all(map(NAME.fullmatch, words)))
            if len(words) == len(first) and (
                named or {"x", "y", "z"} <= set(words) or len(ANGLES & set(words)) >= FEWEST_ANGLES
            ):
                chosen = words
                break
    return chosen


def _on_map(words: tuple[str, ...]) -> tuple[str, ...]:
    """Names of columns, those of a map as x, y, z: where all three are there, and nothing else is called so."""
    renamed = tuple(MAP_COLUMNS.get(word, word) for word in words)
    whole = all(renamed.count(axis) == 1 for axis in "xyz") and not {"x", "y", "z"} & set(words)
    return renamed if whole else words


def _column(word: str) -> str:
    """The name of a column as we call it: x y z nx ny nz, and others in small letters."""
    plain = re.sub(r"[\[(].*?[\])]", "", word).strip().strip("\"'").lower()
    if found := re.fullmatch(rf"(?:{POSITION}[ _.:\-]?)?([xyz])(?:[ _]?{POSITION})?{UNIT}?", plain):
        return found[1]
    if found := re.fullmatch(rf"{POSITION}[ _.:\-]([012])", plain):
        return "xyz"[int(found[1])]
    if found := re.fullmatch(rf"{NORMAL}[ _.:\-]?([xyz012])", plain):
        return f"n{found[1] if found[1] in 'xyz' else 'xyz'[int(found[1])]}"
    return plain


def _columns(head: Head, path: Path) -> tuple[list[int], list[int] | None]:
    """Which columns are the coordinates, and which the normals as far as names tell."""
    if not head.names:
        return [0, 1, 2], None
    fields = [name for name in head.names if name in FIELDS]
    if fields:
        raise ValueError(f"{path}: its column {fields[0]!r} makes it samples of a field: points anywhere, no surface")
    absent = [axis for axis in "xyz" if axis not in head.names]
    if absent:
        angles = len(ANGLES & set(head.names)) >= FEWEST_ANGLES
        way_out = "these are no lengths along three axes: convert them" if angles else "rename those that are meant"
        raise ValueError(f"{path}: expected columns named x, y, z; got {', '.join(head.names)[:200]}: {way_out}")
    normals = [f"n{axis}" for axis in "xyz"]
    chosen = [head.names.index(name) for name in normals] if set(normals) <= set(head.names) else None
    return [head.names.index(axis) for axis in "xyz"], chosen


def _table(lines: list[str], head: Head, needed: Sequence[int], path: Path) -> tuple[NDArray[np.float64], list[int]]:
    """All values (N, columns), and numbers of points that stand between them (clouds one behind the other)."""
    body = lines[head.first :]
    if head.dialect.decimal_comma:
        body = [line.replace(",", ".") for line in body]
    # First as numpy reads it: fast, and right where every value is a number.
    with contextlib.suppress(ValueError):
        return _load(body, head.dialect), []
    # Then the columns that are asked for: others may hold words, but no line has another number of them.
    if head.names and all(len(head.dialect.values(line)) == head.columns for line in body if line.strip()):
        with contextlib.suppress(ValueError):
            values = _load(body, head.dialect, needed)
            table = np.full((len(values), head.columns), np.nan)
            table[:, needed] = values
            return table, []
    # Then line by line: comments, gaps, quotes; a line that is wrong is named.
    rows, counts = list[list[float]](), list[int]()
    for row in _rows(lines, head, needed, path):
        if isinstance(row, int):
            counts.append(row)
        else:
            rows.append(row)
    return np.array(rows, dtype=np.float64), counts


def _load(body: list[str], dialect: Dialect, columns: Sequence[int] | None = None) -> NDArray[np.float64]:
    delimiter = None if dialect.separator == " " else dialect.separator
    return np.loadtxt(body, delimiter=delimiter, comments=None, ndmin=2, usecols=columns)


def _rows(lines: Sequence[str], head: Head, needed: Sequence[int], path: Path) -> Iterator[list[float] | int]:
    """The values of each line, or the number that stands alone in it."""
    for number in range(head.first, len(lines)):
        bare = _without_comment(lines[number])
        if not bare:
            continue
        values = head.dialect.values(bare)
        # A whole number alone in a line says how many points follow: another cloud begins.
        if len(values) == 1 and values[0].isdecimal():
            yield int(values[0])
            continue
        if 1 + bare.count(head.dialect.separator) == head.columns:  # the last value may be an empty one
            values += [""] * (head.columns - len(values))
        if len(values) != head.columns:
            raise ValueError(
                f"{path}: line {number + 1}: expected {head.columns} values as in line {head.first + 1}, "
                f"got {len(values)}: {bare[:SHOWN]!r}"
            )
        wrong = [column for column in needed if not (NUMBER.fullmatch(values[column]) or _is_gap(values[column]))]
        if wrong:
            raise ValueError(
                f"{path}: line {number + 1}: expected numbers x y z, got {values[wrong[0]][:SHOWN]!r} in column "
                f"{wrong[0] + 1}"
            )
        yield [_value(value) for value in values]


def _is_gap(value: str) -> bool:
    return bool(NO_NUMBER.fullmatch(value))


def _value(text: str) -> float:
    return float(text.replace("d", "e").replace("D", "e")) if NUMBER.fullmatch(text) else float("nan")


def _without_numbering(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without a first column that numbers the points from 0 or 1, in whichever order they stand."""
    count, width = values.shape
    if width < 4 or count < FEWEST_ROWS:
        return values
    # Ten points or more, each number once and none left out: coordinates hardly ever do so.
    numbers = np.sort(values[:, 0])
    return values[:, 1:] if numbers[0] in (0, 1) and np.array_equal(numbers, np.arange(count) + numbers[0]) else values


def _refuse_signed_fourth(values: NDArray[np.float64], path: Path) -> None:
    """ValueError for points with one more value that runs over both sides of 0: a signed distance, as samples have."""
    if values.shape[1] == 4 and np.nanmin(values[:, 3], initial=0) < 0 < np.nanmax(values[:, 3], initial=0):
        raise ValueError(
            f"{path}: a fourth column on both sides of 0 may be signed distances, and then the points are no surface; "
            "name the columns in the first line (such as x y z intensity) if they are"
        )


def _refuse_other_first(values: NDArray[np.float64], path: Path) -> None:
    """ValueError for columns without names of which the first are times, or colours, and no coordinates."""
    if values.shape[1] < 4 or len(values) < FEWEST_ROWS or not np.isfinite(values).all():
        return
    way_out = "name the columns in the first line (such as time x y z), or write x y z first"
    first, others = values[:, 0], np.abs(values[:, 1:4]).max()
    # Seconds since 1970, or since 1980: beside lengths in metres nothing else is so large, and ascends.
    if first.min() > SECONDS and first.min() > 10 * others and (np.diff(first) >= 0).all():
        raise ValueError(f"{path}: its first column ascends from {first[0]:.10g}, as times do: {way_out}")
    steps = np.diff(first)
    if steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-3, atol=0):
        told = f"ascends from {first[0]:.10g} by {steps[0]:.3g} a line, as times and numbers of points do"
        raise ValueError(f"{path}: its first column {told}: {way_out}")
    colours, rest = values[:, :3], values[:, 3:6]
    whole = (colours == np.rint(colours)).all() and colours.min() >= 0 and 1 < colours.max() <= 255
    shares = colours.min() >= 0 and colours.max() <= 1
    placed = (rest != np.rint(rest)).mean() > 0.5 and np.abs(rest).max() > 1 + UNIT_ERROR
    if values.shape[1] == 6 and (whole or shares) and placed:
        most = 255 if whole else 1
        raise ValueError(f"{path}: its first three columns look like colours from 0 to {most}: {way_out}")


def _unnamed_normals(values: NDArray[np.float64], suffix: str) -> list[int] | None:
    """Three columns behind x y z that are vectors of length 1 and look to all sides; colours never do."""
    if suffix == ".xyzn" and values.shape[1] >= 6:
        return [3, 4, 5]
    for start in (3, 4, 6, 7):
        triple = values[:, start : start + 3]
        if triple.shape[1] == 3 and are_normals(triple, unit=True):
            return [start, start + 1, start + 2]
    return None


def are_normals(vectors_N3: NDArray, *, unit: bool) -> bool:
    """Whether columns without a name are normals: some look backwards, which colours do not; `unit`: all of length 1.

    Vectors without numbers, or of length 0, say nothing.
    """
    vectors_N3 = np.asarray(vectors_N3, dtype=np.float64)
    lengths = np.linalg.norm(vectors_N3[np.isfinite(vectors_N3).all(axis=1)], axis=1)
    lengths = lengths[lengths > 0]
    if not len(lengths) or not np.nanmin(vectors_N3) < 0:
        return False
    return not unit or bool((np.abs(lengths - 1) < UNIT_ERROR).all())
