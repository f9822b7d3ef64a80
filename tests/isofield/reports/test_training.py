"""The page of runs over their steps: panels in the browser, pictures, strangers' names."""

import re
from pathlib import Path

import numpy as np
import pytest

from isofield.commands import curves as curves_command
from isofield.reports.event_files import TrainingEvents, read_events
from isofield.reports.training import BUCKETS, MOST_PICTURES, draw_panels, thin, write_training_page
from tests.commands import call, status_of
from tests.isofield.reports.written_events import written_run
from tests.pages import HOSTILE, page_of, seen


def test_two_runs_share_panels_in_the_order_of_what_matters(tmp_path: Path):
    events = {name: read_events(written_run(tmp_path / name, scale=n + 1.0).logs) for n, name in enumerate("pq")}
    panels = draw_panels(events)
    assert [each.panel.title for each in panels] == ["loss", "iou", "learning_rate", "points_per_second"]
    assert [(c.run, c.name, c.dashed) for c in panels[0].curves] == [
        (run, name, name == "autoencoder/loss") for run in "pq" for name in ("autoencoder/loss", "validation/loss")
    ]
    assert [curve.best for curve in panels[1].curves] == ["0.99 at 100", "0.98 at 100"]
    assert panels[2].curves[0].best == ""


def test_lines_go_where_the_numbers_are():
    events = TrainingEvents(scalars={"validation/iou": {0: 0.2, 50: 0.8, 100: 0.5}})
    (panel,) = draw_panels({"run": events})
    points = [tuple(map(float, point.split(","))) for point in panel.curves[0].points.split()]
    assert points == [(0, 190), (260, 0), (520, 95)]  # the lowest at the bottom, the highest on top


def test_a_long_curve_keeps_its_peak():
    places = np.stack([np.linspace(0, 1, 100_000), np.zeros(100_000)], axis=1)
    places[54_321, 1] = 1.0
    few = thin(places)
    assert len(few) <= 2 * BUCKETS + 1 and few[:, 1].max() == 1 and (few[-1] == places[-1]).all()


def test_the_page_in_a_browser(tmp_path: Path, capsys):
    runs = [written_run(tmp_path / name, scale=n + 1.0).path for n, name in enumerate(("one", "two"))]
    assert call(curves_command.main, *runs, "--out", tmp_path / "curves.html") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"next: open the page: {tmp_path / 'curves.html'}")
    script = """document.body.dataset.lengths = [...document.querySelectorAll(".curves path:not(.frame)")]
      .map(path => path.getTotalLength() > 0 && getComputedStyle(path).stroke).join("|");
      document.body.dataset.sizes = [...document.images].map(image => image.naturalWidth).join();"""
    dom = seen(tmp_path / "curves.html", script=script)
    strokes = re.search(r'data-lengths="([^"]*)"', dom)[1].split("|")
    assert len(strokes) == 10 and len(set(strokes)) == 2 and "false" not in strokes  # a colour for each run
    assert re.search(r'data-sizes="([^"]*)"', dom)[1] == ",".join(["8"] * 2 * MOST_PICTURES)
    page_of((tmp_path / "curves.html").read_text(encoding="utf-8"), scripts=1)


def test_one_run_has_its_page_in_its_folder_and_a_cut_file_is_told(tmp_path: Path, capsys):
    run = written_run(tmp_path / "run")
    (file,) = run.logs.iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    assert call(curves_command.main, run.path) == 0
    assert f"note: {file}: read up to" in capsys.readouterr().out
    assert str(file) in (run.path / "curves.html").read_text(encoding="utf-8")
    bare = tmp_path / "bare"
    bare.mkdir()
    assert status_of(curves_command.main, bare) == 1
    assert "bare is not a run" in capsys.readouterr().err
    assert status_of(curves_command.main, run.path, run.path) == 1


@pytest.mark.parametrize("name", [HOSTILE, "x" * 200, "שלום/\u202egnp"], ids=ascii)
def test_names_of_strangers_stay_words(tmp_path: Path, name: str):
    events = read_events(written_run(tmp_path, name=name).logs)
    events.scalars[name] = {1: 1.0}
    events.notes.append(name)
    write_training_page(tmp_path / "curves.html", {name: events}, title=name)
    page = page_of((tmp_path / "curves.html").read_text(encoding="utf-8"), scripts=1)
    shown = name.replace("\u202e", "\\u202e")  # it would turn the words behind it around
    assert page.holds(shown) and page.holds(f"reconstruction/{shown}")


def test_no_number_one_number_and_what_is_not_finite(tmp_path: Path):
    for scalars in ({}, {"loss": {3: 1.0}}, {"loss": {3: float("nan"), 4: float("inf")}}):
        events = TrainingEvents(scalars=scalars)
        write_training_page(tmp_path / "curves.html", {"run": events}, title="run")
        page_of(seen(tmp_path / "curves.html"), scripts=1)


def test_a_line_breaks_where_values_are_not_finite_and_the_page_says_so(tmp_path: Path):
    nan, inf = float("nan"), float("inf")
    scalars = {"autoencoder/loss": {0: 1.0, 10: 0.5, 20: nan, 30: inf, 40: 0.5, 50: 0.0, 60: nan}}
    events = TrainingEvents(scalars=scalars | {"validation/loss": {10: nan}, "learning_rate": {0: 1e-4, 60: 1e-4}})
    panels = draw_panels({"run": events})
    assert [(panel.panel.title, len(panel.curves)) for panel in panels] == [("loss", 1), ("learning_rate", 1)]
    first, second = panels[0].curves[0].points.split(" M")
    assert first.split()[0] == "0.0,0.0" and second.split()[-1].endswith(",190.0") and len(second.split()) == 2
    assert panels[0].curves[0].last == "nan" and panels[0].curves[0].best == "0 at 50"
    assert [panels[1].panel.end(end) for end in (panels[1].panel.low, panels[1].panel.high)] == ["5e-05", "0.00015"]
    write_training_page(tmp_path / "curves.html", {"run": events}, title="run")
    page = page_of((tmp_path / "curves.html").read_text(encoding="utf-8"), scripts=1)
    assert page.holds("run: autoencoder/loss: 3 of 7 values are not finite, the first at step 20")
    assert page.holds("run: validation/loss: 1 of 1 values are not finite, the first at step 10")
