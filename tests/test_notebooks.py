"""Notebooks: their pages are theirs, they are small, and they run."""

import json
from pathlib import Path

import pytest

from tests.tools.notebooks import FOLDER, execute, notebooks, page_of, read_cells

NOTEBOOKS = notebooks()
MOST_BYTES = 400_000  # a checkout stays small


def stem(file: Path) -> str:
    return file.stem


def kinds(cells: list[dict]) -> list[list[str]]:
    """Of each cell with code, what it gave: words, a picture, a value."""
    return [
        [
            output.get("name") or next(iter(sorted(output["data"])))
            for output in cell["outputs"]
            if output.get("name") != "stderr"  # whether a machine is busy
        ]
        for cell in cells
        if cell["cell_type"] == "code"
    ]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=stem)
def test_a_notebook_is_small_and_its_page_and_pictures_are_its_own(file: Path):
    assert file.stat().st_size < MOST_BYTES
    page, pictures = page_of(file)
    assert file.with_suffix(".md").read_text(encoding="utf-8") == page, "python -m tests.tools.notebooks --pages"
    assert {found.name for found in FOLDER.glob(f"{file.stem}-*.png")} == set(pictures)
    assert all((FOLDER / name).read_bytes() == content for name, content in pictures.items())


@pytest.mark.parametrize("file", NOTEBOOKS, ids=stem)
def test_a_notebook_was_run_from_top_to_bottom(file: Path):
    cells = [cell for cell in read_cells(file) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all("traceback" not in output for cell in cells for output in cell["outputs"])
    assert "image/png" in json.dumps(cells) or file.stem == "papers-numbers"


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=stem)
def test_a_notebook_runs(file: Path, tmp_path: Path):
    """On the examples, in a folder of its own; the numbers of another processor may differ, what is shown may not."""
    assert kinds(execute(file, tmp_path)) == kinds(read_cells(file))
