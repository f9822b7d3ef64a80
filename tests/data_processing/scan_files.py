"""Small synthetic scans for tests: a body whose organs are placed in the world, stored on any grid."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import scipy.spatial.transform
from numpy.typing import NDArray


def random_affine(
    generator: np.random.Generator, spacing: tuple[float, float, float], *, mirrored: bool, sheared: bool = False
) -> NDArray[np.float64]:
    """Oblique by any angle, axes in any order."""
    axes = scipy.spatial.transform.Rotation.random(random_state=int(generator.integers(1 << 30))).as_matrix()
    if (np.linalg.det(axes) < 0) != mirrored:
        axes[:, 0] *= -1
    matrix = np.eye(4)
    matrix[:3, :3] = axes * spacing
    if sheared:
        matrix[:3, :3] += 0.15 * matrix[:3, [1, 2, 0]]
    return matrix


def centred(affine: NDArray[np.float64], shape: tuple[int, int, int], at=(0.0, 0.0, 0.0)) -> NDArray[np.float64]:
    """The affine with the middle of the grid at a place of the world."""
    moved = affine.copy()
    moved[:3, 3] = np.asarray(at) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return moved


def world_of(affine: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """World coordinates of all voxel centres: (*shape, 3)."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def bump(points: NDArray[np.floating]) -> NDArray[np.bool_]:
    """A solid without any symmetry: an ellipsoid with a knob on one side; off-centre. Points in mm."""
    body = (((points - [1.0, -2.0, 3.0]) / [21.0, 13.0, 17.0]) ** 2).sum(axis=-1) < 1
    knob = (((points - [12.0, 9.0, 12.0]) / [7.0, 8.0, 6.0]) ** 2).sum(axis=-1) < 1
    return body | knob


def save(path: Path, values: NDArray, affine: NDArray[np.float64] | None = None, **header) -> Path:
    """A NIfTI file in mm; `header`: slope, unit ("unknown" for none), extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine)
    image.header.set_xyzt_units(header.get("unit", "mm"))
    if "slope" in header:
        image.header.set_slope_inter(header["slope"], header.get("inter", 0))
    if "extension" in header:
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, header["extension"].encode()))
    nibabel.save(image, path)
    return path


def body(shape=(60, 40, 30), spacing=2.0) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """RAS: the liver (label 5) on the patient's right, a larger kidney (2) right of the middle, a smaller left one."""
    affine = centred(np.diag([spacing, spacing, spacing, 1.0]), shape)
    places = world_of(affine, shape)
    values = np.zeros(shape, np.uint8)
    values[(((places - [30, 10, 10]) / [16, 14, 12]) ** 2).sum(-1) < 1] = 5
    values[(((places - [26, -20, -12]) / [10, 9, 14]) ** 2).sum(-1) < 1] = 2
    values[(((places - [-28, -18, -8]) / [8, 9, 13]) ** 2).sum(-1) < 1] = 2
    return values, affine


def turned(values: NDArray, affine: NDArray[np.float64], axes, flips) -> tuple[NDArray, NDArray[np.float64]]:
    """The same scan with its axes stored in another order or direction."""
    matrix = affine.copy()
    shape = values.shape
    for axis in range(3):
        if flips[axis]:
            matrix[:3, 3] += matrix[:3, axis] * (shape[axis] - 1)
            matrix[:3, axis] *= -1
    values = values[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    return values.transpose(axes), matrix[:, [*axes, 3]]


def pair_in_thick_slices(path: Path, source: Path, *, step: int) -> Path:
    """Both putamina of a real brain under the one label 1, every `step`-th slice from top to bottom (stored: LIP)."""
    image: Any = nibabel.load(source)
    values = np.isin(np.asanyarray(image.dataobj), (37, 78)).astype(np.uint8)[:, ::step]
    return save(path, values, image.affine @ np.diag([1.0, step, 1.0, 1.0]))
