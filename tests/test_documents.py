"""What the documents point at is there."""

import hashlib
import re
import tomllib

import pytest
import yaml

from isofield.runtime.shipped import config_names
from tests.conftest import ROOT

LOG, KEPT = "tests/benchmarks/LOG.md", "tests/data/version_0_1/README.md"
PAGES = sorted(file.relative_to(ROOT).as_posix() for file in (ROOT / "docs").glob("**/*.md"))
DOCUMENTS = (*sorted(file.name for file in ROOT.glob("*.md")), *PAGES, "docs/slurm.sh", LOG, KEPT)
FIRST = r"(?:configs|data_processing|docs|examples|ifnet|imnet|isofield|tests)"
PLACE = re.compile(rf"(?<![\w./<-]){FIRST}/[\w./*-]*[\w/*]|(?<=\]\()[\w./-]+(?=\))")
LINK_TARGET = re.compile(r"\]\([^)\s]+\)")
MADE = ("configs/data/mine.yaml", "configs/data/NAME.yaml")  # by who follows the document; a place holder
MODULE = re.compile(r"python -m ((?:data_processing|ifnet|imnet|isofield|tests)[\w.]*\w)")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_places_and_modules_are_there(document: str):
    text = (ROOT / document).read_text(encoding="utf-8")
    if document in PAGES:  # their links lead from page to page: tests/test_docs.py follows them
        text = LINK_TARGET.sub("]", text)
    places = {place for place in PLACE.findall(text) if place not in MADE}
    names = set(config_names())  # as --config takes them: imnet/small
    assert not [place for place in sorted(places - names) if not list(ROOT.glob(place))]
    for name in MODULE.findall(text):
        path = ROOT.joinpath(*name.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), name


def test_old_places_are_noticed():
    assert PLACE.findall("`tests/engine/test_pulse.py` and [it](isofield/none.py), runs/x/configs/y") == [
        "tests/engine/test_pulse.py",
        "isofield/none.py",
    ]
    assert not (ROOT / "tests/engine/test_pulse.py").exists()


def test_pictures_are_of_this_version_or_said_to_be_older():
    """docs/pictures.yaml names version, digest and commands of each picture that a page shows."""
    listed = yaml.safe_load((ROOT / "docs" / "pictures.yaml").read_text(encoding="utf-8"))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    shown = {file.name: file for file in (ROOT / "docs").iterdir() if file.suffix in (".png", ".gif")}
    assert set(listed) == set(shown)
    for name, made in listed.items():
        assert hashlib.sha256(shown[name].read_bytes()).hexdigest() == made["sha256"], f"{name}: is it of this version?"
        assert made["made"] and all(isinstance(command, str) for command in made["made"]), name
        pages = [page for page in ("README.md", *PAGES) if f"{name})" in (ROOT / page).read_text(encoding="utf-8")]
        assert pages, f"{name} is shown nowhere"
        if not version.startswith(f"{made['version']}."):
            for page in pages:
                assert f"version {made['version']}" in (ROOT / page).read_text(encoding="utf-8"), (
                    f"{page}: {name} is older"
                )
