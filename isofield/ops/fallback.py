"""One line, once, where a fast path lacks what it needs and the plain twin runs instead."""

import functools
import warnings


@functools.cache
def warn_once(what: str, reason: str) -> None:
    """Warn that `what` runs as plain operators of torch, the first time only."""
    warnings.warn(f"{what}: {reason}; plain torch operators run instead, slower", stacklevel=3)
