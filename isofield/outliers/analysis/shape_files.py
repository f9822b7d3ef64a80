"""What the pages of an analysis show of an organ beside its picture: surfaces to turn and slices to scroll through.

A file for each organ, OUT/shapes/SCAN/ORGAN.js: a page loads it as a script when the organ is looked at, as browsers
let a page on the disk read no other kind of file. It calls `isofieldShape` with plain data.
"""

import json
from pathlib import Path

import numpy as np

from isofield.outliers.comparison.on_scan import Compared
from isofield.outliers.comparison.surface_rendering import OrganView
from isofield.reports.disagreement import SignedSurface
from isofield.reports.slice_volumes import pack_volume
from isofield.reports.turnable import Packed, pack_mesh
from isofield.run_dir import mesh_in
from isofield.runtime.atomic_files import write_text

SHAPES = "shapes"


def write_shape(out: Path, scan: str, organ: str, view: OrganView, compared: Compared) -> str:
    """Write the file of an organ; returns its path below OUT."""
    content = {
        "meshes": {"mask": _packed(view.mask, view), "reconstruction": _packed(view.reconstruction, view)},
        "volume": pack_volume(compared.mask, compared.rebuilt_XYZ, compared.repaired_XYZ),
    }
    file = mesh_in(out / SHAPES, scan, ".js", last=organ)
    write_text(file, f"isofieldShape({json.dumps(content, separators=(',', ':'), allow_nan=False)});\n")
    return file.relative_to(out).as_posix()


def _packed(surface: SignedSurface, view: OrganView) -> Packed | None:
    x, y, z = view.look_from
    look = float(np.degrees(np.arctan2(x, -y))), float(np.degrees(np.arcsin(z)))
    return pack_mesh(
        surface.mesh, view_ball=view.ball, up="z", look=look, values_V=surface.distance_V, limit=view.limit
    )
