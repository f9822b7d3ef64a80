"""Input folders for tests of the preparation: off-centre boxes of known sides, and files that are not shapes."""

from pathlib import Path

import numpy as np
import trimesh

from data_processing.formats.mesh_files import write_mesh
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.runtime.seeds import numpy_generator

BAD = {"chair/cut.ply": b"ply\nformat binary_little_endian 1.0\nelement vertex 8\n", "table/empty.obj": b""}


def write_boxes(folder: Path, *, chairs: int = 3, tables: int = 2, bad: bool = False) -> Path:
    """`chair/00.ply`, ...: boxes with sides drawn by name; with `bad` also a cut and an empty file."""
    for name in [f"chair/{i:02d}" for i in range(chairs)] + [f"table/{i:02d}" for i in range(tables)]:
        random = numpy_generator("box", name)
        lower = random.uniform(-20, 20, 3)
        box = trimesh.creation.box(bounds=[lower, lower + random.uniform(1, 8, 3)])
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_mesh(folder / f"{name}.ply", TriangleMesh(np.array(box.vertices), np.array(box.faces)))
    for name, content in BAD.items() if bad else ():
        (folder / name).write_bytes(content)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """What must be equal between two preparations of the same input: shards and report, byte for byte."""
    files = [*sorted((folder / "shards").iterdir()), folder / "report.csv", folder / "dataset.json"]
    return {file.name: file.read_bytes() for file in files}
