"""A mesh in fewer faces (`--faces`): what was watertight stays so, and what it costs is told."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_processing.geometry.simplification import collapse_edges, number_of_parts, open_pinches, signed_volume
from data_processing.geometry.triangle_mesh import TriangleMesh, is_watertight

FEWEST = 4  # faces of a closed surface: a tetrahedron
AGGRESSIVENESS = (5.0, 3.0, 7.0)  # ways to a few faces, until one of them keeps the volume
GOOD_VOLUME = 0.02  # share of the volume that may change before other ways are tried
PASSES = 8  # of collapsing, where one stops early
TRIES = 3  # what opens a pinched edge adds faces: as many fewer are asked for then
VOLUME_CHANGE = 0.1  # share of the volume from which on a change is told


class SimplifiedMesh(NamedTuple):
    """A mesh, and what is to be said of it: empty where it has as few faces as were asked for and the same shape."""

    mesh: TriangleMesh
    note: str = ""


def refuse_few(faces: int | None) -> None:
    """ValueError where no closed mesh has so few faces."""
    if faces is not None and faces < FEWEST:
        raise ValueError(f"--faces: expected at least {FEWEST} (a tetrahedron), got {faces}")


def simplify_mesh(mesh: TriangleMesh, faces: int) -> SimplifiedMesh:
    """The mesh, of a box about 1 long, in at most `faces` faces; as it was where it has no more.

    A watertight mesh stays watertight. Where parts cannot be made of so few faces, it has the fewest that were come
    by; where nothing closed was come by, it is left as it was. The note says either, parts that are gone, and a change
    of the volume.
    """
    if len(mesh.faces) <= faces:
        return SimplifiedMesh(mesh)
    closed, before = is_watertight(mesh), signed_volume(mesh)
    best, least = mesh, (np.inf, np.inf)
    for aggressiveness in AGGRESSIVENESS:
        attempt = _attempt(mesh, faces, aggressiveness)
        if not len(attempt.faces) or (closed and not is_watertight(attempt)):
            continue
        change = abs(signed_volume(attempt) - before) / max(abs(before), np.finfo(np.float64).tiny)
        cost = max(0, len(attempt.faces) - faces), change
        if cost < least:
            best, least = attempt, cost
        if cost[0] == 0 and (change < GOOD_VOLUME or not closed):
            break
    if best is mesh:
        return SimplifiedMesh(mesh, f"in {faces:,} faces it would not be closed: left in its {len(mesh.faces):,}")
    lost = []
    if len(best.faces) > faces:
        lost.append(f"no closed mesh of {faces:,} was come by")
    parts, left = number_of_parts(mesh), number_of_parts(best)
    if left < parts:
        lost.append(f"{parts - left:,} of its {parts:,} parts are gone")
    if closed and least[1] > VOLUME_CHANGE:
        lost.append(f"its volume is {signed_volume(best) / before:.0%} of what it was")
    return SimplifiedMesh(best, f"in {len(best.faces):,} faces {', '.join(lost)}: ask for more --faces" if lost else "")


def _attempt(mesh: TriangleMesh, faces: int, aggressiveness: float) -> TriangleMesh:
    """What is made in one of the ways, opened where it was pinched; more than `faces` where nothing helps."""
    target, made = faces, mesh
    for _ in range(TRIES):
        points: NDArray[np.floating] = mesh.vertices
        few: NDArray[np.integer] = mesh.faces
        for _ in range(PASSES):  # each begins with the smallest error again
            before = len(few)
            points, few = collapse_edges(points, few, most=target, aggressiveness=aggressiveness)
            if len(few) <= target or len(few) == before:
                break
        made = open_pinches(TriangleMesh(np.asarray(points, dtype=np.float64), np.asarray(few, dtype=np.int64)))
        stopped, target = len(few) > target, target - (len(made.faces) - faces)
        if len(made.faces) <= faces or stopped or target < FEWEST:
            break
    return made
