"""Parts of one file that show the same object again, by their names: levels of detail, shapes for collisions.

Merged they would make a solid that nobody drew, thicker than the object wherever they differ.
"""

import re
from collections.abc import Iterable

from data_processing.formats.mesh_errors import RefusedMeshError

LEVEL = re.compile(
    r"(?:^|[_\-. ])lod[_\-. ]?(\d+)(?=$|[_\-. ])", re.IGNORECASE
)  # chair_LOD0, LOD1_chair, chair.lod2.001
COLLISION = re.compile(r"U(?:CX|BX|SP|CP)_(.+)")  # of Unreal Engine, before the name of the part that they stand for

MARKS = ("LOD", "lod", "Lod", "UCX_", "UBX_", "USP_", "UCP_")  # one of them is in every name that is refused here


def refuse_same_object(names: Iterable[str]) -> None:
    """RefusedMeshError for several levels of detail, or a collision shape beside its part."""
    named = dict.fromkeys(names)
    levels: dict[str, tuple[str, str]] = {}
    for name in named:
        if found := LEVEL.search(name):
            first, level = levels.setdefault(name[: found.start()].lower(), (name, found[1]))
            if level != found[1]:
                raise RefusedMeshError(f"holds levels of detail of one object ({first}, {name}): export one of them")
        elif (found := COLLISION.fullmatch(name)) and any(found[1].startswith(other) for other in named if other):
            raise RefusedMeshError(f"holds a shape for collisions ({name}) beside its object: export it without")
