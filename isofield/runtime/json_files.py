"""JSON that may come from strangers, and the paths in it: bounded, and never leading out of their folder."""

import json
from pathlib import Path, PurePath
from typing import Any

from isofield.runtime.reasons import reason_of

Row = dict[str, Any]  # what a journal, a table or a report says of one shape, by column
MAX_BYTES = 1 << 27  # objects of Python take up to 25 times as much


def parse_json(text: bytes | str) -> Any:
    """What a JSON text says. ValueError for anything else, of any length and depth."""
    if len(text) > MAX_BYTES:
        raise ValueError(f"{len(text):,} bytes of JSON (limit {MAX_BYTES:,})")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON of too many levels") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON from line {error.lineno}, column {error.colno} on") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"no text in UTF-8 from byte {error.start} on") from error


def read_object(file: Path, *, again: str) -> dict[str, Any]:
    """The JSON object in a file. FileNotFoundError; ValueError that names the file and says `again`."""
    if file.stat().st_size > MAX_BYTES:
        raise ValueError(f"{file}: {file.stat().st_size:,} bytes (limit {MAX_BYTES:,})")
    try:
        data = parse_json(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file}: cut or damaged, not JSON ({reason_of(error)}); {again}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{file}: expected a JSON object, got {type(data).__name__}; {again}")
    return data


def leads_out(below: Any) -> bool:
    """Whether something that a file calls a path below its folder is none: absolute, up, or no text."""
    if not isinstance(below, str) or "\0" in below:
        return True
    path = PurePath(below)  # of Windows too, where drives and backslashes lead elsewhere
    return not path.parts or bool(path.anchor) or ".." in path.parts
