"""What somebody may have meant by a name that is not known: the same words wherever a name is refused."""

import difflib
from collections.abc import Callable, Iterable

LIKENESS = 0.5  # of two names, from 0 to 1, from which one is worth showing


def did_you_mean(
    name: str, known: Iterable[str], *, most: int = 1, prefix: str = "", compared: Callable[[str], str] = str.lower
) -> str:
    """The words "did you mean 'a' or 'b'?": the known names most like this one, the nearest first; "" if none is near.

    `most`: names shown at most. `prefix` stands before each of them. `compared`: the part of a name that is compared.
    """
    names_of: dict[str, list[str]] = {}
    for each in known:
        names_of.setdefault(compared(each), []).append(each)
    nearest = difflib.get_close_matches(compared(name), names_of, n=most, cutoff=LIKENESS)
    names = [repr(prefix + each) for part in nearest for each in names_of[part]]
    return f"did you mean {' or '.join(names[:most])}?" if names else ""
