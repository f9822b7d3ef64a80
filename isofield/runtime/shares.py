"""Work that ranks, or parts, share out: each makes its own, and what belongs to all is made once."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from isofield.runtime.commandline import say
from isofield.runtime.distributed import Group
from isofield.runtime.parts import describe_part, join_parts

Result = TypeVar("Result", covariant=True)


class Work(Protocol[Result]):
    """Makes a group's share, and on the first rank, which has everything then, what belongs to all: its result."""

    def __call__(self, group: Group, *, joining: bool = False) -> Result | None:
        """`joining`: parts have just made all; what failed is not tried again."""


def share_out(
    work: Work[Result], group: Group, folder: Path, *, what: str, is_whole: Callable[[], bool], again: str = ""
) -> Result | None:
    """The result where it is made: on the first rank, or the part that is the last to finish; None elsewhere.

    `folder`: of the results; `what`: in messages, a noun; `is_whole`: whether all that parts make is there;
    `again`: the option with which the command goes on.
    """
    result = work(group)
    if group.part is None:
        return result
    join = lambda: work(group.alone(), joining=True)  # noqa: E731
    result = join_parts(folder, group.part, what=what, is_whole=is_whole, join=join)
    if result is None:
        say(describe_part(group.part, again=again))
    return result
