"""Commands called as from a shell, in this process: it spares the start of another."""

import functools
from collections.abc import Callable, Sequence

import pytest

from isofield.runtime import commandline

Main = Callable[[Sequence[str]], int]


def call(main: Main, *words: object) -> int:
    """The status that `main` returns; errors are raised."""
    return main(list(map(str, words)))


def status_of(main: Main, *words: object, error: int = commandline.ERROR) -> int:
    """The status that the process would end with; errors are a line."""
    with pytest.raises(SystemExit) as ended:
        commandline.run(functools.partial(call, main, *words), error=error)
    return int(ended.value.code or 0)
