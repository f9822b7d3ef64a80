"""A scene that opens everything about a scan in 3D Slicer: one .mrml file with paths relative to itself.

It holds the input labels, and of each organ the agreement of mask and reconstruction, the reconstruction and the
repaired mask. Format: an XML of nodes; storage nodes say which file, encoded as an address, from the folder of the
scene (vtkMRMLStorageNode of 3D Slicer).
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from isofield.outliers.analysis.rows import Row
from isofield.runtime.atomic_files import write_text

SHOWN = "agreement"  # of what belongs to an organ; the rest is there, hidden


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
    """From the scene's folder, encoded; None between drives, where there is no way."""
    try:
        return quote(Path(os.path.relpath(path, start)).as_posix())
    except ValueError:
        return None


def _labels(number: int, name: str, path: str) -> Iterator[str]:
    storage, display = f"vtkMRMLVolumeArchetypeStorageNode{number}", f"vtkMRMLLabelMapVolumeDisplayNode{number}"
    yield _node("VolumeArchetypeStorage", id=storage, fileName=path, useCompression="1")
    yield _node(
        "LabelMapVolumeDisplay", id=display, colorNodeRef="vtkMRMLColorTableNodeFileGenericAnatomyColors.txt",
        visibility="true",
    )  # fmt: skip
    yield _node(
        "LabelMapVolume", id=f"vtkMRMLLabelMapVolumeNode{number}", name=name, storageNodeRef=storage,
        displayNodeRef=display,
    )  # fmt: skip


def _segmentation(number: int, name: str, path: str, *, visible: bool) -> Iterator[str]:
    storage, display = f"vtkMRMLSegmentationStorageNode{number}", f"vtkMRMLSegmentationDisplayNode{number}"
    yield _node("SegmentationStorage", id=storage, fileName=path, useCompression="1")
    yield _node("SegmentationDisplay", id=display, visibility="true" if visible else "false")
    yield _node(
        "Segmentation", id=f"vtkMRMLSegmentationNode{number}", name=name, storageNodeRef=storage,
        displayNodeRef=display,
    )  # fmt: skip


def _node(kind: str, **attributes: str) -> str:
    return f"  <{kind} {' '.join(f'{key}={_attribute(text)}' for key, text in attributes.items())} />"


def _attribute(text: str) -> str:
    """What XML can hold of any name: no control characters, no halves of letters."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return quoteattr(plain.encode("utf-8", "replace").decode())
