"""torchrun with any number of ranks: what one process makes, byte for byte, also after all of it was killed at work.

Each command once in one process; then started with three ranks, killed -9 in mid-work with all its processes, and
finished by two. Training is in tests/isofield/training/test_loop.py.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_processing.preparation.config import DataConfig
from isofield.run_dir import RunDir
from isofield.runtime.config import to_yaml
from tests.data_processing.box_folders import contents, write_boxes
from tests.isofield.outliers.analysed import brain_values, fingerprint, make_network, write_scan
from tests.isofield.ready_runs import make_run
from tests.small_sets import write_published
from tests.torchrun import killed_torchrun, torchrun

pytestmark = pytest.mark.slow
TRIES = 5  # a busy machine may look too late for the sign


def in_both_ways(command: list[object], out: str, folder: Path, sign: Callable[[Path], bool], status: int = 0) -> None:
    """Fill folder/one in one process, and folder/many by three ranks that are killed and two that finish.

    `out`: the option that names the folder. torchrun ends with 1 where the command does not end with 0.
    """
    words = list(map(str, command))
    torchrun(*words, *out.format(folder / "one").split(), processes=1, statuses=(min(status, 1),))
    many = [*words, *out.format(folder / "many").split()]
    for _ in range(TRIES):
        if killed_torchrun(*many, processes=3, sign=lambda: sign(folder / "many")):
            break
        shutil.rmtree(folder / "many")
    else:
        pytest.fail(f"done before it could be killed, {TRIES} times")
    torchrun(*many, processes=2, statuses=(min(status, 1),))


def test_preparation(tmp_path: Path):
    write_boxes(tmp_path / "raw", chairs=9, tables=5)
    (tmp_path / "raw" / "chair" / "broken.ply").write_text("no mesh")  # and so the status is not 0
    file = tmp_path / "boxes.yaml"
    file.write_text(to_yaml(DataConfig(name="boxes", input=tmp_path / "raw", shard_size=2, workers=1)))
    command: list[object] = ["-m", "data_processing", "--config", file]
    in_both_ways(command, "--set output={}", tmp_path, lambda out: any(out.glob("shards/0*.h5")), status=2)
    one, many = contents(tmp_path / "one"), contents(tmp_path / "many")
    assert one.keys() == many.keys() and sum(name.endswith(".h5") for name in one) == 8
    for name in one:
        if name in ("dataset.json", "report.json"):
            assert plain(one[name]) == plain(many[name])
        else:
            assert one[name] == many[name], name
    assert not list((tmp_path / "many").rglob(".*")) and not (tmp_path / "many" / "parts").exists()


def test_a_rank_without_work_does_not_end_the_others(tmp_path: Path):
    """It knows of a failed shape and ends with 2, upon which torchrun would kill the rank that tries this one again."""
    write_boxes(tmp_path / "raw", chairs=3, tables=0)
    (tmp_path / "raw" / "chair" / "zzz.ply").write_text("no mesh")  # of the second shard
    file = tmp_path / "boxes.yaml"
    config = DataConfig(name="boxes", input=tmp_path / "raw", output=tmp_path / "set", shard_size=2, workers=1)
    file.write_text(to_yaml(config))
    torchrun("-m", "data_processing", "--config", file, processes=1, statuses=(1,))
    torchrun("-m", "data_processing", "--config", file, "--set", "retry_failed=true", statuses=(1,))
    assert "chair/zzz" in (tmp_path / "set" / "timings-1.csv").read_text()


def plain(text: bytes) -> dict[str, Any]:
    """Without where it lies."""
    data = json.loads(text)
    del data["settings"]["output"]
    return data


def test_generation_and_evaluation(tmp_path: Path):
    data = write_published(tmp_path, train=1, test=9)
    run = make_run(data, tmp_path / "runs")
    made = ["--run", run.path, "--split", "test", "--device", "cpu"]
    in_both_ways(
        ["generate.py", *made, "--resolution", 128],
        "--out {}",
        tmp_path / "meshes",
        lambda out: any(out.glob("boxes/*.ply")),
    )
    one, many = tmp_path / "meshes" / "one", tmp_path / "meshes" / "many"
    assert fingerprint(one / "boxes") == fingerprint(many / "boxes") and len(fingerprint(one / "boxes")) == 9
    assert untimed(one / "manifest.json", "shapes") == untimed(many / "manifest.json", "shapes")
    assert not list(many.rglob(".*"))  # nor a lock or journal of the ranks that were killed
    evaluate_in_both_ways(run, one, tmp_path / "tables")


def evaluate_in_both_ways(run: RunDir, meshes: Path, folder: Path) -> None:
    run.meshes("test").parent.mkdir(parents=True)
    run.meshes("test").symlink_to(meshes)
    command: list[object] = ["evaluate.py", "--run", run.path, "--split", "test", "--against", "voxels"]
    command += ["--protocol", "imnet", "--pictures", 3]
    in_both_ways(command, "--out {}", folder, at_work)
    one, many = (seen(folder / name) for name in ("one", "many"))
    assert one == many and {"test-imnet.csv", "test-imnet.json", "report.html"} <= one.keys()
    assert not list((folder / "many").rglob(".*"))


def seen(folder: Path) -> dict[str, str]:
    """The files that are not hidden: each rank has a lock of its own."""
    return {name: digest for name, digest in fingerprint(folder).items() if not Path(name).name.startswith(".")}


def at_work(out: Path) -> bool:
    """Some shapes are evaluated."""
    return sum(file.read_text().count("\n") > 2 for file in out.glob(".rows-*")) > 1


def test_sets_are_judged_once(tmp_path: Path):
    """That is not shared among ranks: the first does it and says so."""
    for side, chairs in (("pred", 3), ("gt", 4)):
        write_boxes(tmp_path / side, chairs=chairs, tables=0)
    command: list[Any] = ["evaluate.py", "--pred", tmp_path / "pred", "--gt", tmp_path / "gt", "--points", 64]
    command += ["--protocol", "generative", "--device", "cpu", "--pictures", 0, "--out"]
    torchrun(*map(str, command), tmp_path / "one", processes=1)
    said = torchrun(*map(str, command), tmp_path / "three", processes=3)
    assert said.count("judging sets of shapes is not shared: the first of 3 processes does it alone") == 1
    assert said.count("report: ") == 1 and seen(tmp_path / "one") == seen(tmp_path / "three")


def test_analysis(tmp_path: Path):
    run = make_network(tmp_path / "runs")
    values, affine = brain_values()
    for number in range(6):
        write_scan(tmp_path / "scans" / f"{number}.nii.gz", values, affine)
    command: list[object] = ["analyse.py", "--models", run.path, "--input", tmp_path / "scans", "--device", "cpu"]
    in_both_ways([*command, "--resume"], "--out {}", tmp_path, lambda out: any(out.glob("masks/*/*.nii.gz")))
    one, many = tmp_path / "one", tmp_path / "many"
    for kept in ("masks", "pictures"):
        assert fingerprint(one / kept) == fingerprint(many / kept) and fingerprint(one / kept)
    assert not list(many.rglob(".*"))
    rows = untimed(one / "results.json", "rows")["rows"]
    assert rows == untimed(many / "results.json", "rows")["rows"] and len(rows) == 12


def untimed(file: Path, key: str) -> dict[str, Any]:
    """A table without the seconds that its rows took."""
    data = json.loads(file.read_text())
    data[key] = [{**row, "seconds": None} for row in data[key]]
    return data
