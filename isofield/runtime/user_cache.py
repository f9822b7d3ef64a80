"""Where programs of the user keep what can be made again."""

import os
import sys
from pathlib import Path


def user_cache() -> Path:
    """isofield/ in what the system calls the user's cache. RuntimeError where the user has no home."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "isofield"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "isofield"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isofield"
