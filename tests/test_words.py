"""Names of the product are the field's, each for one thing; and the measure of it is right."""

from pathlib import Path

import pytest

from tests.tools.words import MOST_PARTICIPLES, Words, describe, is_participle, measure, product_modules

BAD = '''"""A module."""
# a comment


class Job:  # no line of comment
    @property
    def finished(self): ...

    def stopped(self): ...

    def _kept(self): ...


class DataSection: ...


class Config: ...


def found():
    def made(): ...


def found_by_name(): ...


def seed(): ...
'''


@pytest.fixture(scope="module")
def words() -> Words:
    return measure(product_modules())


def test_a_class_name_means_one_thing(words: Words):
    assert not words.repeated_classes, describe(words)


def test_functions_are_verbs_or_nouns(words: Words):
    assert len(words.participles) < MOST_PARTICIPLES, describe(words)


def test_a_configuration_is_called_config(words: Words):
    assert not words.other_suffixes, describe(words)


def test_what_is_measured(tmp_path: Path):
    """Two modules that break every rule, and what only looks like it."""
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(BAD)
    words = measure([tmp_path / "a.py", tmp_path / "b.py"], tmp_path)
    assert {name: [p.module for p in places] for name, places in words.repeated_classes.items()} == {
        "DataSection": ["a.py", "b.py"],
        "Job": ["a.py", "b.py"],
    }
    assert [(p.name, p.module) for p in words.participles] == [
        (name, module) for module in ("a.py", "b.py") for name in ("stopped", "found")
    ]
    assert [p.module for p in words.other_suffixes] == ["a.py", "b.py"]
    assert (words.comment_lines, words.lines) == (2, 2 * len(BAD.splitlines()))
    told = describe(words)
    assert "a.py:20 found" in told and "DataSection: a.py, b.py" in told


@pytest.mark.parametrize(("name", "expected"), [("kept", True), ("observed", True), ("seed", False), ("split", False)])
def test_participles_are_known(name: str, expected: bool):
    assert is_participle(name) is expected
