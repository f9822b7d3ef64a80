"""A comparison as Markdown, LaTeX, CSV and page: the best in bold, papers apart, strangers' names as words."""

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from isofield.evaluation.comparability import group_candidates
from isofield.evaluation.published_numbers import find_published
from isofield.evaluation.results import read_candidates
from isofield.reports.comparison import names_that_differ, write_comparison
from isofield.reports.comparison_table import OVER_CATEGORIES, OVER_SHAPES, ComparisonTable, comparison_table
from isofield.reports.comparison_texts import latex, markdown, write_texts
from tests.isofield.evaluation.written_results import CHAMFER, written_result
from tests.pages import HOSTILE, page_of, seen

OTHER = {"chair/a": 3.0, "chair/b": 1.0, "table/c": 2.0, "table/d": None}


def tables_of(folder: Path, *values, names=None, published=None, **how) -> list[ComparisonTable]:
    files = [written_result(folder / f"{n}.json", chamfer, **how) for n, chamfer in enumerate(values)]
    groups = group_candidates(read_candidates(files, names)[0], allow=False)
    return [comparison_table(group, find_published(published), seed=0) for group in groups]


def test_means_are_over_shapes_that_all_have_and_the_best_is_bold(tmp_path: Path):
    (table,) = tables_of(tmp_path, CHAMFER, OTHER)
    cells = {line.label: [(cell.value, cell.is_best) for cell in line.cells["chamfer"]] for line in table.lines}
    assert cells == {
        "chair": [(1.5, True), (2.0, False)],
        "table": [(3.0, False), (2.0, True)],  # d failed in one: over c alone
        OVER_CATEGORIES: [(2.25, False), (2.0, True)],
        OVER_SHAPES: [(2.0, True), (2.0, True)],  # equal: both
    }
    assert [line.n for line in table.lines] == [2, 1, 3, 3]
    assert any("Chamfer: means over the 3 of 4 shapes" in note for note in table.notes)
    assert any("1: 1 of 4 shapes failed" in note for note in table.notes)
    everywhere, chair, _ = table.differences
    assert (everywhere.label, chair.label) == ("all shapes", "chair")
    assert (everywhere.differences[0].wins, everywhere.differences[0].losses) == (1, 2)


def test_papers_stand_apart_and_are_never_best(tmp_path: Path):
    (table,) = tables_of(tmp_path, CHAMFER, OTHER, protocol="imnet", published=["IM-NET", "IF-Net"])
    assert table.columns == ["0", "1", "IM-NET"] and table.measured == 2  # IF-Net has no number of this protocol
    (line,) = (line for line in table.lines if line.label == OVER_CATEGORIES)
    assert [(cell.value, cell.is_best) for cell in line.cells["chamfer"]] == [
        (2.25, False),
        (2.0, True),
        (1.524, False),
    ]
    assert "IM-NET (not measured here)" in markdown([table], seed=0)
    assert r"IM-NET$^\dagger$" in latex([table], seed=0)
    (own,) = tables_of(tmp_path, CHAMFER, OTHER, protocol="3dshape2vecset", published=["IF-Net"])
    assert own.lines[-1].label.startswith("mean, of what is not stated") and own.lines[-1].n is None


def test_asked_for_papers_and_none_is_known_is_said(tmp_path):
    (table,) = tables_of(tmp_path, CHAMFER, OTHER, protocol="onet", published=[])
    assert "published: no number is known under onet, only under 3dshape2vecset, imnet, lfd" in table.notes
    (table,) = tables_of(tmp_path, CHAMFER, OTHER, protocol="onet")
    assert not [note for note in table.notes if note.startswith("published")]


def test_one_candidate_has_no_best_and_no_difference(tmp_path: Path):
    (table,) = tables_of(tmp_path, CHAMFER)
    assert not table.differences
    assert not any(cell.is_best for line in table.lines for cell in line.cells["chamfer"])


def test_every_text_says_the_same_numbers(tmp_path: Path):
    tables = tables_of(tmp_path, CHAMFER, OTHER)
    files = write_texts(tmp_path / "out", tables, seed=7)
    words = {file.name: file.read_text(encoding="utf-8") for file in files}
    assert "| chair | 2 | **1.5** | 2 |" in words["compare.md"]
    assert "95% percentile bootstrap over shapes, 10,000 resamples, seed 7" in words["compare.md"]
    assert r"chair & 2 & \textbf{1.5} & 2 &" in words["compare.tex"]
    with open(files[2], encoding="utf-8", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["category"] == "chair" and row["metric"] == "chamfer"]
    assert [(row["column"], row["value"], row["best"]) for row in rows] == [("0", "1.5", "yes"), ("1", "2.0", "")]
    with open(files[3], encoding="utf-8", newline="") as handle:
        first = next(csv.DictReader(handle))
    assert (first["wins"], first["losses"], first["left_out"], first["seed"]) == ("1", "2", "1", "7")


def test_every_line_of_latex_has_as_many_cells_as_its_table(tmp_path: Path):
    text = latex(tables_of(tmp_path, CHAMFER, OTHER, names=["50 % & #1_{x}", "\\b~^$"]), seed=0)
    for body in re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text, flags=re.DOTALL):
        for line in re.findall(r"^(.*) \\\\$", body[1], flags=re.MULTILINE):
            spanned = sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line))
            assert len(re.split(r"(?<!\\)&", line)) + spanned == len(body[0]), line
    assert r"50 \% \& \#1\_\{x\}" in text and r"\textbackslash{}b\textasciitilde{}\textasciicircum{}\$" in text


TEX = "[1cm]* & % $ # _ { } ~ ^ \\ < > | \" ' ` -- ?` %"


def test_latex_has_no_character_that_means_something(tmp_path: Path):
    """What is left of a table without its commands has nothing that TeX reads otherwise; braces are balanced."""
    text = latex(tables_of(tmp_path, {f"{TEX}/a": 1.0}, {f"{TEX}/a": 2.0}, names=[TEX, f"*{TEX}"]), seed=0)
    for line in filter(lambda line: not line.startswith("%"), text.splitlines()):
        plain = re.sub(r"\\[&%$#_{}]", "", line)  # escaped
        assert plain.count("{") == plain.count("}"), line
        cells = re.sub(r" \\\\$", "", re.sub(r"\$\\(down|up)arrow\$|\$\^\\dagger\$|\$n\$|\$-\$", "", plain))
        cells = re.sub(r"\\[a-z]+(\(lr\))?|\{[^{}]*\}", "", cells)
        assert not re.search(r"[%$#_~^\\\[*]", cells), line


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX here (pdflatex)")
def test_latex_is_set_by_tex(tmp_path: Path):
    text = latex(tables_of(tmp_path, {f"{TEX}/a": 1.0}, {f"{TEX}/a": 2.0}, names=[TEX, "b"]), seed=0)
    begin = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
    (tmp_path / "it.tex").write_text(f"{begin}{text}\\end{{document}}\n", encoding="utf-8")
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "it.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and "Missing" not in done.stdout, done.stdout[-2000:]
    assert (tmp_path / "it.pdf").stat().st_size > 5000


@pytest.mark.parametrize("name", [HOSTILE, "a|b\n*c*", "x" * 200, "\u202egnp.exe", "שלום"], ids=ascii)
def test_names_of_strangers_stay_words(tmp_path: Path, name: str):
    chamfer = {f"{name}/{shape}": value for shape, value in CHAMFER.items()}
    tables = tables_of(tmp_path, chamfer, chamfer, names=[name, "other"])
    write_comparison(tmp_path / "compare.html", tables, title=name, notes=[name], seed=0)
    page = page_of((tmp_path / "compare.html").read_text(encoding="utf-8"), scripts=1)
    shown = name.replace("\u202e", "\\u202e")  # it would turn the words behind it around
    assert page.holds(" ".join(name.split()) if "\n" in name else shown) or page.holds(shown)
    lines = [line for line in markdown(tables, seed=0).splitlines() if line.startswith("|")]
    assert "\u202e" not in "".join(lines)
    cells = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
    assert cells == {9, 10}  # of the table, and of the differences


def test_a_number_that_a_shape_cannot_have_leaves_it_out_of_that_mean_alone(tmp_path: Path):
    files = [written_result(tmp_path / f"{n}.json", CHAMFER) for n in range(2)]
    data = json.loads(files[1].read_text())
    data["per_shape"][0]["iou"], data["per_shape"][1]["iou"] = None, 0.75
    files[1].write_text(json.dumps(data))
    (group,) = group_candidates(read_candidates(files)[0], allow=False)
    table = comparison_table(group, [], seed=0)
    (chair,) = (line for line in table.lines if line.label == "chair")
    assert [cell.value for cell in chair.cells["iou"]] == [0.5, 0.75]  # of b alone
    assert [cell.value for cell in chair.cells["chamfer"]] == [1.5, 1.5]
    assert "IoU: means over the 3 of 4 shapes that all have it" in table.notes


def test_all_failed_and_no_shape_are_pages_too(tmp_path: Path):
    lost = dict.fromkeys(CHAMFER)
    for values in (lost, {}):
        tables = tables_of(tmp_path, values, values)
        write_texts(tmp_path / "out", tables, seed=0)
        write_comparison(tmp_path / "compare.html", tables, title="none", seed=0)
        page_of(seen(tmp_path / "compare.html"), scripts=1)
        (table,) = tables
        assert [cell.value for cell in table.lines[-1].cells["chamfer"]] == [None, None]
        assert f"nothing can be compared: no shape of {len(values)} has numbers of all candidates" in table.notes


def test_what_differs_most_comes_first(tmp_path: Path):
    (table,) = tables_of(tmp_path, CHAMFER, OTHER)
    assert names_that_differ(table.group) == ["table/d", "chair/a", "chair/b", "table/c"]


def test_who_is_first_is_read_first_in_any_script(tmp_path: Path):
    names = ["كرسي", "طاولة"]
    tables = tables_of(tmp_path, CHAMFER, OTHER, names=names)
    write_comparison(tmp_path / "c.html", tables, title="t", seed=0, pictures=0)
    script = """const heads = [...document.querySelectorAll(".compared tbody th")];
      const pair = heads.find(head => head.textContent.includes(", "));
      const texts = document.createTreeWalker(pair, NodeFilter.SHOW_TEXT), lefts = {};
      while (texts.nextNode()) for (const name of NAMES) {
        const node = texts.currentNode, start = node.data.indexOf(name), range = document.createRange();
        if (start < 0) continue;
        range.setStart(node, start); range.setEnd(node, start + name.length);
        lefts[name] = range.getBoundingClientRect().left;
      }
      document.body.dataset.lefts = NAMES.map(name => Math.round(lefts[name])).join();"""
    dom = seen(tmp_path / "c.html", script=script.replace("NAMES", json.dumps(names)))
    first, second = map(int, re.search(r'data-lefts="([^"]*)"', dom)[1].split(","))
    assert first < second
