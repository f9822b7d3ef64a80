"""How a thread of OpenMP waits for the others: it spins while the cores are free, and yields while others want them.

By default GNU's OpenMP, which torch's wheels for Linux bring along, spins for about 3 ms (SPINS_OF_DEFAULT) at each
barrier. Alone on its cores that costs nothing and is the fastest way to wait; beside other processes the thread that
all wait for does not get a core while the others spin. No single count suits both (tests/benchmarks/LOG.md), so the
count follows the machine: contention.py watches whether our threads wait for a core, and makes OpenMP yield as long as
they do.

Where the system does not tell (no Linux, no schedstat), or has many more cores than this process may use, the count is
bounded once and for all, in the environment that OpenMP reads when it is loaded. So this is imported before torch by
every entry of ours; worker processes and the ranks of torchrun inherit it. What the user has set stays.
"""

import os
from pathlib import Path

from isofield.runtime.cores import allowed_cores, own_cores

SPIN_VARIABLE, POLICY_VARIABLE = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"
SPINS = 10_000  # where nothing is watched: of the counts that were tried the one that costs least alone and still helps
SPINS_OF_DEFAULT = 300_000
SCHEDULER = Path("/proc/self/schedstat")
MOST_TEAMS = 16  # of threads that sleep: more are never started to make OpenMP yield


def choose_waiting() -> None:
    """Bound the spinning of threads that wait where it cannot follow the machine, unless the user has said how."""
    if POLICY_VARIABLE not in os.environ and not follows_machine():  # the count would win over the policy
        os.environ.setdefault(SPIN_VARIABLE, str(SPINS))


def follows_machine() -> bool:
    """Whether contention.py can watch here, and may: the user has not said how threads wait."""
    if SPIN_VARIABLE in os.environ or POLICY_VARIABLE in os.environ or not SCHEDULER.is_file():
        return False
    return teams_to_yield(own_cores()) <= MOST_TEAMS


def teams_to_yield(threads: int) -> int:
    """Idle teams of `threads` threads that make OpenMP yield beside a working one of the same size; at least one.

    It stops spinning (after 100 turns) as long as it has more threads than the affinity of the process has cores. The
    thread that opens a team is not counted (libgomp, team.c).
    """
    return max(0, allowed_cores() - threads) // max(1, threads - 1) + 1


def describe_waiting() -> str:
    """What holds in this process, in a few words."""
    spins, policy = os.environ.get(SPIN_VARIABLE), os.environ.get(POLICY_VARIABLE)
    if spins is not None:
        return f"waiting threads yield after {spins} spins ({SPIN_VARIABLE})"
    if policy is not None:
        return f"threads wait by {POLICY_VARIABLE}={policy}"
    return "waiting threads yield while other work wants the cores"


choose_waiting()
