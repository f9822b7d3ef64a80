"""Cores by affinity and CPU quota: control groups of both versions, as Linux lays them out in files."""

import os
from pathlib import Path

import pytest

from isofield.runtime import cores
from isofield.runtime.cores import cpu_quota, describe_cores, own_cores, usable_cores


def make_groups(
    folder: Path, *, version: int, group: str, root: str = "/", files: dict[str, str], mount: str = "cgroup"
) -> Path:
    """/proc/self and the mounted groups; `files`: their content by path below the mount. Returns the former."""
    proc, place = folder / "proc", folder / mount
    proc.mkdir(parents=True)
    kind, name, options = {1: ("cgroup", "5:cpu,cpuacct", "rw,cpu,cpuacct"), 2: ("cgroup2", "0:", "rw")}[version]
    (proc / "cgroup").write_text(f"7:memory:/elsewhere\n{name}:{group}\n")
    mounted = str(place).replace(" ", "\\040")
    (proc / "mountinfo").write_text(
        f"22 1 8:1 / / rw - ext4 /dev/sda rw\n"
        f"30 22 0:26 / {folder}/memory rw,nosuid shared:4 - cgroup cgroup rw,memory\n"
        f"31 22 0:27 {root} {mounted} rw,nosuid shared:5 - {kind} cgroup {options}\n"
    )
    for below, text in files.items():
        file = place / below
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return proc


@pytest.mark.parametrize(
    ("version", "group", "root", "files", "expected"),
    [
        (2, "/", "/", {"cpu.max": "150000 100000\n"}, 1.5),
        (2, "/job/step", "/", {"job/step/cpu.max": "max 100000\n", "job/cpu.max": "400000 100000\n"}, 4.0),
        (2, "/job/step", "/", {"job/step/cpu.max": "50000 100000\n", "job/cpu.max": "400000 100000\n"}, 0.5),
        (2, "/docker/abc", "/docker/abc", {"cpu.max": "200000 100000\n"}, 2.0),
        (2, "/../other", "/", {"cpu.max": "300000 100000\n"}, 3.0),
        (2, "/", "/", {"cpu.max": "max 100000\n"}, None),
        (2, "/", "/", {"cpu.max": "nonsense\n"}, None),
        (2, "/", "/", {}, None),
        (1, "/", "/", {"cpu.cfs_quota_us": "250000\n", "cpu.cfs_period_us": "100000\n"}, 2.5),
        (1, "/", "/", {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, None),
        (1, "/lxc/a", "/", {"lxc/cpu.cfs_quota_us": "25000\n", "lxc/cpu.cfs_period_us": "50000\n"}, 0.5),
    ],
)
def test_the_quota_is_the_smallest_of_a_group_and_those_above(
    tmp_path: Path, version: int, group: str, root: str, files: dict[str, str], expected: float | None
):
    assert cpu_quota(make_groups(tmp_path, version=version, group=group, root=root, files=files)) == expected


def test_a_mount_with_a_space_in_its_name(tmp_path: Path):
    files = {"cpu.max": "100000 100000"}
    assert cpu_quota(make_groups(tmp_path, version=2, group="/", files=files, mount="c group")) == 1.0


def test_a_system_without_control_groups_has_no_quota(tmp_path: Path):
    assert cpu_quota(tmp_path / "no-proc") is None


@pytest.mark.parametrize(("quota", "expected"), [(None, 8), (2.9, 2), (0.5, 1), (64.0, 8)])
def test_cores_are_those_that_affinity_and_quota_both_allow(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, expected: int
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "cpu_quota", lambda: quota)
    assert usable_cores() == expected and describe_cores().startswith(f"{expected} core")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert own_cores() == max(1, expected // 4)


def test_this_process_has_a_core():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
