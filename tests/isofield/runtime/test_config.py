"""YAML into sections: what is wrong is named by file, key and what was expected; nothing in a file is executed."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import yaml

from isofield.runtime.config import MAX_BYTES, override, read_config, to_plain, to_yaml


@dataclass(frozen=True)
class Part:
    length: float = 0.9
    rule: Literal["a", "b"] = "a"

    def __post_init__(self) -> None:
        if not 0 < self.length <= 1:
            raise ValueError(f"length must be in (0, 1], got {self.length}")


@dataclass(frozen=True)
class Whole:
    steps: int
    folder: Path = Path("there")
    rate: float = 1e-3
    part: Part = field(default_factory=Part)
    parts: tuple[Part, ...] = ()
    maybe: Part | None = None


def read(tmp_path: Path, text: str, *overrides: str) -> Whole:
    file = tmp_path / "my.yaml"
    file.write_text(text)
    return read_config(file, Whole, overrides=overrides)


def refusal(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ValueError) as caught:
        read(tmp_path, text, *overrides)
    return str(caught.value)


def test_sections_nest_and_have_defaults(tmp_path: Path):
    config = read(tmp_path, "steps: 3\nfolder: a/b\nparts:\n  - {length: 0.5}\n  - {rule: b}\nmaybe: {length: 0.25}\n")
    assert config == Whole(3, Path("a/b"), parts=(Part(0.5), Part(rule="b")), maybe=Part(0.25))


def test_scientific_notation_without_a_dot_is_a_number(tmp_path: Path):
    assert read(tmp_path, "{steps: 1, rate: 5e-5}").rate == 5e-5  # YAML 1.1 takes it for a string
    assert read(tmp_path, "{steps: 1}", "rate=1e-4").rate == 1e-4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stesp: 3", ["my.yaml", "unknown key 'stesp'", "did you mean 'steps'?"]),
        ("{steps: 3, part: {lenght: 1}}", ["my.yaml", "unknown key 'part.lenght'", "did you mean 'part.length'?"]),
        ("{steps: 3, parts: [{length: 1}, {ruel: a}]}", ["'parts.ruel'", "did you mean 'parts.rule'?"]),
        ("{steps: 3, maybe: {lenght: 1}}", ["'maybe.lenght'", "did you mean 'maybe.length'?"]),
        ("{steps: 3, xyz: 1}", ["'xyz'", "known keys: steps, folder, rate, part, parts, maybe"]),
        ("{steps: 3, 7: 1}", ["'7'"]),
    ],
)
def test_an_unknown_key_names_file_key_and_the_nearest(tmp_path: Path, text: str, expected: list[str]):
    message = refusal(tmp_path, text)
    assert all(words in message for words in expected), message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("folder: x", ["my.yaml", "steps: missing, and has no default"]),
        ("steps: many", ["my.yaml", "steps: expected a whole number", "got 'many'"]),
        ("steps: 1.5", ["steps: expected a whole number", "got 1.5"]),
        ("steps: [1]", ["steps: expected a whole number", "got [1]"]),
        ("{steps: 1, part: 3}", ["part: expected a section of keys", "got 3"]),
        ("{steps: 1, part: }", ["part: expected a section of keys", "got null"]),
        ("{steps: 1, part: {rule: c}}", ["part.rule:", "'a' or 'b'", "got 'c'"]),
        ("{steps: 1, part: {length: 2}}", ["my.yaml: part: length must be in (0, 1], got 2.0"]),
        ("{steps: 1, parts: [{length: 1}, {length: 0}]}", ["my.yaml: parts.1: length must be in (0, 1], got 0.0"]),
    ],
)
def test_a_wrong_value_names_file_key_expected_and_got(tmp_path: Path, text: str, expected: list[str]):
    message = refusal(tmp_path, text)
    assert all(words in message for words in expected), message


def test_all_wrong_values_are_named_at_once(tmp_path: Path):
    message = refusal(tmp_path, "{steps: many, rate: fast}")
    assert "steps:" in message and "rate:" in message


def test_overrides_reach_into_sections(tmp_path: Path):
    config = read(tmp_path, "steps: 3", "steps=4", "part.length=0.5", "parts=[{rule: b}]", "maybe.rule=b", "folder=x=y")
    assert config == Whole(4, Path("x=y"), part=Part(0.5), parts=(Part(rule="b"),), maybe=Part(rule="b"))
    assert read(tmp_path, "{steps: 3, maybe: {length: 1}}", "maybe=null").maybe is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("steps", "expected KEY=VALUE"),
        ("=3", "expected KEY=VALUE"),
        ("steps.a=3", "steps is a value, not a section"),
        ("part.lenght=1", "did you mean 'part.length'?"),
        ("steps=[1", "is not a YAML value"),
        ("steps=2001-99-99", "is not a YAML value"),
    ],
)
def test_a_wrong_override_says_why(tmp_path: Path, text: str, expected: str):
    assert expected in refusal(tmp_path, "steps: 3", text)


@pytest.mark.parametrize("text", ["a: [1", "a: 1\n\tb: 2", "day: 2001-99-99", "\x00", "[" * 5000, "- &a [*b]"])
def test_what_is_not_yaml_is_refused_by_name(tmp_path: Path, text: str):
    message = refusal(tmp_path, text)
    assert "my.yaml: not a YAML file" in message and len(message) < 2000


@pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "just words"])
def test_what_is_no_mapping_is_refused_by_name(tmp_path: Path, text: str):
    assert "my.yaml: expected a mapping" in refusal(tmp_path, text)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path):
    file = tmp_path / "my.yaml"
    file.write_bytes(b"steps: \xff\xfe\x80")
    with pytest.raises(ValueError, match=r"my\.yaml: "):
        read_config(file, Whole)


def test_a_huge_file_is_refused_unread(tmp_path: Path):
    assert "is no config" in refusal(tmp_path, "steps: 3 #" + "x" * MAX_BYTES)


def test_a_missing_file_names_those_that_are_there(tmp_path: Path):
    (tmp_path / "other.yaml").touch()
    with pytest.raises(FileNotFoundError, match=r"my\.yaml .*other\.yaml"):
        read_config(tmp_path / "my.yaml", Whole)
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "nowhere")):
        read_config(tmp_path / "nowhere" / "my.yaml", Whole)


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!!python/object/new:os.system", "!!python/name:os.system"]
)
def test_tags_execute_nothing(tmp_path: Path, tag: str):
    trace = tmp_path / "executed"
    assert "not a YAML file" in refusal(tmp_path, f"steps: {tag} ['touch {trace}']")
    assert "is not a YAML value" in refusal(tmp_path, "steps: 1", f"steps={tag} ['touch {trace}']")
    assert not trace.exists()


def test_a_bomb_of_aliases_ends_in_a_short_message(tmp_path: Path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [" + ", ".join([f"*a{i - 1}"] * 10) + "]" for i in range(1, 12)]
    bomb = "\n".join(line.partition(": ")[2] for line in lines)  # each line is one element of a list below
    text = "steps:\n" + "\n".join(f"  - {line}" for line in bomb.splitlines())
    message = refusal(tmp_path, text)
    assert "only short values can be repeated" in message and len(message) < 2000


def test_a_structure_that_holds_itself_is_refused(tmp_path: Path):
    assert "steps:" in refusal(tmp_path, "steps: &a [*a]")


def test_written_and_read_again_it_is_the_same(tmp_path: Path):
    config = Whole(3, Path("a/ü"), rate=5e-5, parts=(Part(0.1), Part(rule="b")), maybe=Part(1e-9))
    assert read(tmp_path, to_yaml(config)) == config
    assert list(yaml.safe_load(to_yaml(config))) == [f.name for f in dataclasses.fields(Whole)]
    assert to_plain({"x": (Path("a"), config)}) == {"x": ["a", to_plain(config)]}


def test_overrides_reach_into_lists(tmp_path: Path):
    text = "{steps: 3, parts: [{length: 1}, {rule: b}]}"
    config = read(tmp_path, text, "parts.1.length=0.5", "parts.0={rule: b}")
    assert config.parts == (Part(rule="b"), Part(0.5, rule="b"))
    data: dict = {"a": [[1, 2], [3]]}
    override(data, "a.0.1=7")
    assert data == {"a": [[1, 7], [3]]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("parts.2.length=1", ["no item 2: parts has 2 items, 0 to 1"]),
        ("parts.2={}", ["no item 2", "--set 'parts=[...]'"]),  # nothing is appended in passing
        ("parts.-1.length=1", ["expected the number of an item of parts, got '-1'"]),
        ("parts.first.length=1", ["got 'first'", "0 to 1"]),
        ("parts.length=1", ["got 'length'"]),
        ("parts.+.length=1", ["got '+'"]),
        ("parts..length=1", ["got ''"]),
        ("parts.0.length.5=1", ["length is a value, not a section"]),
        ("parts.0.lenght=1", ["did you mean 'parts.length'?"]),
        ("parts.99999999999999999999.length=1", ["got '99999999999999999999'"]),
        ("none.0=1", ["unknown key 'none'"]),
    ],
)
def test_a_wrong_item_of_a_list_is_named(tmp_path: Path, text: str, expected: list[str]):
    message = refusal(tmp_path, "{steps: 3, parts: [{length: 1}, {rule: b}]}", text)
    assert all(words in message for words in expected), message


def test_an_empty_list_has_no_items():
    with pytest.raises(ValueError, match=r"no item 0: a has 0 items;"):
        override({"a": []}, "a.0=1")


def test_override_creates_missing_sections():
    data: dict = {"a": {"b": 1}}
    override(data, "a.c.d=[1, 2]")
    assert data == {"a": {"b": 1, "c": {"d": [1, 2]}}}
