"""Names of files, shapes and organs as people write them: letters of any script, composed or not."""

import re
import unicodedata

PARTS = re.compile(r"[^\W_]+")


def composed(name: str) -> str:
    """Letters with their marks as one character: systems and editors write an umlaut as one or as two, alike to see."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def words_of(name: str) -> list[str]:
    """The words of a name, composed, in its own case: what stands between blanks, dashes, dots, underlines and such.

    Marks belong to the letter before them: many scripts write their vowels so, and composing leaves those as they are.
    """
    if name.isascii():
        return PARTS.findall(name)
    letters = (
        letter if letter.isalnum() or unicodedata.category(letter).startswith("M") else " " for letter in composed(name)
    )
    return "".join(letters).split()
