"""The text of an .obj file as the library reads it right and fast: faces by absolute numbers, no materials.

The library takes a number such as -1 for the last vertex of the file instead of the last one so far, 0 for the first,
and looks through all vertices again for each material.
"""

import re

# A number below 1 in a line of a face.
RELATIVE = re.compile(rb"^[ \t]*f(?=[ \t])[^\n]*[ \t/](?:-|0+(?:[\s/]|\Z))", re.MULTILINE)


def plain_obj(data: bytes) -> bytes:
    """The same shape in plainer words. ValueError for a face that counts from before the first vertex, or from 0."""
    text = data.replace(b"\\\r\n", b"").replace(b"\\\n", b"").replace(b"usemtl ", b"#")
    return _absolute(text) if RELATIVE.search(text) else text


def _absolute(text: bytes) -> bytes:
    seen, lines = {b"v": 0, b"vt": 0, b"vn": 0}, []
    for line in text.split(b"\n"):
        words = line.partition(b"#")[0].split()
        if words and words[0] in seen:
            seen[words[0]] += 1
        elif words and words[0] == b"f":
            counts = list(seen.values())
            line = b" ".join([b"f", *(_corner(word, counts) for word in words[1:])])
        lines.append(line)
    return b"\n".join(lines)


def _corner(word: bytes, seen: list[int]) -> bytes:
    """v, v/vt, v//vn or v/vt/vn; negative ones count back from the last one seen."""
    numbers = []
    for part, count in zip(word.split(b"/"), seen, strict=False):
        number = int(part) if part else 1
        if number == 0 or number < -count:
            raise ValueError(f"a face refers to number {number} of {count}")
        numbers.append(part if number > 0 else b"%d" % (count + number + 1))
    return b"/".join(numbers)
