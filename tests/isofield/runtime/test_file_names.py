"""Names of shapes, scans and organs as files: inside the folder, none lost, usual ones as they are."""

import itertools
from pathlib import Path

import pytest

from isofield.run_dir import mesh_in
from isofield.runtime.atomic_files import write_text

NAMES = [
    "",
    ".",
    "..",
    "../x",
    "a/../../x",
    "/x",
    "//x",
    "a//b",
    "a/",
    "./a",
    "a\\b",
    "a\0b",
    "line\nbreak",
    "\x1b[2Jbell\a",
    "-rf",
    "~root",
    ".hidden",
    "con",
    "CON.nii",
    "Lpt1",
    "C:x",
    "dot.",
    "blank ",
    "a%2Fb",
    "a%",
    "%",
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "caf\u00e9",
    "cafe\u0301",
    "\u0430bc",  # a Cyrillic a
    "abc",
    "ab\u200bc",
    "\u202egnp.exe",
    "broken\udcff",
    "x" * 300,
    "x" * 301,
    "\u00fc" * 150,
    "%" * 200,
    "/".join("y" * 60 for _ in range(90)),
    "/".join("y" * 60 for _ in range(91)),
    "x_input",
    "x",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_a_file_inside(tmp_path: Path, name: str):
    file = mesh_in(tmp_path / "out", name, ".nii.gz", ending="_disagreement")
    write_text(file, "there")
    assert file.resolve().is_relative_to(tmp_path / "out") and file.resolve() != tmp_path / "out"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert str(file).isprintable() and not any(part.startswith((".", "-")) for part in file.relative_to(tmp_path).parts)


def test_no_two_names_are_one_file(tmp_path: Path):
    files = [mesh_in(tmp_path, name, ".ply") for name in NAMES]
    files += [
        mesh_in(tmp_path, name, ".ply", last=organ) for name, organ in itertools.product("st", ["u/v", "..", "u"])
    ]
    files += [mesh_in(tmp_path, name, ".ply", last="v") for name in ("s/u2", "s/%u")]
    files += [mesh_in(tmp_path, name, ".ply", ending="_input") for name in NAMES]
    written = [str(file) for file in files]
    assert sorted(set(written)) == sorted(written)
    for file in files:
        write_text(file, str(files.index(file)))
    assert all(file.read_text() == str(files.index(file)) for file in files)


@pytest.mark.parametrize(
    "name", ["chair/1a2b-3c", "kidney/sub-01/dseg-left", "Stuhl \u00e4 (2)", "liver_2.5mm", "a=b,c"]
)
def test_usual_names_stay_as_they_are(tmp_path: Path, name: str):
    assert mesh_in(tmp_path, name, ".ply") == tmp_path / f"{name}.ply"
    assert mesh_in(tmp_path, "s", ".png", last="liver", ending="_recon") == tmp_path / "s" / "liver_recon.png"
