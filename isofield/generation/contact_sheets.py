"""Pictures of many meshes: a contact sheet, a strip, an animation. One fixed view; what shares a frame, one ball."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_processing.formats.mesh_files import read_mesh
from data_processing.formats.pictures import Picture, write_picture
from data_processing.geometry.rendering import BACKGROUND, THREE_QUARTER, Up, ViewBall, render, view_ball_around
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.runtime.atomic_files import replacing

TILE = 192
COLUMNS = 8
MILLISECONDS = 120  # of each picture of an animation
CROSS = 200  # grey of the cross where there is no mesh


def write_overview(
    folder: Path, files: Sequence[Path | None], *, walk: bool, up: Up = "y", one_scale: bool = True
) -> list[Path]:
    """What to look at first: sheet.png of samples; strip.png and walk.gif of a walk. Returns the files written.

    `one_scale`: of meshes of one frame. A user's files have units and places of their own: each fills its tile then.
    """
    pictures = tiles(files, up=up, one_scale=one_scale)
    picture = folder / ("strip.png" if walk else "sheet.png")
    write_picture(picture, Picture(sheet(pictures, columns=len(files) if walk else COLUMNS)))
    if not walk:
        return [picture]
    write_animation(folder / "walk.gif", pictures)
    return [picture, folder / "walk.gif"]


def tiles(files: Sequence[Path | None], *, up: Up = "y", size: int = TILE, one_scale: bool = True) -> NDArray[np.uint8]:
    """Pictures (N, size, size) of meshes in one view; a tile with a cross where there is none (None)."""
    meshes = [None if file is None else read_mesh(file) for file in files]
    boxes = [mesh.bounds() for mesh in meshes if mesh is not None]
    if not boxes:
        return np.stack([_absent(size) for _ in files])
    all_in = view_ball_around(np.min([low for low, _ in boxes], axis=0), np.max([high for _, high in boxes], axis=0))

    def tile(mesh: TriangleMesh) -> NDArray[np.uint8]:
        return _tile(mesh, all_in if one_scale else view_ball_around(*mesh.bounds()), size, up)

    return np.stack([_absent(size) if mesh is None else tile(mesh) for mesh in meshes])


def sheet(pictures: NDArray[np.uint8], *, columns: int = COLUMNS) -> NDArray[np.uint8]:
    """Pictures (N, S, S) in rows of `columns`, read like a page; one row when there are fewer."""
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    blank = np.full((rows * columns - len(pictures), *pictures.shape[1:]), BACKGROUND, dtype=np.uint8)
    grid = np.concatenate([pictures, blank]).reshape(rows, columns, *pictures.shape[1:])
    return grid.swapaxes(1, 2).reshape(rows * pictures.shape[1], columns * pictures.shape[2])


def write_animation(path: Path, pictures: NDArray[np.uint8]) -> None:
    """Replace an animated GIF that goes through the pictures (N, S, S), back again, and on for ever."""
    first, *rest = [Image.fromarray(picture) for picture in (*pictures, *pictures[-2:0:-1])]
    with replacing(path) as temporary:
        first.save(temporary, format="GIF", save_all=True, append_images=rest, duration=MILLISECONDS, loop=0)


def _tile(mesh: TriangleMesh, view_ball: ViewBall, size: int, up: Up) -> NDArray[np.uint8]:
    return render(mesh, [THREE_QUARTER], size=size, view_ball=view_ball, up=up, supersampling=2)[0]


def _absent(size: int) -> NDArray[np.uint8]:
    picture = np.full((size, size), BACKGROUND, dtype=np.uint8)
    across = np.arange(size // 4, 3 * size // 4)
    picture[across, across] = picture[across, size - 1 - across] = CROSS
    return picture
