"""Notebooks of docs/notebooks/: `python -m tests.tools.notebooks` runs them, keeps outputs, and writes their pages.

A page (Markdown, its pictures beside it) is what the site shows of a notebook; `--pages` writes pages alone, from the
outputs that are there. Each notebook runs in a folder that holds nothing but the examples, on two threads at most.
"""

import argparse
import base64
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "notebooks"
NOTE = "<!-- Written by `python -m tests.tools.notebooks`: change the notebook, not this page. -->"
MOST_SECONDS = 1500  # of a cell: a notebook takes less than five minutes on two idle cores
COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

Cell = dict[str, Any]


def notebooks() -> list[Path]:
    return sorted(FOLDER.glob("*.ipynb"))


def read_cells(file: Path) -> list[Cell]:
    return json.loads(file.read_text(encoding="utf-8"))["cells"]


def execute(file: Path, folder: Path) -> list[Cell]:
    """The cells with the outputs of a run in `folder`, to which the examples are copied. A cell that fails raises."""
    import nbformat
    from nbclient import NotebookClient

    shutil.copytree(ROOT / "examples", folder / "examples", dirs_exist_ok=True)
    notebook = nbformat.read(file, as_version=4)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": str(ROOT),  # this code, whatever is installed
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
        "TQDM_DISABLE": "1",
        "COLUMNS": "100",
    }
    client = NotebookClient(
        notebook, timeout=MOST_SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=environment)
    return [tidy_cell(cell, folder) for cell in json.loads(nbformat.writes(notebook))["cells"]]


def tidy_cell(cell: Cell, folder: Path) -> Cell:
    """Without times, colours and the folder it ran in; what one stream said is one output."""
    cell["metadata"] = {}
    merged: list[Cell] = []
    for output in cell.get("outputs", []):
        for key in ("text/html", "image/svg+xml"):
            output.get("data", {}).pop(key, None)
        if output["output_type"] == "stream":
            said = COLOURS.sub("", "".join(output["text"])).replace("\r", "").replace(f"{folder}{os.sep}", "")
            if merged and merged[-1].get("name") == output["name"]:
                said = "".join(merged.pop()["text"]) + said
            output["text"] = said.splitlines(keepends=True)
        merged.append(output)
    if "outputs" in cell:
        cell["outputs"] = merged
    return cell


def write_cells(file: Path, cells: Sequence[Cell]) -> None:
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def page_of(file: Path) -> tuple[str, dict[str, bytes]]:
    """The page of a notebook, and the pictures that it shows by their names."""
    pictures: dict[str, bytes] = {}
    parts = list(_parts(read_cells(file), file, pictures))
    title, _, first = parts[0].partition("\n")
    return "\n\n".join([f"{title}\n{NOTE}\n{first}".rstrip(), *parts[1:]]) + "\n", pictures


def _parts(cells: Sequence[Cell], file: Path, pictures: dict[str, bytes]) -> Iterator[str]:
    for cell in cells:
        source = "".join(cell["source"]).rstrip()
        if cell["cell_type"] == "markdown":
            yield source
            continue
        yield f"```python\n{source}\n```"
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{file.stem}-{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode("".join(data["image/png"]))
                yield f"![Output of the cell above]({name})"
            elif text := "".join(output.get("text", data.get("text/plain", ""))).rstrip():
                yield f"```text\n{text}\n```"


def write_page(file: Path) -> None:
    page, pictures = page_of(file)
    file.with_suffix(".md").write_text(page, encoding="utf-8")
    for old in set(FOLDER.glob(f"{file.stem}-*.png")) - {FOLDER / name for name in pictures}:
        old.unlink()
    for name, content in pictures.items():
        (FOLDER / name).write_bytes(content)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.notebooks", description=__doc__)
    parser.add_argument("names", nargs="*", help="stems of notebooks [all]")
    parser.add_argument("--pages", action="store_true", help="write pages only")
    options = parser.parse_args(arguments)
    chosen = [file for file in notebooks() if not options.names or file.stem in options.names]
    for file in chosen:
        if not options.pages:
            with tempfile.TemporaryDirectory() as folder:
                write_cells(file, execute(file, Path(folder)))
        write_page(file)
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size:,} bytes")
    return 0 if chosen else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
