"""Text files of strangers as plain bytes: any encoding, byte order mark and line end.

Mesh formats are ASCII where it matters; names and comments come in the encoding of the machine that wrote them. Nothing
is guessed: what is not ASCII stays as it is, and only UTF-16 and UTF-32, which spell ASCII otherwise, are converted.
"""

import codecs

MARKS = (  # longer ones first: UTF-32 begins as UTF-16 does
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)
HEAD = 64  # bytes in which UTF-16 without a mark shows


def plain_text(data: bytes) -> bytes:
    """The text without its mark, with line feeds only; characters of UTF-16 and UTF-32 beyond ASCII become '?'."""
    mark, encoding = next(((mark, name) for mark, name in MARKS if data.startswith(mark)), (b"", _unmarked(data)))
    data = data[len(mark) :]
    if encoding != "utf-8":
        data = data.decode(encoding, errors="replace").encode("ascii", errors="replace")
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data


def _unmarked(data: bytes) -> str:
    """UTF-16 without a mark has a zero beside each ASCII character; anything else passes as it is ("utf-8")."""
    head = data[: min(HEAD, len(data) // 2 * 2)]
    for zeros, letters, encoding in ((head[1::2], head[::2], "utf-16-le"), (head[::2], head[1::2], "utf-16-be")):
        if len(head) >= 8 and not any(zeros) and all(letters):
            return encoding
    return "utf-8"
