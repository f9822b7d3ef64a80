"""The real command: killed in the middle and run again, stopped by Ctrl-C, on a full disk, with wrong configs."""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

from data_processing.__main__ import main
from data_processing.store.shape_set import open_shapes
from data_processing.store.shards import Shard
from tests.commands import call, status_of
from tests.data_processing.box_folders import contents, write_boxes
from tests.data_processing.preparation.test_job import timed

ROOT = Path(__file__).resolve().parents[2]


def write_config(folder, **options):
    plain = {"name": "boxes", "input": "raw", "workers": 1, "shard_size": 2} | options
    (folder / "boxes.yaml").write_text(yaml.safe_dump(plain))


def start(folder, *arguments, before=(), preexec=None, **environment):
    """The command in `folder`, with output as text. `before`: what starts it."""
    return subprocess.Popen(
        [sys.executable, *before, "-m", "data_processing", "--config", "boxes.yaml", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preexec or hear_interrupts,
    )


def hear_interrupts() -> None:
    """In the child: a shell that starts tests in the background lets them, and all below, ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(folder, *arguments, **options):
    process = start(folder, *arguments, **options)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Ten boxes, prepared in one go."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_boxes(folder / "raw", chairs=6, tables=4)
    write_config(folder)
    status, out, err = run(folder)
    assert status == 0, err
    assert "10 prepared (scan 10; 0 suspect), 0 failed; train 7, test 3" in out
    return folder


def shapes_in(folder):
    """Names in the shards or parts of a folder."""
    for file in folder.glob("[0-9]*.h5"):
        with Shard(file) as shard:
            yield from shard.done_names


def alive(mark):
    """Processes with this mark in their environment (Linux)."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in file.read_bytes():
                found.append(file.parent.name)
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for left-over workers in /proc")
@pytest.mark.parametrize("stop", [pytest.param(signal.SIGKILL, marks=pytest.mark.slow), signal.SIGINT])
def test_stopped_in_the_middle_and_run_again(undisturbed, tmp_path, stop):
    """Before the second shard gets its name."""
    (tmp_path / "raw").symlink_to(undisturbed / "raw")
    write_config(tmp_path)
    output, mark = tmp_path / "datasets/boxes", uuid.uuid4().hex
    stopped = ("-m", "tests.signalled", signal.Signals(stop).name, "*/shards/00001.h5", "1")
    process = start(tmp_path, before=stopped, MARK=mark)
    out, err = process.communicate(timeout=600)
    assert process.returncode == (130 if stop == signal.SIGINT else -signal.SIGKILL)
    if stop == signal.SIGINT:
        assert "of 10 shapes are finished and kept" in out and "run the same command again" in err
    deadline = time.monotonic() + 120
    while alive(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive(mark) == []
    with pytest.raises(ValueError, match=r"\d of 10 shapes"):
        open_shapes(output)
    finished = {name for folder in ("shards", "parts") for name in shapes_in(output / folder)}
    shard = (output / "shards/00000.h5").stat()
    before = timed(output)
    status, out, err = run(tmp_path)
    assert status == 0, err
    assert contents(output) == contents(undisturbed / "datasets/boxes")
    again = (output / "shards/00000.h5").stat()
    assert (again.st_ino, again.st_mtime_ns) == (shard.st_ino, shard.st_mtime_ns)
    assert set(timed(output)[len(before) :]) == set(open_shapes(output).names) - finished and len(finished) >= 2
    assert len(set(timed(output))) == len(timed(output))
    assert not (output / "parts").exists() and not list(output.rglob(".partial-*"))


def test_a_full_disk_is_one_clear_error_and_loses_nothing(undisturbed, tmp_path):
    resource = pytest.importorskip("resource", reason="files cannot be limited here")
    (tmp_path / "raw").symlink_to(undisturbed / "raw")
    write_config(tmp_path)
    limit = 150_000  # bytes a file: enough for a part, too little for a shard
    status, _, err = run(tmp_path, preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert status == 1 and "Traceback" not in err
    assert "Stopped: 2 of 10 shapes are finished and kept" in err and "run the same command again" in err
    status, _, err = run(tmp_path)
    assert status == 0 and contents(tmp_path / "datasets/boxes") == contents(undisturbed / "datasets/boxes")
    names = timed(tmp_path / "datasets/boxes")
    assert len(names) == len(set(names))


def test_voxel_folders_work_end_to_end_and_failures_exit_2(tmp_path, monkeypatch, capsys):
    grid = np.zeros((20, 30, 40), np.uint8)
    grid[3:15, 5:20, 10:35] = 1
    (tmp_path / "raw/a").mkdir(parents=True)
    np.save(tmp_path / "raw/a/one.npy", grid)
    np.save(tmp_path / "raw/a/none.npy", np.zeros_like(grid))
    nibabel.save(nibabel.Nifti1Image(grid, np.diag([2.0, 2.0, 2.0, 1.0])), tmp_path / "raw/a/two.nii.gz")
    write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert call(main, "--config", "boxes.yaml", "--set", "splits.rule=ratios") == 2
    assert "2 prepared (voxels 2; 0 suspect), 1 failed" in capsys.readouterr().out
    shapes = open_shapes(tmp_path / "datasets/boxes")
    assert shapes.names == ["a/one", "a/two"] and [shape.name for shape in shapes.failed] == ["a/none"]
    np.testing.assert_array_equal(shapes.voxels(0), shapes.voxels(1))
    assert np.isclose(shapes.to_world(1)[0, 0], 25 * 2 / 0.9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalization": {"length": 0.9}}, "unknown key 'normalization'; did you mean 'normalisation'?"),
        ({"splits": {"rule": "publish"}}, "splits.rule"),
        ({"input": "nowhere"}, "input folder nowhere does not exist"),
        ({"input": "empty"}, "empty holds no meshes or voxel files"),
        ({"licences": "no.csv"}, "licences: no.csv does not exist"),
    ],
)
def test_wrong_configs_are_one_line_and_exit_1(tmp_path, monkeypatch, capsys, change, message):
    write_boxes(tmp_path / "raw", chairs=1, tables=0)
    (tmp_path / "empty").mkdir()
    write_config(tmp_path, **change)
    monkeypatch.chdir(tmp_path)
    status, err = status_of(main, "--config", "boxes.yaml"), capsys.readouterr().err
    assert status == 1 and message in err and len(err.splitlines()) == 1
    assert not (tmp_path / "datasets").exists()


def test_shipped_configs_resolve(capsys):
    for file in sorted((ROOT / "configs/data").glob("*.yaml")):
        assert call(main, "--config", file, "--dry-run") == 0 and "normalisation:" in capsys.readouterr().out


def test_the_page_of_what_it_made_is_drawn_in_the_end(tmp_path, monkeypatch, capsys):
    """Also where shapes failed; not where it is not wanted; what cannot be drawn fails no preparation."""
    write_boxes(tmp_path / "raw", chairs=1, tables=1)
    (tmp_path / "raw" / "chair" / "broken.ply").write_text("no mesh")
    write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    words = ["--config", "boxes.yaml", "--set", "splits.rule=ratios"]
    page = Path("datasets/boxes/inspect.html")
    assert call(main, *words, "--no-inspect") == 2 and not page.exists()
    assert "as a page: isofield inspect datasets/boxes" in capsys.readouterr().out
    assert call(main, *words) == 2
    assert f"as a page: {page}" in capsys.readouterr().out
    drawn = page.read_text(encoding="utf-8")
    assert drawn.index('data-name="chair/broken"') < drawn.index("<figure data-name=") and drawn.count("<img") == 2
    page.unlink()
    (page.parent / "report.json").write_text("[]")
    monkeypatch.setattr("data_processing.preparation.report._write_reports", lambda *_: None)
    assert call(main, *words) == 2 and not page.exists()
    assert "could not be drawn now" in capsys.readouterr().out
