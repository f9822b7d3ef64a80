"""Classical reconstructions of clouds by MeshLab: screened Poisson, ball pivoting.

    PYTHON classical_surfaces.py METHOD OUT CLOUD.ply ...

Started by bench_reconstruction.py with the interpreter of an environment that has pymeshlab (GPL, so none of our
requirements); it imports nothing of ours. METHOD: poisson (normals estimated and made consistent over neighbours, the
file's own are not looked at), poisson_true (normals of the file), ball_pivoting (radius as MeshLab guesses it).
MeshLab's defaults otherwise: depth 8. A cloud of which it makes no face has no file in OUT.
"""

import sys
from pathlib import Path

import pymeshlab


def reconstruct(method: str, cloud: Path, out: Path) -> None:
    meshes = pymeshlab.MeshSet(verbose=False)
    meshes.load_new_mesh(str(cloud))
    if method != "poisson_true":
        meshes.compute_normal_for_point_clouds(k=10)
    if method == "ball_pivoting":
        meshes.generate_surface_reconstruction_ball_pivoting()
    else:
        meshes.generate_surface_reconstruction_screened_poisson(depth=8, threads=1)
    if meshes.current_mesh().face_number():
        meshes.save_current_mesh(str(out / cloud.name), save_vertex_normal=False, save_vertex_color=False)


def main() -> None:
    method, out = sys.argv[1], Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[3:]:
        try:
            reconstruct(method, Path(name), out)
        except pymeshlab.PyMeshLabException as error:
            print(f"{name}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
