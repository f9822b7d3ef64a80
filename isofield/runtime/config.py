"""YAML into typed, frozen dataclasses: `yaml.safe_load`, nothing unknown accepted, `a.b=value` overrides.

Holds no section of its own: each package keeps its sections beside the code that uses them.
"""

import dataclasses
import functools
import re
import reprlib
import types
import typing
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import pydantic
import yaml

from isofield.runtime.hints import did_you_mean
from isofield.runtime.reasons import reason_of
from isofield.runtime.shipped import find_config

T = TypeVar("T")
MAX_BYTES = 1 << 18
MAX_NUMBER = 400  # characters, and of a value that is repeated
# No UTF-8, a date such as 2001-99-99, too many levels, and what tags such as !!bool raise over other words.
NOT_YAML = (yaml.YAMLError, ValueError, RecursionError, AttributeError, LookupError, TypeError, ArithmeticError)
PLAIN_YAML = "expected KEY: VALUE, brackets and quotes closed, and no tabs before it"
SHORT = reprlib.Repr()  # of values in errors: aliases can make a small file a huge value
SHORT.maxlevel, SHORT.maxstring = 2, 200
# What is expected by the kinds of error that pydantic knows, by how their names begin.
EXPECTED = {
    "int_": "a whole number",
    "float_": "a number",
    "bool_": "true or false",
    "string_type": "text",
    "path_": "a path",
    "list_": "a list",
    "tuple_": "a list",
    "dict_": "a section of keys",
    "dataclass_": "a section of keys",
}


def read_config(path: Path | str, schema: type[T], *, overrides: Sequence[str] = ()) -> T:
    """Read a YAML file into `schema` (a dataclass), after applying overrides such as `training.steps=100`.

    Raises FileNotFoundError, or ValueError that names file, key, what was expected and the nearest known key.
    """
    return build(schema, read_yaml(path, overrides=overrides), where=str(path))


def read_yaml(path: Path | str, *, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The mapping in a YAML file, or in a shipped one of that name, overrides applied; values are plain data only."""
    path = find_config(path)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: {path.stat().st_size} bytes is no config (limit {MAX_BYTES})")
    try:
        data = _plain_yaml(path.read_text(encoding="utf-8"))
    except NOT_YAML as error:
        raise ValueError(f"{path}: not a YAML file: {_yaml_reason(error)}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected a mapping of keys to values, got {type(data).__name__}")
    for text in overrides:
        override(data, text)
    return data


def _yaml_reason(error: Exception) -> str:
    """Where it stops to be YAML, with the line itself; the words only where they are ours."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return reason_of(error, otherwise="it is no text in UTF-8, or a value in it makes no sense")
    ours = error.problem if isinstance(error, _RefusedYamlError) else PLAIN_YAML
    line = (mark.get_snippet(indent=0) or "").partition("\n")[0].strip()[:200]
    return f"line {mark.line + 1}, column {mark.column + 1}: {ours}" + (f", got {line!r}" if line else "")


def build(schema: type[T], data: Mapping[str, Any], *, where: str) -> T:
    """Check plain data against a dataclass and build it. `where` names the file in errors."""
    _refuse_unknown(schema, data, where, "")
    try:
        return cast(T, _adapter(cast(Hashable, schema)).validate_python(data))
    except pydantic.ValidationError as error:
        # All that is wrong at once, each once: one run then mends the whole file.
        lines = [f"{where}: {_key(item['loc'])}: {_reason(item)}" for item in error.errors()]
        raise ValueError("\n".join(dict.fromkeys(lines))) from error


def to_plain(config: Any) -> Any:
    """A config as plain data (dict, list, str, int, float, bool, None), ready for YAML, JSON or a checkpoint."""
    if dataclasses.is_dataclass(config):
        return {field.name: to_plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(key): to_plain(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_plain(value) for value in config]
    return str(config) if isinstance(config, Path) else config


def to_yaml(config: Any) -> str:
    """A config as YAML text, keys in the order of the dataclass."""
    return yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True)


def override(data: dict[str, Any], text: str) -> None:
    """Set one key, given as `a.b=value` with a YAML value, in nested plain data. ValueError when it cannot be.

    Items of a list go by their number, from 0: `training.stages.0.points=4096`. A list is made no longer this way.
    """
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ValueError(f"--set {text}: expected KEY=VALUE, such as training.batch_shapes=8")
    names = key.split(".")
    parts: Any = data
    for depth, name in enumerate(names[:-1]):
        if isinstance(parts, list):
            parts = parts[_item(parts, name, text, ".".join(names[:depth]))]
        else:
            # A section that the file leaves out may be set: it is checked with all others later.
            parts = parts.setdefault(name, {})
        if not isinstance(parts, dict | list):
            raise ValueError(f"--set {text}: {name} is a value, not a section")
    last: Any = names[-1]
    if isinstance(parts, list):
        last = _item(parts, last, text, ".".join(names[:-1]))
    try:
        parts[last] = _plain_yaml(value)
    except NOT_YAML as error:
        raise ValueError(f"--set {text}: {value!r} is not a YAML value") from error


def _item(items: Sequence[Any], name: str, text: str, key: str) -> int:
    """The number of an item that is there; ValueError for anything else, with what a user may have meant."""
    there = f"{key} has {len(items)} item{'' if len(items) == 1 else 's'}" + (
        f", 0 to {len(items) - 1}" if len(items) else ""
    )
    whole = f"to change its length set the whole list: --set '{key}=[...]'"
    if not re.fullmatch("[0-9]{1,9}", name):
        raise ValueError(f"--set {text}: expected the number of an item of {key}, got {name!r}: {there}; {whole}")
    if int(name) >= len(items):
        raise ValueError(f"--set {text}: there is no item {int(name)}: {there}; {whole}")
    return int(name)


class _RefusedYamlError(yaml.MarkedYAMLError):
    """YAML that is not read; the problem is said in our words."""


class _Loader(yaml.SafeLoader):
    """Plain data, each key once. No aliases but for short values: they make a small file huge data, or endless.

    Merges of mappings multiply too, and numbers by 60 take hours.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        # The event is consumed by composing the node: where it stands is noted before.
        place = self.peek_event().start_mark if self.check_event(yaml.AliasEvent) else None
        node = super().compose_node(parent, index)
        if place and not (isinstance(node, yaml.ScalarNode) and len(node.value) <= MAX_NUMBER):
            raise _RefusedYamlError(None, None, "only short values can be repeated by '*'", place)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise _RefusedYamlError(None, None, "'<<' is not supported", node.start_mark)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        if isinstance(node, yaml.MappingNode):
            # PyYAML lets the last of two equal keys win without a word.
            counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            for key in (key for key, count in counts.items() if count > 1):
                raise _RefusedYamlError(None, None, f"the key {key!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: Any) -> Any:
        if len(node.value) > MAX_NUMBER and node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
            raise _RefusedYamlError(None, None, "a number of too many digits", node.start_mark)
        return super().construct_scalar(node)


def _plain_yaml(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _refuse_unknown(schema: Any, data: Any, where: str, prefix: str) -> None:
    for section in _sections(schema):
        if not isinstance(data, Mapping):
            return
        known = _hints(section)
        for key, value in data.items():
            if key not in known:
                hint = did_you_mean(str(key), known, prefix=prefix) or "known keys: " + ", ".join(known)
                raise ValueError(f"{where}: unknown key '{prefix}{key}'; {hint}")
            if _sections(known[key]):  # lists of 50,000 names hold none
                for item in value if isinstance(value, list) else [value]:
                    _refuse_unknown(known[key], item, where, f"{prefix}{key}.")


# Made once for each class: a shard's header costs 5 ms otherwise, and a streamed batch reads dozens.
@functools.cache
def _adapter(schema: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(schema)


@functools.cache
def _hints(section: Any) -> dict[str, Any]:
    """The fields of a dataclass, in order, and their types."""
    hints = typing.get_type_hints(section)
    return {field.name: hints[field.name] for field in dataclasses.fields(section)}


@functools.cache
def _sections(annotation: Any) -> list[Any]:
    """The dataclass inside an annotation such as `Section`, `Section | None` or `list[Section]`, if just one."""
    if dataclasses.is_dataclass(annotation):
        return [annotation]
    if typing.get_origin(annotation) in (list, tuple, typing.Union, types.UnionType):
        found = [section for argument in typing.get_args(annotation) for section in _sections(argument)]
        return found if len(found) == 1 else []
    return []


def _key(location: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in location) or "config"


def _reason(item: Any) -> str:
    kind, got = item["type"], item.get("input")
    if kind == "missing":
        return "missing, and has no default"
    expected = next((words for begin, words in EXPECTED.items() if kind.startswith(begin)), "")
    if kind == "literal_error":
        expected = item["ctx"]["expected"]
    elif kind == "too_long":
        expected = f"at most {item['ctx']['max_length']} items"
    reason = f"expected {expected}" if expected else item["msg"].removeprefix("Value error, ")
    if isinstance(got, dict):
        return f"{reason}, got a section of keys" if expected else reason
    return f"{reason}, got {'null' if got is None else SHORT.repr(got)}"
