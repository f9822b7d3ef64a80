"""What all pages share: the script that sorts, in a browser; a template that lacks something writes nothing."""

import re
from pathlib import Path

import jinja2
import pytest

from isofield.evaluation.pairs import Pair
from isofield.evaluation.protocols import find_protocols
from isofield.evaluation.rows import SampleCounts, failed_row
from isofield.evaluation.tables import summarise
from isofield.reports.page import write_page
from isofield.reports.pairs import write_report
from tests.pages import page_of, seen

NUMBERS = {"b10": 0.5, "b9": 0.25, "a": 0.125}  # Chamfer of each shape


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Three shapes under one protocol, from rows as an evaluation has them."""
    (protocol,) = find_protocols(["onet"])
    pairs = [Pair(name, "all", None, None) for name in NUMBERS]
    plain = dict.fromkeys((*protocol.metrics, *protocol.flags), 0.5)
    rows = [
        failed_row(pair, "") | plain | {"status": "done", "chamfer": NUMBERS[pair.name], "watertight": True}
        for pair in pairs
    ]
    evaluation = summarise(rows, protocol, SampleCounts(points=50, iou_points=50), split=None, about={})
    write_report(tmp_path / "report.html", [evaluation], pairs, title="sorted")
    return tmp_path / "report.html"


def cards(dom: str) -> list[str]:
    return re.findall(r'<figure[^>]*data-name="([^"]*)"', dom)


def table(dom: str) -> list[str]:
    """First cells of the table of shapes."""
    return re.findall(r"<tr><th>(.*?)</th>", dom[dom.index('<table class="sortable">') : dom.index('class="settings"')])


def test_buttons_sort_cards_and_heads_sort_tables(page: Path):
    plain = seen(page)
    page_of(plain, scripts=1)
    assert cards(plain) == ["b10", "b9", "a"]  # the worst first
    sorted_ = seen(
        page,
        script="""document.querySelector('button[data-sort="best"]').click();
        document.querySelector(".sortable thead th button").click();""",
    )
    assert cards(sorted_) == ["a", "b9", "b10"] and table(sorted_)[-3:] == ["a", "b9", "b10"]  # 9 before 10
    again = seen(page, script="for (const n of [1, 2]) document.querySelectorAll('.sortable th button')[2].click();")
    assert table(again)[-3:] == ["b10", "b9", "a"]


def test_a_name_turns_no_words_around(tmp_path: Path):
    pairs = [Pair("a\u202eb", "c\u2066", None, None, "lost d\u202e: as well")]
    (protocol,) = find_protocols(["onet"])
    rows = [failed_row(pairs[0], pairs[0].reason)]
    evaluation = summarise(rows, protocol, SampleCounts(points=50, iou_points=50), split=None, about={"run": "e\u202d"})
    write_report(tmp_path / "report.html", [evaluation], pairs, title="f\u2067")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", text)
    for shown in (r"a\u202eb", r"c\u2066", r"lost d\u202e: as well", r"e\u202d", r"f\u2067"):
        assert shown in text


def test_a_template_that_lacks_something_leaves_the_page_that_is_there(tmp_path: Path):
    file = tmp_path / "report.html"
    file.write_text("before")
    with pytest.raises(jinja2.UndefinedError, match="evaluations"):
        write_page(file, "pairs.html.j2", title="x")
    assert file.read_text() == "before" and list(tmp_path.iterdir()) == [file]
