"""The page of a scan in a headless browser: slices scroll the right way round, shapes turn, "n" walks the worst."""

import json
import xml.etree.ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from isofield.outliers.analysis.report import write_report
from isofield.outliers.analysis.rows import Row, new_row
from isofield.outliers.analysis.scan_pages import scan_page
from isofield.outliers.analysis.shape_files import write_shape
from isofield.outliers.analysis.slicer_scene import write_scene
from isofield.reports.page import COLOURS
from tests.browser import Browser
from tests.isofield.outliers.comparison.test_pictures import shown
from tests.pages import HOSTILE, page_of

LONG, ARABIC = "scan " + "x" * 195, "\u0643\u0628\u062f \u202eabc"
DRAWN = "[...document.querySelectorAll('.plane output')].every(one => one.textContent.includes(' of '))"
TURNED = "document.querySelectorAll('.turned .alive > canvas').length"
# Of a plane: the middle (x, y) of the pixels of a colour, as shares of its edge, and how many there are.
WHERE = """((plane, colour) => { const canvas = document.querySelectorAll('.plane canvas')[plane];
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
  copy.drawImage(canvas, 0, 0);
  const data = copy.getImageData(0, 0, canvas.width, canvas.height).data, sum = [0, 0, 0];
  for (let n = 0; n < data.length / 4; n++)
    if (colour.every((part, at) => Math.abs(data[4 * n + at] - part) < 3)) {
      sum[0] += n % canvas.width / canvas.width; sum[1] += Math.floor(n / canvas.width) / canvas.height; sum[2]++; }
  return [sum[0] / sum[2], sum[1] / sum[2], sum[2]]; })"""


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "browser") as opened:
        yield opened


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scans: of one the organs have a knob too much, and one too few; names are the worst there are."""
    folder, rows = tmp_path_factory.mktemp("out"), list[Row]()
    numbers = {"score": 2.0, "dice": 0.9, "hd95": 3.0, "assd": 0.5, "volume_ml": 7.0}
    for place, (organ, extra) in enumerate((("liver", True), (ARABIC, False))):
        one = shown(extra=extra)
        shape = write_shape(folder, "a/first", organ, one.view, one.compared)
        p = 0.01 + 0.5 * place
        status = "OK" if place else "OUTLIER"
        rows.append(new_row("a/first", "f.nii", organ, status, "why", p=p, flagged=not place, shape=shape, **numbers))
    rows.append(new_row(LONG, "l.nii", "", "ERROR", f"cannot be read: {LONG}"))
    rows.append(new_row(HOSTILE, "h.nii", HOSTILE, "UNSURE", HOSTILE, p=0.2))
    write_report(folder, rows, [], fpr=0.05, title=f"masks {HOSTILE}")
    return folder


def colour(name: str) -> list[int]:
    blue, green, red = COLOURS[name]
    return [red, green, blue]


@pytest.mark.parametrize("dark", [False, True])
def test_slices_are_radiological_and_scroll_and_shapes_turn(dark: bool, out: Path, window: Browser, tmp_path: Path):
    window.theme(dark=dark)
    window.open(scan_page(out, "a/first"))
    window.wait_for(f"{DRAWN} && {TURNED} == 2")
    window.picture(tmp_path / "scan.png")
    if not dark:
        # The knob is right, in front and above: on the left and up, in the sagittal plane too, whose front is left.
        for plane in range(3):
            extra = window.value(f"{WHERE}({plane}, {colour('pale-extra')})")
            both = window.value(f"{WHERE}({plane}, {colour('both')})")
            assert extra[2] > 100 < both[2] and extra[0] < both[0] and extra[1] < both[1], plane
    before = window.value("[...document.querySelectorAll('.plane canvas')].map(one => one.toDataURL())")
    window.value("document.querySelector('.plane input').focus()")
    window.press("ArrowRight")
    axial, coronal, sagittal = window.value(
        "[...document.querySelectorAll('.plane canvas')].map(one => one.toDataURL())"
    )
    assert axial != before[0] and coronal != before[1] and sagittal != before[2]  # the others mark where it is
    picture = "document.querySelectorAll('.turned canvas')[1].toDataURL()"
    turned = window.value(picture)
    window.drag(".turned canvas", 50, 10)
    window.wait_for(f"{picture} !== {json.dumps(turned)}")
    window.value("document.getElementById('whole').click()")
    window.wait_for(f"{TURNED} == 2")
    for width in (390, 1200):
        window.resize(width, 900)
        assert window.value("document.documentElement.scrollWidth") <= width
    assert window.complaints == []


def test_n_goes_to_the_next_worst_of_the_folder_and_p_back(out: Path, window: Browser):
    """Worst first: the error, the outlier, then what is not sure, then what is as clean masks are."""
    title = "document.querySelector('#chosen h2').textContent"
    seen = []
    window.open(scan_page(out, LONG))
    for _ in range(3):
        window.wait_for("!!document.querySelector('#chosen h2')")
        before = window.value(title)
        seen.append(before)
        window.press("n")
        window.wait_for(f"document.querySelector('#chosen h2') && {title} !== {json.dumps(before)}")
    seen.append(window.value(title))
    names = ("(file)", "liver", HOSTILE, ARABIC.replace("\u202e", "\\u202e"))  # turns nothing around
    assert [name in text for name, text in zip(names, seen, strict=True)] == [True] * 4
    assert "4 of 4 in the folder" in window.value("document.querySelector('.walk').textContent")
    window.press("p")
    window.wait_for(f"document.querySelector('#chosen h2') && {title} === {json.dumps(seen[2])}")
    assert window.complaints == []


def test_the_folder_opens_shapes_in_place_and_leads_to_the_scan(out: Path, window: Browser):
    window.open(out / "report.html")
    window.wait_for("document.querySelectorAll('article').length == 4")
    window.press("n")
    window.press("n")
    canvases = "document.querySelectorAll('.whole .alive > canvas').length"
    window.wait_for(f"{canvases} == 2")
    link = "document.querySelectorAll('article')[1].querySelector('a')"
    window.value(f"{link}.click()")
    window.wait_for(f"document.title === 'a/first' && {TURNED} == 2")
    assert window.complaints == []


def test_a_file_that_is_gone_is_named_and_the_rest_stays(tmp_path: Path, window: Browser):
    row = new_row("scan", "s.nii", "liver", "OK", "why", shape="shapes/scan/liver.js", p=0.5)
    write_report(tmp_path, [row], [], fpr=0.05, title="gone")
    window.open(scan_page(tmp_path, "scan"))
    window.wait_for("document.querySelector('.turn-hint').textContent.includes('liver.js is not beside this page')")
    assert "liver" in window.value("document.querySelector('#chosen').textContent")


def test_names_on_the_page_of_a_scan_stay_text(out: Path):
    page = page_of(scan_page(out, HOSTILE).read_text(encoding="utf-8"), scripts=4)
    assert page.words.count(HOSTILE) >= 4 and page.holds(f"masks {HOSTILE}")
    (card,) = json.loads(page.scripts[0])
    assert (card["scan"], card["organ"], card["reason"]) == (HOSTILE,) * 3


def as_slicer_decodes(text: str) -> str:
    """Only what vtkMRMLNode::URLDecodeString of 3D Slicer turns back, in its order."""
    for code, letter in (("%22", '"'), ("%3C", "<"), ("%3E", ">"), ("%27", "'"), ("%20", " "), ("%25", "%")):
        text = text.replace(code, letter)
    return text


def test_a_scene_leads_to_every_file_from_where_it_lies(tmp_path: Path):
    out, inputs = tmp_path / "out", tmp_path / "in"
    name, organ = "a b%20\"<>'&#+(\u00fc \u0643\u202e\u00df,;=?", "liver \x1b\udcff"
    files = {"agreement": "masks/x%41 y/liver.seg.nrrd", "repaired": "masks/x%41 y/r.nii.gz"}
    row = new_row("s", "sub/" + name + ".nii", organ, "OK", "", **files)
    for file in (*(out / path for path in files.values()), inputs / row["file"]):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    scene = out / "scans" / "deep" / "s.mrml"
    assert write_scene(scene, [row], out=out, inputs=inputs)
    nodes = list(xml.etree.ElementTree.parse(scene).getroot())
    stored = [as_slicer_decodes(node.get("fileName")) for node in nodes if "fileName" in node.attrib]
    assert [(scene.parent / file).resolve() for file in stored] == [
        (inputs / row["file"]).resolve(), *((out / path).resolve() for path in files.values())
    ]  # fmt: skip
    known = {node.get("id") for node in nodes}
    for node in nodes:
        assert {node.get(key) for key in ("storageNodeRef", "displayNodeRef") if key in node.attrib} <= known
    shapes = [node for node in nodes if node.tag == "Segmentation"]
    assert [node.get("name") for node in shapes] == ["liver ?? agreement", "liver ?? repaired"]
    # A file whose name no XML can hold is left out; the scene can still be read.
    (inputs / "a\x01.nii").write_bytes(b"")
    assert write_scene(scene, [row, new_row("s", "a\x01.nii", organ, "OK", "")], out=out, inputs=inputs)
    assert len(xml.etree.ElementTree.parse(scene).getroot()) == len(nodes)
    assert not write_scene(scene, [new_row("s", "s.nii", organ, "ERROR", "")], out=out, inputs=inputs)
    assert not scene.exists()
