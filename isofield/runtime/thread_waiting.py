"""How a thread of OpenMP waits for the others: it spins for a moment, then it gives its core away.

Imported before torch by every entry of ours, as the library reads its environment once, when it is loaded. Worker
processes and the ranks of torchrun inherit the environment. What the user has set stays.

By default GNU's OpenMP spins for about 3 ms (SPINS_OF_DEFAULT) at each barrier. Alone on its cores that costs nothing;
beside other processes the thread that all wait for does not get a core while the others spin. Measured by
tests/benchmarks/bench_busy.py, numbers in tests/benchmarks/LOG.md.
"""

import os

SPIN_VARIABLE, POLICY_VARIABLE = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"
SPINS = 10_000  # of the counts that were tried the one that costs least alone and still helps beside others
SPINS_OF_DEFAULT = 300_000


def yield_when_waiting() -> None:
    """Bound the spinning of threads that wait, unless the user has said how they wait."""
    if POLICY_VARIABLE not in os.environ:  # the count would win over it
        os.environ.setdefault(SPIN_VARIABLE, str(SPINS))


def describe_waiting() -> str:
    """What holds in this process, in a few words."""
    spins, policy = os.environ.get(SPIN_VARIABLE), os.environ.get(POLICY_VARIABLE)
    if spins is not None:
        return f"waiting threads yield after {spins} spins ({SPIN_VARIABLE})"
    return f"threads wait by {POLICY_VARIABLE}={policy}" if policy is not None else "threads wait as OpenMP does"


yield_when_waiting()
