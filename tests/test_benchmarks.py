"""The suite of benchmarks runs, writes its table and its file. No time is asserted."""

import json
import mmap
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.benchmarks import bench_cluster, measuring
from tests.benchmarks.measuring import Timing, copy_rate, in_turn, peak_memory, timed
from tests.benchmarks.results import Goal, Result
from tests.benchmarks.setting import Setting
from tests.benchmarks.suite import GROUPS, Rows, main

ROW_KEYS = {"name", "work", "ours", "plain", "ratio", "floor", "share_of_floor", "goals", "note"}


def test_suite_prints_one_table_and_keeps_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "imnet-training", "generative", "--quick", "--device", "cpu", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    header = next(line for line in printed.splitlines() if line.startswith("work "))
    assert header.split()[-2:] == ["share", "target"]
    assert "skipped imnet-schedule: " in printed
    (file,) = tmp_path.iterdir()
    assert f"torch-{torch.__version__}-cpu" in file.name and file.name.endswith("-quick.json")
    content = json.loads(file.read_text())
    assert {"machine", "device", "date", "quick", "rows", "skipped", "rounds"} <= content.keys()
    assert {"cpu", "cores", "threads", "torch", "python"} <= content["machine"].keys()
    names = [row["name"] for row in content["rows"]]
    assert names == [
        "imnet-training, float32",
        "imnet-training, bfloat16",
        "generative, chamfer",
        "generative, emd",
    ]
    for row in content["rows"]:
        assert row.keys() == ROW_KEYS and row["work"] in printed
        assert row["ratio"]["cpu"] == pytest.approx(row["plain"]["cpu"] / row["ours"]["cpu"])
    training = content["rows"][0]
    assert training["share_of_floor"] == pytest.approx(training["floor"]["seconds"] / training["ours"]["wall"])
    assert training["goals"][0]["met"] is None  # sizes are not those that were asked for


def test_every_part_of_the_issue_has_rows() -> None:
    assert {"imnet-mesh", "ifnet-mesh", "preparation", "voxelise", "pairs", "light-field", "views"} <= GROUPS.keys()


def test_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--only", "no-such-work"])
    assert stopped.value.code == 1 and "imnet-training" in capsys.readouterr().err


def test_a_row_that_fails_is_told_and_the_others_stand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(setting: Setting) -> list[Result]:
        raise RuntimeError("out of memory")

    monkeypatch.setitem(GROUPS, "voxelise", Rows(fail))
    monkeypatch.setitem(GROUPS, "views", Rows(lambda setting: [Result("views", "some work", Timing(1.0, 2.0))]))
    assert main(["--only", "voxelise", "views", "--quick", "--device", "cpu", "--out", str(tmp_path)]) == 2
    assert "skipped voxelise: failed with RuntimeError: out of memory" in capsys.readouterr().out
    assert [row["name"] for row in json.loads(next(tmp_path.iterdir()).read_text())["rows"]] == ["views"]


def test_goal_knows_which_side_it_is_on() -> None:
    assert Goal("ratio", 4.1, 4).met and not Goal("ratio", 3.9, 4).met
    assert Goal("seconds", 3.9, 4, at_least=False).met and not Goal("seconds", 4.1, 4, at_least=False).met
    assert Goal("ratio", 9, 4, judged=False).met is None


def test_works_alternate_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []

    def call(name: str) -> int:
        calls.append(name)
        return len(calls)

    times = in_turn({name: partial(call, name) for name in "ab"}, 2, settled=["b"])
    assert calls == ["a", "b", "a", "b", "b", "a", "b", "b"]
    assert times["a"].result == 6 and times["b"].result == 8


@pytest.mark.parametrize("by_the_kernel", [True, False])
def test_peak_is_of_the_work_alone(by_the_kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if by_the_kernel and not measuring._forget_highest():
        pytest.skip("this system keeps no highest memory that can be set back")
    if not by_the_kernel:
        monkeypatch.setattr(measuring, "_forget_highest", lambda: False)

    def take() -> float:
        # Pages of its own: what the C library hands out may be memory that earlier tests left resident.
        ones = np.frombuffer(mmap.mmap(-1, 64 << 20), dtype=np.uint8)
        ones.fill(1)
        if not by_the_kernel:
            time.sleep(1)  # long enough for a thread to be given a core beside other work
        return float(ones.sum())

    _, few = peak_memory(lambda: None)
    timing, many = peak_memory(take)
    assert timing.result == 64 << 20
    assert few < 32 << 20 <= many


def test_rates_and_medians_are_numbers() -> None:
    assert copy_rate(megabytes=1) > 0
    assert isinstance(timed(lambda: 7, 3), Timing) and timed(lambda: 7, 3).result == 7


def test_what_a_cluster_takes_follows_from_two_sizes() -> None:
    grows, slope, start = bench_cluster.costs((100, 400), (5.0, 14.0))  # 2 to start, 0.03 a shape
    assert (slope, start) == (pytest.approx(0.03), pytest.approx(2.0)) and 0.7 < grows < 0.8
    assert bench_cluster.costs((100, 400), (3.0, 12.0))[0] == pytest.approx(1.0)
    assert bench_cluster.wall(slope, start, 35_000, 128) == pytest.approx(2 + 0.03 * 35_000 / 128)


@pytest.mark.slow
def test_all_stages_of_a_cluster_run_on_few_shapes() -> None:
    found = bench_cluster.measure(4)
    assert found.keys() == {"prepare", "train, one epoch", "generate", "evaluate"} and min(found.values()) > 0
