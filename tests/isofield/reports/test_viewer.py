"""Shapes turned in a headless browser, from the disk, without a network: every page that has them, in both themes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from data_processing.formats.mesh_files import write_mesh
from isofield.evaluation.comparability import group_candidates
from isofield.evaluation.mask_pairs import folder_masks_to_compare
from isofield.evaluation.pairs import FileTruth, Pair, pairs_of_folders
from isofield.evaluation.protocols import find_protocols
from isofield.evaluation.results import read_candidates
from isofield.evaluation.rows import SampleCounts
from isofield.evaluation.set_rows import Machine, evaluate_sets
from isofield.evaluation.sets import Member, Sets
from isofield.evaluation.tables import summarise, write_json
from isofield.metrics.sets import GenerativeConfig
from isofield.reports.comparison import write_comparison
from isofield.reports.comparison_table import comparison_table
from isofield.reports.pairs import write_report
from isofield.reports.sets import write_sets_report
from tests.browser import Browser
from tests.data_processing.scan_files import save
from tests.data_processing.solids import box
from tests.isofield.outliers.organs import ellipsoid
from tests.plain_ways import evaluate_pairs

pytestmark = pytest.mark.usefixtures("one_thread")
FEW = SampleCounts(points=50, iou_points=50)
LONG, ARABIC = (
    "name " + "x" * 195,
    "\u0643\u0631\u0633\u064a \u202eabc",
)  # right to left, and a letter that turns text around
ALIVE = "document.querySelectorAll('.alive').length"
# Of each canvas: the share of pixels that differ from its first one, and a number that tells its content.
PIXELS = """[...document.querySelectorAll('.view > canvas')].map(canvas => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
  copy.drawImage(canvas, 0, 0);
  const data = new Uint32Array(copy.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  return [data.filter(pixel => pixel !== data[0]).length / data.length,
    data.reduce((sum, pixel) => (sum * 31 + pixel) % 1e9, 0)];
})"""
# Elements that stick out of the window to the right, and could not be scrolled within another.
TOO_WIDE = """document.documentElement.scrollWidth <= innerWidth ? []
  : [...document.querySelectorAll('body *')].filter(one => one.getBoundingClientRect().right > innerWidth
    && !one.closest('details, section')).map(one => one.outerHTML)"""


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "browser") as opened:
        yield opened


def mesh_pairs(folder: Path, count: int) -> list[Pair]:
    """Boxes of other heights, called the worst there is, and one that failed."""
    truth, pairs = folder / "truth.ply", []
    write_mesh(truth, box((0, 0, 0), (1, 2, 3)))
    for number in range(count):
        write_mesh(folder / f"{number}.ply", box((0, 0, 0), (1, 1 + number / count, 3)))
        name = (LONG, ARABIC)[number] if number < 2 else f"shape {number}"
        pairs.append(Pair(name, "all", folder / f"{number}.ply", FileTruth(truth)))
    return [*pairs, Pair("lost", "all", None, FileTruth(truth), f"no prediction {LONG}")]


def of_pairs(folder: Path, pairs: list[Pair]) -> Path:
    protocols = find_protocols(["onet"])
    rows = evaluate_pairs(pairs, protocols, FEW, progress=False, workers=1)
    evaluations = [summarise(rows[one.name], one, FEW, split="test", about={}) for one in protocols]
    write_report(folder / "report.html", evaluations, pairs, title=f"Shapes {LONG}")
    return folder / "report.html"


def of_masks(folder: Path) -> Path:
    """A mask with a piece too much, one moved, and one that is missing."""
    whole = ellipsoid((11.0, 9.0, 7.0), 32).astype(np.uint8)
    extra = whole.copy()
    extra[14:18, 14:18, 20:29] = 1
    frame = np.diag([1.0, 1.0, 2.0, 1.0])
    for name, mask in (("extra", extra), ("moved", np.roll(whole, 2, axis=0)), (LONG[:100], whole)):
        save(folder / "p" / f"{name}.nii.gz", mask, frame)
        save(folder / "g" / f"{name}.nii.gz", whole, frame)
    save(folder / "g" / "lost.nii.gz", whole, frame)
    protocols = find_protocols(["masks"])
    what = folder_masks_to_compare(folder / "p", folder / "g", workers=1)
    rows = evaluate_pairs(what.pairs, protocols, FEW, progress=False, workers=1)
    evaluations = [summarise(rows["masks"], protocols[0], FEW, split=None, about={})]
    write_report(folder / "masks.html", evaluations, what.pairs, title="Masks")
    return folder / "masks.html"


def of_sets(folder: Path) -> Path:
    def members(side: str) -> list[Member]:
        made = []
        for height in (1.0, 2.0, 3.0):
            write_mesh(folder / f"{height}.ply", box((0, 0, 0), (1, height, 3)))
            made.append(Member(f"{side} {height} {LONG}", FileTruth(folder / f"{height}.ply"), ""))
        return made

    sets = Sets(members("sample"), members("reference"), members("training"), "Samples", folder, {"training": ""}, "x")
    settings = GenerativeConfig(points=64, emd_points=64, distances=("chamfer",))
    evaluations = evaluate_sets(
        sets, ("generative",), settings, Machine(light_fields=folder / "fields", progress=False)
    )
    write_sets_report(folder / "sets.html", evaluations, sets)
    return folder / "sets.html"


def of_comparison(folder: Path) -> Path:
    """Three candidates over three shapes, of which one has lost one; names are the worst there are."""
    (protocol,), results = find_protocols(["onet"]), list[Path]()
    for side in range(3):
        for number, name in enumerate((LONG, ARABIC, "shape")):
            write_mesh(folder / "gt" / f"{name}.ply", box((0, 0, 0), (1, 2, 3)))
            if (side, number) != (2, 2):
                write_mesh(folder / str(side) / f"{name}.ply", box((0, 0, 0), (1, 1 + number / 3, 3 - side)))
        pairs = pairs_of_folders(folder / str(side), folder / "gt")
        rows = evaluate_pairs(pairs, [protocol], FEW, progress=False, workers=1)["onet"]
        about = {"predictions": str(folder / str(side)), "ground_truth": str(folder / "gt"), "data_hash": "same"}
        write_json(folder / f"{side}.json", summarise(rows, protocol, FEW, split=None, about=about))
        results.append(folder / f"{side}.json")
    candidates, _ = read_candidates(results, [LONG, ARABIC, "<b>c"])
    tables = [comparison_table(group, [], seed=0) for group in group_candidates(candidates, allow=False)]
    write_comparison(folder / "compare.html", tables, title=f"Runs {LONG}", seed=0)
    return folder / "compare.html"


def checked(window: Browser, page: Path, *, at_least: int) -> None:
    """Every view is drawn, turns with its neighbour under mouse and keys, in both themes, and nothing complains."""
    for dark in (False, True):
        window.theme(dark=dark)
        window.open(page)
        window.value("document.querySelector('[data-turn]').scrollIntoView()")
        window.wait_for(f"{ALIVE} >= {at_least} && {PIXELS}.filter(one => one[0] > 0.01).length >= {at_least}")
        group = "document.querySelector('[data-turn]')"
        count = window.value(f"{group}.querySelectorAll('canvas').length")
        before = window.value(PIXELS)[:count]
        window.drag(".view > canvas", 60, 25)
        window.wait_for(f"{PIXELS}.slice(0, {count}).every((one, n) => one[1] !== {[one[1] for one in before]}[n])")
        assert window.value(f"document.activeElement === {group}")
        dragged = window.value(PIXELS)[:count]
        window.press("ArrowLeft")
        window.wait_for(f"{PIXELS}.slice(0, {count}).every((one, n) => one[1] !== {[one[1] for one in dragged]}[n])")
        assert "degrees around" in window.value(f"{group}.querySelector('[aria-live]').textContent")
        window.press("Home")
        window.wait_for(f"{PIXELS}.slice(0, {count}).every((one, n) => one[1] === {[one[1] for one in before]}[n])")
        assert window.value(f"{group}.getAttribute('aria-label')").endswith("Home goes back")
        for width in (390, 1200):
            window.resize(width, 900)
            assert window.value(TOO_WIDE) == []
    assert window.complaints == []


def test_shapes_of_an_evaluation_turn(window: Browser, tmp_path: Path):
    checked(window, of_pairs(tmp_path, mesh_pairs(tmp_path, 3)), at_least=7)


def test_masks_turn_with_their_disagreement_as_colour(window: Browser, tmp_path: Path):
    page = of_masks(tmp_path)
    checked(window, page, at_least=6)
    # The piece too much is red on the reconstruction: of the pixels that are coloured most are.
    card = "document.querySelector('figure[data-name=extra]')"
    window.value(f"{card}.scrollIntoView()")
    window.wait_for(f"{card}.querySelectorAll('.alive > canvas[width]').length == 2")
    red, blue = window.wait_for(
        """(() => { const canvas = document.querySelectorAll('figure[data-name=extra] canvas')[1];
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data, counts = [0, 0];
        for (let n = 0; n < data.length; n += 4) {
          if (data[n] - data[n + 2] > 40) counts[0]++; if (data[n + 2] - data[n] > 40) counts[1]++; }
        return counts[0] && counts; })()"""
    )
    assert red > 50 and red > 5 * blue
    assert "mm extra" in window.value("document.querySelector('.scale').textContent")


def test_samples_and_what_is_nearest_turn(window: Browser, tmp_path: Path):
    checked(window, of_sets(tmp_path), at_least=6)


def test_candidates_of_a_comparison_turn_together(window: Browser, tmp_path: Path):
    page = of_comparison(tmp_path)
    checked(window, page, at_least=11)  # three truths, and all but one of nine candidates
    # The window was made wider at the end: views that left it come back when they are seen.
    window.value("document.querySelector('figure').scrollIntoView()")
    window.wait_for("document.querySelector('figure').querySelectorAll('canvas').length === 3")
    assert "no picture" in window.value("document.querySelector('figure').textContent")


def test_views_far_away_are_let_go_and_come_back(window: Browser, tmp_path: Path):
    page = of_pairs(tmp_path, mesh_pairs(tmp_path, 50))
    window.open(page)
    window.wait_for(f"{ALIVE} >= 8")
    first = "document.querySelector('.view')"
    assert window.value(ALIVE) < 60 and window.value(f"{first}.classList.contains('alive')")
    window.value("scrollTo(0, 1e6)")
    window.wait_for(f"!{first}.classList.contains('alive') && !{first}.querySelector('canvas') && {ALIVE} >= 4")
    window.value("scrollTo(0, 0)")
    window.wait_for(f"{first}.classList.contains('alive')")
    assert window.complaints == [] and page.stat().st_size < 8_000_000


def test_no_shape_one_shape_and_all_failed(window: Browser, tmp_path: Path):
    for number, pairs in enumerate(([], mesh_pairs(tmp_path, 1)[:1], mesh_pairs(tmp_path, 0))):
        folder = tmp_path / str(number)
        folder.mkdir()
        page = of_pairs(folder, pairs)
        window.open(page)
        assert window.value("document.querySelectorAll('figure').length") == len(pairs)
        if number:  # of the failed one its ground truth is there
            window.wait_for(f"{ALIVE} == {len(pairs) + (number == 1)}")
        assert window.complaints == []


def test_on_paper_and_without_what_it_needs_the_pictures_stay(window: Browser, tmp_path: Path):
    page = of_pairs(tmp_path, mesh_pairs(tmp_path, 1))
    window.open(page)
    window.wait_for(f"{ALIVE} >= 2")
    seen = "(([one]) => getComputedStyle(one).display)(document.querySelectorAll('.view > canvas'))"
    window.ask("Emulation.setEmulatedMedia", media="print")
    assert window.value(seen) == "none" and window.value("document.querySelector('.view img').naturalWidth") == 240
    window.ask("Emulation.setEmulatedMedia", media="")
    # No WebGL, as on some machines from afar: the page says so, in words.
    blind = "HTMLCanvasElement.prototype.getContext = () => null;"
    window.ask("Page.addScriptToEvaluateOnNewDocument", source=blind)
    window.open(page)
    window.wait_for("document.querySelector('.turn-hint').textContent.includes('cannot turn shapes')")
    assert window.value("document.querySelectorAll('.view > canvas').length") == 0
    window.ask("Emulation.setScriptExecutionDisabled", value=True)
    window.open(page)
    window.picture(tmp_path / "plain.png")  # it draws


def test_a_second_finger_zooms_and_nothing_jumps(window: Browser, tmp_path: Path):
    page, group = of_pairs(tmp_path, mesh_pairs(tmp_path, 1)), "document.querySelector('figure:not(.bad) [data-turn]')"
    window.resize(390, 844, mobile=True)
    window.ask("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=3)
    window.open(page)
    window.value(f"{group}.scrollIntoView({{block: 'center'}})")
    window.wait_for(f"{group}.querySelectorAll('.alive').length == 2 && {PIXELS}.every(one => one[0] > 0.01)")
    x, y = window.value(
        "(box => [Math.round(box.x + box.width / 2), Math.round(box.y + box.height / 2)])"
        f"({group}.querySelector('canvas').getBoundingClientRect())"
    )
    number = window.value(f"[...document.querySelectorAll('canvas')].indexOf({group}.querySelector('canvas'))")

    def after(kind: str, **places: tuple[int, int]) -> tuple[float, int]:
        fingers = {"first": 0, "second": 1, "third": 2}
        window.fingers(kind, {fingers[name]: (x + right, y + down) for name, (right, down) in places.items()})
        window.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        share, content = window.value(PIXELS)[number]
        return share, content

    begun = after("Start", first=(0, 0))
    turned = after("Move", first=(20, 0))
    assert turned != begun
    # The second finger, which lies on the other shape, goes along, apart and back, and leaves; a third does nothing.
    assert after("Start", first=(20, 0), second=(170, 0)) == turned
    assert after("Move", first=(20, 40), second=(170, 40)) == turned
    assert after("Move", first=(0, 40), second=(210, 40))[0] > 1.1 * turned[0]
    assert after("Move", first=(20, 40), second=(170, 40)) == turned
    assert after("Start", first=(20, 40), second=(170, 40), third=(0, 70)) == turned
    assert after("Move", first=(20, 40), second=(170, 40), third=(30, 90)) == turned
    assert after("End", third=(30, 90)) == turned
    assert after("End", second=(170, 40)) == turned
    # The finger that stays goes on from where it is, as one that went the same way alone.
    ended = after("Move", first=(40, 40))
    assert ended not in (turned, begun)
    assert after("End") == ended
    window.value(f"{group}.querySelector('canvas').dispatchEvent(new Event('dblclick'))")
    assert after("Start", first=(0, 0)) == begun
    assert after("Move", first=(20, 0)) == turned
    assert after("Move", first=(40, 0)) == ended
    after("End")
    assert window.complaints == []
