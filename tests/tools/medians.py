"""A picture of median shapes: `python -m tests.tools.medians OUT.png --truth FOLDER JSON=MESHES [JSON=MESHES ...]`.

Of each category the shape of median Chamfer distance, so that nobody chose it: three rows for each JSON of `isofield
evaluate`: what the network saw (MESHES/NAME_input.ply, if `--with-input` wrote it), its mesh (MESHES/NAME.ply), and the
truth (FOLDER/NAME.ply), all three in one ball. `--names` prints the names alone: which meshes are needed.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_processing.formats.mesh_files import read_mesh
from data_processing.formats.pictures import Picture, write_picture
from data_processing.formats.point_clouds import read_cloud
from data_processing.geometry.rendering import THREE_QUARTER, render, splats, view_ball_around
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.generation.contact_sheets import TILE, sheet
from isofield.runtime.file_names import INPUT


def medians(result: dict[str, Any]) -> list[str]:
    """Of each category the name whose Chamfer distance is the (lower) median."""
    categories: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for row in result["per_shape"]:
        if row.get("chamfer") is not None:
            categories[row["name"].partition("/")[0]].append((row["chamfer"], row["name"]))
    return [sorted(rows)[(len(rows) - 1) // 2][1] for _, rows in sorted(categories.items())]


def drawn(file: Path) -> TriangleMesh:
    """A mesh, or the squares that stand for a cloud's points. Raises OSError or ValueError where it is neither."""
    if (cloud := read_cloud(file)) is not None:
        return splats(cloud.points_N3, cloud.normals_N3)
    return read_mesh(file)


def pictures_of(meshes: Path, truth: Path, name: str) -> NDArray[np.uint8]:
    """(3, S, S): input, mesh and truth of a shape, as large in each picture as it is; (2, S, S) without an input."""
    files = (meshes / f"{name}{INPUT}.ply", meshes / f"{name}.ply", truth / f"{name}.ply")
    shapes = [drawn(file) for file in (files if files[0].is_file() else files[1:])]
    ball = view_ball_around(*shapes[-1].bounds())
    return np.concatenate(
        [render(shape, [THREE_QUARTER], size=TILE, view_ball=ball, up="y", supersampling=2) for shape in shapes]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.medians", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--names", action="store_true")
    parser.add_argument("results", nargs="+", metavar="JSON=MESHES")
    options = parser.parse_args(arguments)
    pictures = []
    for pair in options.results:
        result, _, meshes = pair.partition("=")
        names = medians(json.loads(Path(result).read_text(encoding="utf-8")))
        if options.names:
            print(*names, sep="\n")
            continue
        pictures.append(np.stack([pictures_of(Path(meshes), options.truth, name) for name in names], axis=1))
    if pictures:
        stacked = np.concatenate([rows.reshape(-1, *rows.shape[2:]) for rows in pictures])
        write_picture(options.out, Picture(sheet(stacked, columns=pictures[0].shape[1])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
