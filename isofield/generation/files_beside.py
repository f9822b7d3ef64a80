"""What comes with a mesh: the input as the network saw it, and the mask on the scan's grid."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.mesh_files import write_mesh
from data_processing.formats.pictures import Picture, write_picture
from data_processing.formats.point_clouds import PointCloud, write_cloud
from data_processing.loading.single_inputs import Observed
from data_processing.medical.masks import write_scan_mask
from isofield.run_dir import mesh_in
from isofield.runtime.file_names import INPUT

FILES = ("file", "input_file", "mask_file")  # of a row, below the folder: the mesh, and what comes with it


def write_beside(
    folder: Path, name: str, observed: Observed, mask: NDArray[np.uint8] | None, *, suffix: str, with_input: bool
) -> dict[str, str]:
    """Write them as they are there; the keys of a row, with their paths below the folder. `suffix`: of meshes.

    ValueError for an empty input.
    """
    files = {}
    if with_input:
        files["input_file"] = _write_input(folder, name, observed, suffix)
    if observed.scan is not None and mask is not None:
        file = mesh_in(folder, name, ".nii.gz", ending="_recon")
        write_scan_mask(file, mask, observed.scan)
        files["mask_file"] = file.relative_to(folder).as_posix()
    return files


def _write_input(folder: Path, name: str, observed: Observed, suffix: str) -> str:
    """What the network saw, in the frame of the file, or the picture."""
    shown = observed.shown()
    suffix = {PointCloud: ".ply", Picture: ".png"}.get(type(shown), suffix)
    file = mesh_in(folder, name, suffix, ending=INPUT)
    if isinstance(shown, Picture):
        write_picture(file, shown)
    elif isinstance(shown, PointCloud):
        write_cloud(file, shown.transform(observed.to_world))
    elif len(shown.faces):
        write_mesh(file, shown.transform(observed.to_world))
    else:
        raise ValueError("the input is empty: nothing is left of the shape")
    return file.relative_to(folder).as_posix()
