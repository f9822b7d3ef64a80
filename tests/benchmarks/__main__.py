"""`python -m tests.benchmarks`: the suite of suite.py."""

import sys

from tests.benchmarks.suite import main

sys.exit(main())
