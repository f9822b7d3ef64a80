"""Run Python as it is where some modules are missing, with all processes that it starts.

python -m tests.tools.without embreex point_cloud_utils fcntl resource -- -m pytest -q tests/isofield/runtime
"""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent / "missing_modules"
VARIABLE = "ISOFIELD_MISSING_MODULES"
OF_OTHER_SYSTEMS = ("embreex", "point_cloud_utils", "fcntl", "resource")  # what not every system has


def environment_without(modules: Iterable[str]) -> dict[str, str]:
    """The environment of a process, and of those that it starts, in which modules cannot be imported.

    Beside those that are taken away here already.
    """
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([str(FOLDER), root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, VARIABLE: " ".join([os.environ.get(VARIABLE, ""), *modules]).strip()}


def main() -> int:
    words = sys.argv[1:]
    if "--" not in words:
        sys.stderr.write(f"{__doc__}\n")
        return 1
    middle = words.index("--")
    command = [sys.executable, *words[middle + 1 :]]
    return subprocess.run(command, env=environment_without(words[:middle]), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
