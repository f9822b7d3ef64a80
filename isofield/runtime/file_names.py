"""Names of shapes, scans and organs as names of files: whatever they hold, each other name gets another file.

Usual names stay as they are. In others single characters are written as %41, as in addresses: what would leave the
folder, hide the file, be no name on another system, or be taken for a file of ours. Names that differ in case alone
are files of their own only where the disk tells them apart.
"""

import os
import unicodedata
from pathlib import Path

from isofield.runtime.fingerprint import fingerprint

ODD = set('<>:"/\\|?*%')
FIRST, LAST = set(".-~ "), set(". ")
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
INPUT = "_input"  # ends what generate.py writes beside a mesh
MAX_PART, MAX_PATH = 180, 1000  # bytes; file systems have 255 and 4096, and a file being written has a longer name
KEPT = 100  # bytes of the beginning of a longer name


def path_in(folder: Path, name: str, suffix: str, *, last: str = "", ending: str = "") -> Path:
    """The file of a name in a folder; slashes in the name make folders.

    `last`: one more part, whose slashes do not. `ending`: what stands between the name and the suffix.
    """
    parts = [*name.split("/"), last] if last else name.split("/")
    if len(name.encode("utf-8", "surrogatepass")) > MAX_PATH:
        parts = [name, *parts[len(name.split("/")) :]]
    *above, lowest = (_part(part) for part in parts)
    return folder.joinpath(*above, lowest + ending + suffix)


def _part(text: str) -> str:
    """One part of a path for any text, another for every other."""
    # Some systems store letters with accents in another form: two names could then be one file.
    plain = unicodedata.normalize("NFC", text) == text
    reserved = text.partition(".")[0].casefold() in RESERVED or text.endswith(INPUT)
    written = "".join(
        _quoted(char)
        if char in ODD
        or not char.isprintable()
        or (not plain and not char.isascii())
        or (place == 0 and (char in FIRST or reserved))
        or (place == len(text) - 1 and char in LAST)
        else char
        for place, char in enumerate(text)
    )
    if len(os.fsencode(written)) > MAX_PART:
        start = os.fsencode(written)[:KEPT].decode("utf-8", "ignore").rpartition("%")
        return f"{start[0] or start[2]}%~{fingerprint(text)}"
    return written or "%"


def _quoted(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))
