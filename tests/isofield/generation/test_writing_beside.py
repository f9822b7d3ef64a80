"""Meshes are written by a thread while the next one is extracted, and noted in the order of the shapes."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from isofield.commands import generate
from isofield.generation import meshes, surfaces
from tests.commands import call
from tests.isofield.ready_runs import make_run

WORDS = ("--device", "cpu", "--split", "test", "--resolution", "16")


def test_a_mesh_is_written_while_the_next_is_extracted(boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run, begun, extracted = make_run(boxes, tmp_path / "runs"), threading.Event(), []
    write, extract = meshes.write_mesh, surfaces.extract

    def extracting(*given: Any, **more: Any) -> Any:
        extracted.append(threading.current_thread())
        if len(extracted) == 2:
            begun.set()
        return extract(*given, **more)

    def writing(file: Path, mesh: Any) -> None:
        assert begun.wait(30), "the next mesh waits for this one to be written"
        assert threading.current_thread() not in extracted
        write(file, mesh)

    monkeypatch.setattr(surfaces, "extract", extracting)
    monkeypatch.setattr(meshes, "write_mesh", writing)
    assert call(generate.main, "--run", run.path, *WORDS) == 0
    rows = json.loads((run.meshes("test") / "manifest.json").read_text())["shapes"]
    assert [row["name"] for row in rows] == ["boxes/test00", "boxes/test01", "boxes/test02"]
    assert all((run.meshes("test") / row["file"]).is_file() for row in rows)


def test_a_full_disk_ends_it_and_what_is_written_is_noted(boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run, write, files = make_run(boxes, tmp_path / "runs"), meshes.write_mesh, []

    def writing(file: Path, mesh: Any) -> None:
        files.append(file)
        if len(files) == 2:
            raise OSError(28, "No space left on device", str(file))
        write(file, mesh)

    monkeypatch.setattr(meshes, "write_mesh", writing)
    with pytest.raises(OSError, match="No space left"):
        call(generate.main, "--run", run.path, *WORDS)
    assert len(files) == 2
    monkeypatch.setattr(meshes, "write_mesh", write)
    before = files[0].stat().st_mtime_ns
    assert call(generate.main, "--run", run.path, *WORDS) == 0
    assert files[0].stat().st_mtime_ns == before  # noted: not made again
