"""What the documents point at is there."""

import re

import pytest

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
