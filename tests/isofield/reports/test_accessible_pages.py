"""Every page on a phone, by keyboard, as a screen reader hears it, on paper and without JavaScript."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_processing.formats.mesh_files import write_mesh
from data_processing.preparation.config import DataConfig
from data_processing.preparation.job import prepare_folder
from isofield.commands.prepare import draw_page
from isofield.outliers.analysis.report import write_report
from isofield.outliers.analysis.rows import Row, new_row
from isofield.outliers.analysis.scan_pages import scan_page
from isofield.outliers.analysis.shape_files import write_shape
from isofield.reports.event_files import read_events
from isofield.reports.training import write_training_page
from isofield.runtime.config import build
from tests.browser import Browser
from tests.data_processing.solids import box
from tests.isofield.outliers.comparison.test_pictures import shown
from tests.isofield.reports.test_viewer import (
    ARABIC,
    LONG,
    PIXELS,
    TOO_WIDE,
    mesh_pairs,
    of_comparison,
    of_masks,
    of_pairs,
    of_sets,
)
from tests.isofield.reports.written_events import written_run

pytestmark = pytest.mark.usefixtures("one_thread")
TURNED = ("evaluation", "masks", "samples", "comparison", "scan")
PAGES = (*TURNED, "folder", "dataset", "curves")
# Shapes of these turn by the same code as those of an evaluation and of a scan: minutes of drawing for the slow tests.
ALIKE = ("masks", "samples", "comparison")
MOST = [pytest.param(name, marks=pytest.mark.slow) if name in ALIKE else name for name in PAGES]
FOCUS = "document.activeElement"
# What is reached by Tab and has no outline when it is.
UNSEEN_FOCUS = f"getComputedStyle({FOCUS}).outlineStyle === 'none' && {FOCUS}.outerHTML"
# Tiles over which their words stick out, and names in a column in which hardly a word has room.
SQUEEZED = """[...document.querySelectorAll('.summary > div, tbody th:first-child')].filter(one => one.offsetWidth
  && (one.tagName === 'TH' ? one.offsetWidth < 80 && !one.closest('.settings') : one.scrollWidth > one.offsetWidth))"""
NAMED = {"image", "img", "canvas", "button", "link", "slider", "combobox", "spinbutton", "searchbox", "checkbox"}
NAMED |= {"application", "navigation"}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each kind, with the worst names there are."""
    folder = tmp_path_factory.mktemp("pages")
    places = {name: folder / name for name in PAGES}
    for place in places.values():
        place.mkdir()
    events = {LONG: read_events(written_run(places["curves"], name="run").logs)}
    write_training_page(places["curves"] / "curves.html", events, title=f"Curves {LONG}")
    of_data(places["dataset"])
    return {
        "evaluation": of_pairs(places["evaluation"], mesh_pairs(places["evaluation"], 3)),
        "masks": of_masks(places["masks"]),
        "samples": of_sets(places["samples"]),
        "comparison": of_comparison(places["comparison"]),
        "folder": of_folder(places["folder"]),
        "scan": scan_page(places["folder"], ARABIC),
        "dataset": places["dataset"] / "inspect.html",
        "curves": places["curves"] / "curves.html",
    }


def of_data(folder: Path) -> None:
    """Two boxes, and a file that is none."""
    for name in (LONG, ARABIC.split()[0]):  # others cannot name a shape
        write_mesh(folder / "raw" / "boxes" / f"{name}.ply", box((0, 0, 0), (1, 2, 3)))
    (folder / "raw" / "boxes" / "<script>alert(1)<.ply").write_text("no mesh")
    contents = {"voxels": 64, "levels": True}
    settings = {"name": "set", "input": folder / "raw", "output": folder, "workers": 1, "contents": contents}
    prepare_folder(build(DataConfig, settings, where="test"), draw=draw_page)


def of_folder(folder: Path) -> Path:
    rows = list[Row]()
    for place, organ in enumerate(("liver", LONG)):
        one = shown(extra=not place)
        shape = write_shape(folder, ARABIC, organ, one.view, one.compared)
        numbers = {"score": 2.0, "dice": 0.9, "hd95": 3.0, "assd": 0.5, "volume_ml": 7.0, "p": 0.01 + 0.5 * place}
        status = "OK" if place else "OUTLIER"
        rows.append(new_row(ARABIC, "f.nii", organ, status, "why", flagged=not place, shape=shape, **numbers))
    rows.append(new_row(LONG, "l.nii", "", "ERROR", f"cannot be read: {LONG}"))
    return write_report(folder, rows, [], fpr=0.05, title=f"masks {LONG}")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def window(browser: Browser) -> Iterator[Browser]:
    """The one window, as it was opened."""
    browser.complaints.clear()
    browser.resize(1200, 900)
    yield browser
    browser.ask("Emulation.setScriptExecutionDisabled", value=False)
    browser.ask("Emulation.setTouchEmulationEnabled", enabled=False)
    browser.ask("Emulation.setEmulatedMedia", media="")


def drawn(window: Browser) -> list[list[float]]:
    """Canvases of the first group in the window, when all of them show something; they are made when it is seen."""
    window.value("document.querySelector('[data-turn]')?.scrollIntoView({block: 'center'})")
    found: list[list[float]] = window.wait_for(
        f"(all => all.length && all.every(one => one[0] > 0.01) && all)({PIXELS})"
    )
    return found


@pytest.mark.parametrize("name", MOST)
def test_on_a_phone_fingers_turn_shapes_and_scroll_the_page(name: str, window: Browser, pages: dict[str, Path]):
    window.resize(390, 844, mobile=True)
    window.ask("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=1)
    window.open(pages[name])
    if name in TURNED:
        before, top = drawn(window), window.value("scrollY")
        window.touch("[data-turn] canvas", 90, 5)
        window.wait_for(f"{PIXELS}.some((one, n) => one[1] !== {[one[1] for one in before]}[n])")
        assert window.value("scrollY") == top
        turned = drawn(window)
        window.touch("[data-turn] canvas", 2, -150)
        window.wait_for(f"scrollY !== {top}")
        assert window.value(PIXELS)[0] == turned[0]
    assert window.value("[innerWidth, document.documentElement.scrollWidth]") == [390, 390]
    window.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert window.value(f"{SQUEEZED}.map(one => [one.offsetWidth, one.scrollWidth, one.outerHTML])") == []
    assert window.value(TOO_WIDE) == [] and window.complaints == []


@pytest.mark.parametrize("name", PAGES)
def test_everything_is_reached_by_keys_and_the_place_is_seen(name: str, window: Browser, pages: dict[str, Path]):
    window.open(pages[name])
    window.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    count = window.value("document.querySelectorAll('[data-turn], button, a, input, select, summary').length")
    reached = []
    for _ in range(min(count, 40)):
        window.press("Tab")
        if window.value(f"{FOCUS} === document.body"):
            break
        assert window.value(UNSEEN_FOCUS) is False
        reached.append(window.value(f"{FOCUS}.dataset.turn === '' ? 'turn' : {FOCUS}.tagName"))
        if reached[-1] == "turn":
            before = drawn(window)
            window.press("ArrowRight")
            window.wait_for(f"{PIXELS}.some((one, n) => one[1] !== {[one[1] for one in before]}[n])")
            break
    assert ("turn" in reached) == (name in TURNED)
    if window.value("!!document.querySelector('.sortable')"):
        window.value("document.querySelector('.sortable th button').focus()")
        names = "[...document.querySelector('.sortable').tBodies[0].rows].map(row => row.cells[0].textContent)"
        first = window.value(names)
        window.press("Enter")
        window.press("Enter")  # the other way round
        assert window.value("document.querySelector('.sortable th').ariaSort") == "descending"
        assert window.value(names)[0] != window.value(names)[-1] and sorted(window.value(names)) == sorted(first)
    assert window.complaints == []


@pytest.mark.parametrize("name", PAGES)
def test_a_screen_reader_has_a_name_for_everything(name: str, window: Browser, pages: dict[str, Path]):
    window.open(pages[name])
    window.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    if name in TURNED:
        drawn(window)
    nodes = [node for node in window.ask("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    roles = [node["role"]["value"] for node in nodes]
    assert [node for node in nodes if node["role"]["value"] in NAMED and not said(node)] == []
    assert roles.count("main") == 1 and ("application" in roles) == (name in TURNED)
    levels = [level(node) for node in nodes if node["role"]["value"] == "heading"]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels)), levels
    assert window.value("document.documentElement.lang") == "en"
    assert window.value("[...document.images].every(one => one.hasAttribute('alt'))")
    assert window.value("[...document.querySelectorAll('table')].every(one => one.querySelector('th'))")
    # Within what takes the arrow keys a reader cannot walk: only names of views stand there.
    text = "[...document.querySelectorAll('[data-turn]')].every(one => !one.querySelector('p, small, dl, table'))"
    assert window.value(text)


def said(node: dict[str, Any]) -> str:
    return str(node.get("name", {}).get("value", "")).strip()


def level(node: dict[str, Any]) -> int:
    return int(next(one["value"]["value"] for one in node["properties"] if one["name"] == "level"))


@pytest.mark.parametrize("name", MOST)
def test_on_paper_and_without_javascript_pictures_and_words_stay(name: str, window: Browser, pages: dict[str, Path]):
    window.theme(dark=True)
    window.open(pages[name])
    if name in TURNED:
        drawn(window)
    window.ask("Emulation.setEmulatedMedia", media="print", features=[])
    assert window.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    hidden = "[...document.querySelectorAll('.view > canvas')].every(one => getComputedStyle(one).display === 'none')"
    pictures = "[...document.images].filter(one => one.closest('figure')).map(one => one.offsetWidth)"
    least = 240 if name == "curves" else 0  # the page of curves has no picture here
    if name != "scan":  # there the slices are canvases, and stay
        assert window.value(hidden) and (name == "folder" or min(window.value(pictures), default=least) > 100)
    window.ask("Emulation.setEmulatedMedia", media="screen")
    window.ask("Emulation.setScriptExecutionDisabled", value=True)
    window.open(pages[name])
    words = {"scan": "liver", "folder": "cannot be read"}.get(name, "")
    assert window.value("!document.documentElement.classList.contains('scripted')")
    assert words in window.value("document.body.innerText")
    if name not in ("folder", "scan"):
        assert min(window.value(pictures), default=least) > 100
    assert window.value("[...document.querySelectorAll('[data-mesh]')].every(one => !one.querySelector('canvas'))")
