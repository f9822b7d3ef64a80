"""The report in a browser without a display: sorted, filtered, made when seen, and needing no network."""

import base64
import dataclasses
import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from isofield.outliers.analysis.priors import load_priors
from isofield.outliers.analysis.report import write_report
from isofield.outliers.analysis.rows import Row, new_row
from isofield.outliers.scoring.calibration import Calibration
from isofield.outliers.scoring.detector import Detector
from isofield.outliers.scoring.scores import scorer_of
from isofield.reports.canvas import encode_webp
from isofield.run_dir import RunDir
from tests.isofield.outliers.analysed import make_prior
from tests.isofield.outliers.test_hostile_results import judge
from tests.pages import HOSTILE, page_of, seen

COUNT = 2000


def many_rows(count: int = COUNT) -> list[Row]:
    generator = np.random.default_rng(0)
    thumb = base64.b64encode(encode_webp(generator.integers(0, 255, (64, 256, 3)).astype(np.uint8))).decode()
    rows = []
    for number in range(count):
        p = float(generator.random())
        status = "OUTLIER" if p <= 0.05 else "UNSURE" if number % 7 == 0 else "OK"
        known = {"p": p, "score": 1 - p, "dice": p, "hd95": 1.0, "assd": 1.0, "volume_ml": 3.0, "thumbnail": thumb}
        organ = ("liver", "kidney_left", "spleen")[number % 3]
        picture = f"pictures/scan {number}/{organ}.png"
        rows.append(
            new_row(
                f"scan {number}", f"{number}.nii", organ, status, "why", **known, picture=picture, flagged=p <= 0.05
            )
        )
    rows.append(new_row(HOSTILE, "h.nii", HOSTILE, "ERROR", HOSTILE))
    return rows


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tmp_path_factory.mktemp("report"), many_rows(), [], fpr=0.05, title="masks & more")


def shown(dom: str) -> list[str]:
    """Titles of the cards."""
    body = dom[dom.index('<main id="list">') : dom.index('<div id="end">')]
    return [html.unescape(re.sub("<.*?>", "", title)) for title in re.findall(r"<h2>(.*?)<span", body)]


def count(dom: str) -> str:
    return re.search(r'<output id="count">(.*?)</output>', dom)[1]


def test_the_page_holds_everything_and_asks_for_nothing(page: Path):
    text = page.read_text()
    assert not re.search(r'(src|href)="https?:|url\(|@import|fetch\(|XMLHttp', text)
    assert len(text) < 2000 * 20_000 and "masks &amp; more" in text
    (content,) = re.findall(r'<script type="application/json" id="rows">(.*?)</script>', text, flags=re.S)
    rows = json.loads(content)
    assert len(rows) == COUNT + 1 and rows[0]["scan"] == HOSTILE and "<" not in content
    assert [row["p"] for row in rows[1:20]] == sorted(row["p"] for row in rows[1:20])


@pytest.mark.usefixtures("echo")
def test_names_in_an_analysis_stay_text(tmp_path: Path):
    """Also of priors: their organs, their folder, and where their calibration comes from."""
    (prior,) = load_priors([make_prior(tmp_path, count=0).path], device=torch.device("cpu"))
    source = Calibration(np.zeros(1), np.zeros(1), "hash", "data", f"source {HOSTILE}", f"split {HOSTILE}")
    name = HOSTILE.replace("/", "_")  # of a folder
    structure = dataclasses.replace(prior.structures[0], name=f"structure {name}")
    prior = dataclasses.replace(
        prior,
        run=RunDir(tmp_path / f"run {name}"),
        detector=Detector(prior.loaded, prior.preparation, scorer_of(judge()), source),
        structures=(structure,),
        notes=(f"note {HOSTILE}",),
    )
    row = new_row(f"scan {HOSTILE}", "h.nii", f"organ {HOSTILE}", "ERROR", f"reason {HOSTILE}")
    file = write_report(tmp_path, [row], [prior], fpr=0.05, title=f"title {HOSTILE}")
    page = page_of(file.read_text(), scripts=2)
    for words in ("title", "organ", "source", "(split", "note"):
        assert page.holds(f"{words} {HOSTILE}"), words
    assert page.holds(f"structure {name}") and page.holds(f"run {name}")
    (card,) = json.loads(page.scripts[0])
    assert (card["scan"], card["reason"]) == (f"scan {HOSTILE}", f"reason {HOSTILE}")


def test_worst_first_and_only_what_is_near_is_made(page: Path):
    dom = seen(page)
    titles = shown(dom)
    assert count(dom) == f"{COUNT + 1} of {COUNT + 1}" and 10 < len(titles) < 100
    assert titles[0] == f"{HOSTILE} · {HOSTILE}" and page_of(dom, scripts=2).holds(HOSTILE)
    rows = sorted((row for row in many_rows() if row["flagged"]), key=lambda row: row["p"])
    assert titles[1:9] == [f"{row['organ']} · {row['scan']}" for row in rows[:8]]
    assert dom.count('loading="lazy"') == len(titles) - 1


def test_filters_and_sorting_stand_in_the_address(page: Path):
    rows = many_rows()
    dom = seen(page, "#status=UNSURE&organ=spleen&sort=dice&p=0.5")
    wanted = sorted(
        (row for row in rows if row["status"] == "UNSURE" and row["organ"] == "spleen" and row["p"] <= 0.5),
        key=lambda row: row["dice"],
    )
    assert count(dom) == f"{len(wanted)} of {COUNT + 1}"
    assert shown(dom)[:10] == [f"spleen · {row['scan']}" for row in wanted[:10]]
    assert count(seen(page, "#find=scan 77")) == f"{sum('scan 77' in row['scan'] for row in rows)} of {COUNT + 1}"


def test_buttons_details_and_scrolling(page: Path):
    script = """
      document.querySelector('.tile[data-status="OUTLIER"]').click();
      document.querySelector("article button").click();
      scrollTo(0, 1e9); dispatchEvent(new Event("scroll"));
    """
    dom = seen(page, script=script)
    outliers = sum(row["status"] == "OUTLIER" for row in many_rows())
    assert count(dom) == f"{outliers} of {COUNT + 1}" and "tile OUTLIER chosen" in dom
    assert len(shown(dom)) > 40 and 'class="whole"' in dom
    # The picture is not beside this page: it says so.
    assert "is not beside this page" in dom and "pictures/scan" in dom
