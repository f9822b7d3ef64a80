"""The report in a browser without a display: sorted, filtered, made when seen, and needing no network."""

import base64
import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from isofield.outliers.analysis.report import write_report
from isofield.outliers.analysis.rows import Row, new_row
from isofield.outliers.comparison.pictures import encoded_thumbnail

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = 'x</script><img src=x onerror="document.title=1">'
COUNT = 2000


def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser here ({', '.join(BROWSERS)}): the page is tested by its text alone")
    return found


def many_rows(count: int = COUNT) -> list[Row]:
    generator = np.random.default_rng(0)
    thumb = base64.b64encode(encoded_thumbnail(generator.integers(0, 255, (64, 256, 3)).astype(np.uint8))).decode()
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


def seen(page: Path, address: str = "", script: str = "") -> str:
    """The page as the browser has it, after a script of the test's own."""
    file = page
    if script:
        file = page.with_name("scripted.html")
        file.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
    words = [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"]
    words += [f"--user-data-dir={page.parent / 'browser'}", "--virtual-time-budget=3000", "--dump-dom"]
    done = subprocess.run(
        [*words, f"{file.as_uri()}{address}"], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


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


def test_worst_first_and_only_what_is_near_is_made(page: Path):
    dom = seen(page)
    titles = shown(dom)
    assert count(dom) == f"{COUNT + 1} of {COUNT + 1}" and 10 < len(titles) < 100
    assert titles[0] == f"{HOSTILE} · {HOSTILE}" and "<title>1</title>" not in dom
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
      document.querySelector("article a").click();
      scrollTo(0, 1e9); dispatchEvent(new Event("scroll"));
    """
    dom = seen(page, script=script)
    outliers = sum(row["status"] == "OUTLIER" for row in many_rows())
    assert count(dom) == f"{outliers} of {COUNT + 1}" and "tile OUTLIER chosen" in dom
    assert len(shown(dom)) > 40 and 'class="whole"' in dom
    # The picture is not beside this page: it says so.
    assert "is not beside this page" in dom and "pictures/scan" in dom
