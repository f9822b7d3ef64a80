"""Commands on disks that are full or read-only, in folders that vanish, ended by signals: then the cause goes away.

    OMP_NUM_THREADS=1 python -m tests.faults [prepare train gan generate evaluate analyse] [--only full vanished ...]

Each must end with a status that means something and one clear line, never with a traceback or a hang; started again,
the result is that of an undisturbed run. Disks are small ones in memory, mounted below a temporary folder: for that
the process has to be root; without, they are left out, and it says so.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from isofield.runtime import commandline
from tests.faults.disks import NEED_ROOT, can_mount, full, full_at, read_only
from tests.faults.folders import clock, input_vanished, journals, replaced, vanished
from tests.faults.signals import child_killed, ended, ended_everywhere, ended_twice, second
from tests.kills import Trials
from tests.victims import VICTIMS, in_two_processes

FAULTS: dict[str, Callable[[Trials], int]] = {
    "full": full,
    "full-at": full_at,
    "read-only": read_only,
    "vanished": vanished,
    "input-vanished": input_vanished,
    "replaced": replaced,
    "clock": clock,
    "journals": journals,
    "second": second,
    "ended": ended,
    "ended-twice": ended_twice,
    "ended-everywhere": ended_everywhere,
    "child-killed": child_killed,
}
HAVE_JOURNALS = ("generate", "evaluate", "analyse")
HAVE_WORKERS = ("prepare", "evaluate")


def meets(victim: str, fault: str) -> bool:
    """Whether the command has what the fault disturbs."""
    with_what = {"journals": HAVE_JOURNALS, "child-killed": HAVE_WORKERS}
    return victim in with_what.get(fault, (victim,))


def main() -> int:
    parser = commandline.Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("victims", nargs="*", metavar="COMMAND", help=", ".join(VICTIMS))
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    options = parser.parse_args()
    chosen = [name for name in options.only if name not in NEED_ROOT or can_mount()]
    for name in set(options.only) - set(chosen):
        commandline.say(f"{name}: left out, disks cannot be mounted here (not root)")
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    for victim in options.victims or VICTIMS:
        alone = Trials(VICTIMS[victim], folder / victim, seed=0)
        for name in (name for name in chosen if meets(victim, name)):
            began, trials = time.monotonic(), alone
            if name == "child-killed":
                trials = Trials(in_two_processes(VICTIMS[victim]), folder / f"{victim}-two", seed=0)
            count = FAULTS[name](trials)
            commandline.say(f"{victim}: {name} {count} times, the same result; {time.monotonic() - began:.0f} s")
    shutil.rmtree(folder)
    return commandline.DONE


if __name__ == "__main__":
    commandline.run(main)
