"""The last lines of a generation: failed shapes by name, and what to type next."""

from pathlib import Path
from typing import Any

import pytest

from isofield.generation.ending import describe_end
from isofield.generation.options import arguments_of

FOLDER = Path("out")


@pytest.fixture(autouse=True)
def called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["isofield", "generate"])
    monkeypatch.setattr("shutil.which", lambda name: name)


def row(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "status": "done", "file": f"{name}.ply", **more}


def failed(name: str) -> dict[str, Any]:
    return {"name": name, "status": "failed", "reason": "no surface"}


def last(rows: list[dict[str, Any]], *words: str, pictures: tuple[Path, ...] = ()) -> str:
    options = arguments_of(["--run", "runs/a b", *words], description=None)
    return describe_end(rows, FOLDER, options, pictures)[-1]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--split", "test"], "next: isofield evaluate --run 'runs/a b' --split test"),
        (["--split", "test", "--data", "d"], "next: isofield evaluate --run 'runs/a b' --split test --data d"),
        (["--split", "test", "--out", "out"], "next: isofield evaluate --pred out --gt FOLDER"),
        (["--samples", "4"], "next: isofield evaluate --run 'runs/a b' --samples"),
        (["--samples", "4", "--out", "out"], "next: isofield evaluate --pred out --gt FOLDER --protocol generative"),
        (["--input", "x.obj"], "next: open out/a.ply"),
    ],
)
def test_the_last_line_says_how_many_and_what_next(words: list[str], expected: str):
    assert last([row("a"), failed("b")], *words) == f"1 meshes, 1 failed; out/manifest.json; {expected}"


def test_masks_are_judged_as_masks_and_walks_are_looked_at():
    assert last([row("a", mask_file="a.nii.gz")], "--split", "test").endswith("--split test --protocol masks")
    assert last([row("a")], "--interpolate", "a", "b", pictures=(Path("out/strip.png"),)).endswith(
        "next: open out/strip.png"
    )


def test_where_nothing_could_be_made_the_reasons_come_first():
    assert "nothing could be made: mend what the reasons name, then run the same" in last(
        [failed("a")], "--split", "test"
    )


def test_failed_shapes_are_named_the_first_ten():
    options = arguments_of(["--run", "r", "--split", "test"], description=None)
    lines = describe_end([failed(f"s{number}") for number in range(12)] + [row("a", note="cut")], FOLDER, options)
    assert lines[0] == "failed: s0: no surface" and lines[9] == "failed: s9: no surface"
    assert lines[10] == "... and 2 more, see out/manifest.json" and lines[11] == "note: a: cut" and len(lines) == 13
