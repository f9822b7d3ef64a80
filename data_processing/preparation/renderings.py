"""Pictures of a shape as a row of a data set holds them: rendered from its mesh, or read where they were before.

What pictures look like is the business of geometry/rendering.py and pictures.py; what a network sees of them, of
loading/network_inputs.py.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.pictures import grey_on_white, read_picture
from data_processing.geometry.rendering import Camera, photographs
from data_processing.preparation.contents import RenderingConfig
from data_processing.preparation.cube_shape import CubeShape, CubeSurface
from data_processing.store.shards import PackedRow
from isofield.runtime.seeds import numpy_generator

FOLDER = "rendering"  # of a shape, in 3D-R2N2's layout


def rendering_row(shape: CubeShape | CubeSurface, settings: RenderingConfig, *, seed: int, name: str) -> PackedRow:
    """pixels (V, H, H) uint8 and, where they are rendered here, cameras (V, 3) float32.

    Rendered of the surface in cube coordinates. ValueError, FileNotFoundError when pictures of `settings.folder` are
    missing or of another size.
    """
    if settings.folder is not None:
        return {"pixels": _existing(settings.folder, settings, name)}
    mesh = shape.surface()
    radius = float(np.linalg.norm(np.abs(np.stack(mesh.bounds())).max(axis=0)))  # of the ball round the cube's middle
    cameras_V3 = drawn_cameras(settings, radius=radius, seed=seed, name=name)
    cameras = [Camera(azimuth, elevation, settings.field_of_view) for azimuth, elevation, _ in cameras_V3.tolist()]
    pixels = photographs(mesh, cameras, cameras_V3[:, 2].tolist(), size=settings.size, up=settings.up)
    return {"pixels": pixels, "cameras": cameras_V3}


def drawn_cameras(settings: RenderingConfig, *, radius: float, seed: int, name: str) -> NDArray[np.float32]:
    """Azimuth, elevation and distance (in the unit of `radius`) of each camera: (V, 3) float32."""
    random = numpy_generator(seed, name, "rendering")
    drawn = random.uniform(0, 360)
    # Drawn in any case, so that a fixed azimuth leaves the other draws as they are.
    first = drawn if settings.azimuth is None else settings.azimuth
    azimuth_V = (first + 360.0 * np.arange(settings.views) / settings.views) % 360.0
    elevation_V = random.uniform(*settings.elevation, settings.views)
    distance_V = random.uniform(*settings.distance, settings.views) * radius
    return np.stack([azimuth_V, elevation_V, distance_V], axis=1).astype(np.float32)


def existing_files(settings: RenderingConfig, name: str) -> list[Path]:
    """The pictures of a shape in `settings.folder`, first to last, there or not; none without a folder."""
    if settings.folder is None:
        return []
    places = _places(settings.folder, name)
    place = next((place for place in places if place.is_dir()), places[0])
    return [place / f"{view:02d}.png" for view in range(settings.views)]


def _places(folder: Path, name: str) -> list[Path]:
    """Where the pictures of `chair/one` may be: chair/one/rendering or one/rendering.

    Of a longer name the same for its beginnings: 02691156/1a04/models/model has them in 02691156/1a04/rendering.
    """
    parts = name.split("/")
    beginnings = [parts[:length] for length in range(len(parts), 1, -1)]
    return [folder.joinpath(*parts[first:], FOLDER) for parts in beginnings for first in (0, 1)]


def _existing(folder: Path, settings: RenderingConfig, name: str) -> NDArray[np.uint8]:
    files = existing_files(settings, name)
    if not files[0].parent.is_dir():
        searched = " and ".join(str(place) for place in _places(folder, name)[:2])
        raise FileNotFoundError(f"no renderings of {name}: searched {searched}")
    # All that are missing, not the first alone: a folder that was unpacked half is seen at once.
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{files[0].parent}: {len(missing)} of {settings.views} pictures are missing, the first: {missing[0]}"
        )
    pictures = []
    for file in files:
        rgba_HW4 = read_picture(file)
        if rgba_HW4.shape[:2] != (settings.size, settings.size):
            height, width = rgba_HW4.shape[:2]
            raise ValueError(f"{file}: {width}x{height} pixels, expected {settings.size}x{settings.size}")
        pictures.append(grey_on_white(rgba_HW4))
    return np.stack(pictures)
