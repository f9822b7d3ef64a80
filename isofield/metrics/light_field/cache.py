"""Descriptors of mesh files, kept in a folder so that a mesh is described once.

One .npz file a mesh, named by a digest of its vertices and faces and by the version of the descriptors: renamed, copied
or converted files find theirs, changed ones do not. A damaged file is described anew and replaced.
"""

from pathlib import Path

import numpy as np
import torch

from data_processing.formats.npy import read_npz
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.metrics.light_field.descriptors import Descriptor, describe
from isofield.runtime.atomic_files import replacing
from isofield.runtime.fingerprint import fingerprint

MAX_BYTES = 1 << 26  # of one descriptor
VERSION = 1  # raise it whenever a number of a descriptor may change


def descriptor_of_mesh(mesh: TriangleMesh, cache: Path | None, *, device: torch.device | str = "cpu") -> Descriptor:
    """The descriptor of a mesh, from the folder `cache` where it is there, else put there; None keeps nothing.

    Raises ValueError for a mesh that cannot be described (as describe).
    """
    if cache is None:
        return describe(mesh, device=device)
    file = Path(cache) / f"{_digest(mesh)}-v{VERSION}.npz"
    kept = _read(file)
    if kept is not None:
        return kept
    descriptor = describe(mesh, device=device)
    with replacing(file) as temporary:
        np.savez(temporary, values=descriptor.values)
    return descriptor


def _read(file: Path) -> Descriptor | None:
    """None where there is no file, or one that is damaged."""
    try:
        return Descriptor(read_npz(file, most=MAX_BYTES, names=("values",))["values"])
    except (OSError, ValueError):
        return None


def _digest(mesh: TriangleMesh) -> str:
    vertices, faces = mesh.vertices.astype("<f8"), mesh.faces.astype("<i8")
    return fingerprint(str(vertices.shape), vertices, str(faces.shape), faces)
