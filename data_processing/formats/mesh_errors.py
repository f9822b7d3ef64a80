"""Why a mesh file is not read. The door (mesh_files.py) puts the path before the reason."""

DECIMAL_COMMA = "its numbers have a decimal comma: export them with a point"


class RefusedMeshError(ValueError):
    """The file may be sound, but holds something that is not read: the reason names it and says what to do."""


class DamagedMeshError(RefusedMeshError):
    """The file is cut off, or contradicts itself: only another copy of it helps."""
