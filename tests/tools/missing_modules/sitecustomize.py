"""Read by every Python that starts with this folder on its path: the modules named in the environment are not there."""

import os
import sys

for name in os.environ.get("ISOFIELD_MISSING_MODULES", "").split():
    sys.modules[name] = None  # type: ignore[assignment]  # import says ModuleNotFoundError, find_spec says None
