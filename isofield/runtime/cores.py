"""How many cores this process may use: by affinity, and by the CPU quota of its control group (container, batch job).

A quota of 2 CPUs on a machine of 64 lets 64 threads start, and then halts all of them for most of each period.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc/self")


def usable_cores() -> int:
    """Cores that the system lets this process use: at least one, a part of a core of a quota counts for none."""
    quota = cpu_quota()
    return allowed_cores() if quota is None else max(1, min(allowed_cores(), int(quota)))


def own_cores() -> int:
    """Cores that this process may use, shared with the other ranks of torchrun on this machine."""
    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def allowed_cores() -> int:
    """Cores by affinity; those of the machine where the system knows no affinity."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_cores() -> str:
    """The number of cores and where it comes from, in a few words."""
    quota = cpu_quota()
    limit = "no CPU quota" if quota is None else f"a CPU quota of {quota:g}"
    count = usable_cores()
    return f"{count} core{'s' * (count > 1)} ({allowed_cores()} by affinity, {limit})"


def cpu_quota(proc: Path = PROC) -> float | None:
    """CPUs that the control groups of this process, and those above, may use; None where nothing limits them.

    Both versions of control groups are read: `cpu.max`, and `cpu.cfs_quota_us` with `cpu.cfs_period_us`. `proc`: what
    the system says of the process. A system without control groups has no quota.
    """
    # A limit above this group holds as well: the tightest on the way up counts. A group that cannot be read limits
    # nothing that we could know of.
    quotas = []
    with contextlib.suppress(OSError):
        for folder in _groups(proc):
            with contextlib.suppress(OSError, ValueError):
                quotas.append(_quota_of(folder))
    return min((quota for quota in quotas if quota is not None), default=None)


def _groups(proc: Path) -> Iterator[Path]:
    """Folders of the control groups that count this process's CPU time, each with those above it."""
    groups = {}
    for line in (proc / "cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        groups.update(dict.fromkeys(controllers.split(","), path))  # version 2 has one group and no name
    for line in (proc / "mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        # Fields 4 and 5 of proc(5): the folder of the hierarchy that is mounted, and where. Optional fields follow up
        # to the dash, so that what stands behind it has to be counted from there.
        root, mount = (_unescaped(field) for field in before.split()[3:5])
        kind, _, options = after.split(maxsplit=2)
        controller = {"cgroup2": "", "cgroup": "cpu"}.get(kind)
        # Version 1 mounts each controller on its own, the CPU one together with others ("cpu,cpuacct"): only that one
        # has quotas.
        if controller is None or controller not in groups or (controller and controller not in options.split(",")):
            continue
        yield from _upwards(Path(mount), _below(groups[controller], root))


def _below(path: str, root: str) -> str:
    """A group's path below the mounted root; the root itself where the group is outside of what is mounted here."""
    # Seen from a container whose own group is its root, groups outside of it begin with "..".
    if ".." in path.split("/"):
        return ""
    return path.removeprefix(root).strip("/") if f"{path}/".startswith(f"{root.rstrip('/')}/") else ""


def _upwards(mount: Path, below: str) -> Iterator[Path]:
    folder = mount / below
    while folder != mount:
        yield folder
        folder = folder.parent
    yield mount


def _quota_of(folder: Path) -> float | None:
    """CPUs of one group. ValueError for numbers that are none."""
    if (folder / "cpu.max").is_file():
        quota, period = (folder / "cpu.max").read_text().split()
    elif (folder / "cpu.cfs_quota_us").is_file():
        quota, period = ((folder / f"cpu.cfs_{what}_us").read_text().strip() for what in ("quota", "period"))
    else:
        return None
    # Version 2 writes "max", version 1 writes -1 for a group without limit.
    return None if quota in ("max", "-1") else int(quota) / max(1, int(period))


def _unescaped(field: str) -> str:
    """A path of mountinfo, where spaces are written as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
