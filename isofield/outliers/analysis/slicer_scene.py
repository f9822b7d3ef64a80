"""A scene that opens everything about a scan in 3D Slicer: one .mrml file with paths relative to itself.

It holds the input labels, and of each organ the agreement of mask and reconstruction, the reconstruction and the
repaired mask. Format: an XML of nodes, as 3D Slicer's own readers take it: storage nodes say which file, from the
folder of the scene (vtkMRMLStorageNode), and a volume that is stored without names of segments becomes one segment for
each label (vtkMRMLSegmentationStorageNode).
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

from isofield.outliers.analysis.rows import Row
from isofield.runtime.atomic_files import write_text

SHOWN = "agreement"  # of what belongs to an organ; the rest is there, hidden
# All that vtkMRMLNode::URLDecodeString turns back. Anything else of an address, as %C3%BC, would stay as it is there
# and lead to no file, so it is written plainly.
ENCODED = {"%": "%25", " ": "%20", "'": "%27", ">": "%3E", "<": "%3C", '"': "%22"}


def write_scene(file: Path, rows: Sequence[Row], *, out: Path, inputs: Path | None) -> bool:
    """Replace the scene of one scan; False, and no file, where none of its organs has a map.

    `rows`: of the scan. `inputs`: the folder that the column `file` is below; None leaves the input out.
    """
    nodes = list(_nodes(rows, file.parent, out, inputs))
    # A scene of an earlier analysis would show maps that are gone.
    if not any(row.get(SHOWN) for row in rows):
        file.unlink(missing_ok=True)
        return False
    write_text(file, "\n".join(['<MRML version="Slicer5" userTags="">', *nodes, "</MRML>", ""]))
    return True


def _nodes(rows: Sequence[Row], start: Path, out: Path, inputs: Path | None) -> Iterator[str]:
    number = 0
    # The labels as they came: of one volume once, of a folder of organs each file.
    for name in dict.fromkeys(row["file"] for row in rows):
        path = None if inputs is None else _relative(inputs / name, start)
        if path is not None and (inputs / name).is_file():
            number += 1
            yield from _labels(number, f"input {name}", path)
    for row in rows:
        for column in (SHOWN, "repaired", "reconstruction"):
            path = _relative(out / row[column], start) if row.get(column) else None
            if path is not None:
                number += 1
                yield from _segmentation(number, f"{row['organ']} {column}", path, visible=column == SHOWN)


def _relative(path: Path, start: Path) -> str | None:
    """From the scene's folder, encoded; None between drives, where there is no way, and for what no XML can hold."""
    try:
        plain = Path(os.path.relpath(path, start)).as_posix()
    except ValueError:
        return None
    if any(ord(letter) < 32 or 0xD800 <= ord(letter) <= 0xDFFF or letter in "\ufffe\uffff" for letter in plain):
        return None
    return "".join(ENCODED.get(letter, letter) for letter in plain)


def _labels(number: int, name: str, path: str) -> Iterator[str]:
    storage, display = f"vtkMRMLVolumeArchetypeStorageNode{number}", f"vtkMRMLLabelMapVolumeDisplayNode{number}"
    yield _node("VolumeArchetypeStorage", id=storage, fileName=path, useCompression="1")
    yield _node(
        "LabelMapVolumeDisplay", id=display, colorNodeRef="vtkMRMLColorTableNodeFileGenericAnatomyColors.txt",
        visibility="true",
    )  # fmt: skip
    yield _node(
        "LabelMapVolume", id=f"vtkMRMLLabelMapVolumeNode{number}", name=_shown(name), storageNodeRef=storage,
        displayNodeRef=display,
    )  # fmt: skip


def _segmentation(number: int, name: str, path: str, *, visible: bool) -> Iterator[str]:
    storage, display = f"vtkMRMLSegmentationStorageNode{number}", f"vtkMRMLSegmentationDisplayNode{number}"
    yield _node("SegmentationStorage", id=storage, fileName=path, useCompression="1")
    yield _node("SegmentationDisplay", id=display, visibility="true" if visible else "false")
    yield _node(
        "Segmentation", id=f"vtkMRMLSegmentationNode{number}", name=_shown(name), storageNodeRef=storage,
        displayNodeRef=display,
    )  # fmt: skip


def _node(kind: str, **attributes: str) -> str:
    return f"  <{kind} {' '.join(f'{key}={quoteattr(text)}' for key, text in attributes.items())} />"


def _shown(name: str) -> str:
    """What XML can hold of any name, and a reader can see: no control characters, no halves of letters."""
    return "".join(letter if letter.isprintable() else "?" for letter in name).encode("utf-8", "replace").decode()
