"""The parts of a mesh, closed ones apart from open ones, and the winding number that they make together.

Closed parts are scan converted, exactly. All count +1 inside, however they are wound: a part that is inside out, as
mirrored copies are exported, is as solid as the others where they overlap. But for cavities: a part that is wound
against the one around it, and lies wholly in its solid, counts -1. Open parts add a fraction (winding_number.py).
"""

import dataclasses
import functools

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.geometry.triangle_mesh import TriangleMesh, face_crosses
from data_processing.occupancy.face_orientation import orient_faces, snap_vertices
from data_processing.occupancy.scan_batches import scan_grids
from data_processing.occupancy.scan_conversion import PointFrame, grid_crossings, scan_box, scan_grid, scan_points
from data_processing.occupancy.winding_number import boundary_edges, winding_grid, winding_points, winding_values
from isofield.runtime.side_by_side import ask

SCANNED = 0  # place in the course of a preparation, where shapes are prepared side by side
LOBE_RESOLUTION = 64  # lines in which parts that cross themselves are looked for
LOBE_LENGTH = 0.02  # of a voxel: shorter stretches are rounding
LOBE_SLACK = 0.01  # of the longest side, around the box of such a part
MANY_PARTS = 1000  # all pairs of more are not compared
ENCLOSES = 0.01  # volume over area^1.5, at least: of a ball 0.094, of a cube 0.068, of a sheet 0
MAX_LOBED = 64  # parts that cross themselves and are asked one by one
UNCLEAR = 0.4, 0.6  # share of the area that is turned: either way may have been meant
PROBES = 4096  # of a part, about: places from which it is told whether it lies in another
MAX_STEPS = 32  # along the side of a face
PROBE_STEP = 1e-6  # of the mesh's longest side, off the face


class MeshParts:
    """Triangles (F, 3, 3) of a mesh: of closed parts, turned to count +1 or -1 inside, and of open ones.

    `lobed` holds closed parts that are wound both ways round by themselves (an 8): they count wherever their number is
    not 0. `mesh` and `all` are as in the file.
    """

    def __init__(self, mesh: TriangleMesh) -> None:
        # Orientation is found on vertices that touch, as seams of rounding would look like open borders.
        snapped = snap_vertices(mesh)
        oriented = orient_faces(snapped)
        faces_K3, closed_K = mesh.faces[oriented.row_K], oriented.closed_K
        self.mesh, self.all = mesh, mesh.triangles()
        # A sound mesh is taken as it is: copies of all its corners would cost more than finding that out.
        sound = snapped is mesh and len(faces_K3) == len(mesh.faces) and not oriented.turned_K.any()
        faces_K3 = faces_K3 if sound else np.where(oriented.turned_K[:, None], faces_K3[:, ::-1], faces_K3)
        triangles = self.all if sound else snapped.vertices[faces_K3]
        self.lobed: list[tuple[NDArray[np.float64], int]]
        self.open = triangles[~closed_K]
        self.boundary = np.empty((0, 2, 3))  # (E, 2, 3)
        if len(self.open):
            sheets = TriangleMesh(snapped.vertices, faces_K3[~closed_K])
            turned_F = _inside_out(sheets, oriented.part_K[~closed_K])
            sheets = TriangleMesh(sheets.vertices, np.where(turned_F[:, None], sheets.faces[:, ::-1], sheets.faces))
            self.open, self.boundary = sheets.triangles(), boundary_edges(sheets)
        self.one_sided, self.manifold = oriented.one_sided, oriented.manifold and not len(self.open)
        self.closed, self.lobed, self.unclear = triangles if closed_K.all() else triangles[closed_K], [], 0
        part_F = oriented.part_K[closed_K]
        # A single part has nothing to overlap and nothing to be hollow in: it counts wherever its number is not 0.
        if len(part_F) and (part_F != part_F[0]).any():
            self._set_signs(np.unique(part_F, return_inverse=True)[1].reshape(-1), oriented.turned_K[closed_K])

    def _set_signs(self, part_F: NDArray[np.int64], turned_F: NDArray[np.bool_]) -> None:
        """Turn closed parts so that each counts what it should, and take out those that cross themselves."""
        # What a part counts follows from how it is wound, in what it lies, and whether it crosses itself.
        solids = _Solids(self.closed, part_F)
        sign_P, self.unclear = solids.signs(_turned_share(self.closed, turned_F, solids))
        lobed_P = solids.lobed()
        # Turned so that a part's own number is its sign; one with both signs is asked by itself, for not 0.
        flip_F = (sign_P != solids.wound_P)[part_F]
        corners = np.where(flip_F[:, None, None], self.closed[:, ::-1], self.closed) if flip_F.any() else self.closed
        self.closed = corners[~lobed_P[part_F]] if lobed_P.any() else corners
        self.lobed = [(corners[part_F == part], int(sign_P[part])) for part in np.flatnonzero(lobed_P)]

    @property
    def concern(self) -> str:
        """What is doubtful about the parts themselves, or ""."""
        if self.one_sided:
            return f"{self.one_sided} faces are in parts with one side only (Moebius)"
        if self.unclear:
            return f"{self.unclear} inner shells are wound both ways: cavity or solid is a guess"
        return ""

    def in_frame(self, frame: PointFrame) -> "MeshParts":
        """The same parts in cube coordinates of a frame."""
        other = object.__new__(MeshParts)
        other.__dict__.update(self.__dict__)
        other.mesh = dataclasses.replace(self.mesh, vertices=frame.to_cube(self.mesh.vertices))
        other.all, other.closed = frame.to_cube(self.all), frame.to_cube(self.closed)
        other.open, other.boundary = frame.to_cube(self.open), frame.to_cube(self.boundary)
        other.lobed = [(frame.to_cube(corners), sign) for corners, sign in self.lobed]
        return other

    def number_grid(self, resolution: int, device: torch.device | str) -> torch.Tensor:
        """Rounded winding number (R, R, R) int16; the parts must be in cube coordinates."""
        number = ask(
            torch.as_tensor(self.closed, device=device),
            alone=functools.partial(scan_grid, resolution=resolution),
            together=functools.partial(scan_grids, resolution=resolution),
            place=(SCANNED, resolution),
        )
        for corners, sign in self.lobed:
            # Only where the part reaches: dozens of small ones would cost a pass over the whole grid each.
            box, own = scan_box(torch.as_tensor(corners, device=device), resolution)
            number[box] += sign * (own != 0)
        if len(self.open):
            number += torch.from_numpy(winding_grid(self.open, resolution, boundary_E23=self.boundary)).to(device)
        return number

    def fraction_at(self, points_N3: NDArray[np.floating], device: torch.device | str) -> NDArray[np.float64]:
        """Winding number (N,) at points, not rounded where parts are open: on the right side of every odd quarter."""
        number = winding_values(self.open, points_N3, boundary_E23=self.boundary, quarters=True)
        return number + self._closed_number(points_N3, device)

    def number_at(self, points_N3: NDArray[np.floating], device: torch.device | str) -> NDArray[np.int16]:
        """Rounded winding number (N,) at points."""
        number = self._closed_number(points_N3, device)
        if len(self.open):
            number += winding_points(self.open, points_N3, boundary_E23=self.boundary)
        return number

    def _closed_number(self, points_N3: NDArray[np.floating], device: torch.device | str) -> NDArray[np.int16]:
        number = np.zeros(len(points_N3), dtype=np.int16)
        if len(self.closed):
            number += scan_points(self.closed, points_N3, device=device)
        for corners, sign in self.lobed:
            # There may be dozens of small ones: only the points in the box of each are asked.
            low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
            slack = LOBE_SLACK * float((high - low).max())
            # The slack keeps points that rounding has put beside the box.
            near = np.flatnonzero(((points_N3 >= low - slack) & (points_N3 <= high + slack)).all(axis=1))
            number[near] += np.int16(sign) * (scan_points(corners, points_N3[near], device=device) != 0)
        return number


def _inside_out(sheets: TriangleMesh, part_F: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Faces (F,) of open parts that nearly enclose a volume and are inside out, with what lies in the box of those.

    A box without its hidden side counts like a closed one. The inner wall of a vase stays against the outer one.
    """
    _, part_F = np.unique(part_F, return_inverse=True)
    part_F = part_F.reshape(-1)
    corners_F33, faces, count = sheets.triangles(), sheets.merged_faces, int(part_F.max()) + 1
    # The volume as seen from the middle of the rim: of a plane hole that is the volume of the part with a lid on.
    position, owner = np.zeros((int(faces.max()) + 1, 3)), np.zeros(int(faces.max()) + 1, dtype=np.int64)
    position[faces], owner[faces] = corners_F33, part_F[:, None]
    # The rim of each part: its vertices on edges that do not balance. A part that is nearly closed has a small one, and
    # a cone from there to all faces has the volume of the part with a lid.
    rim = sheets.unbalanced_edges[:, 0]
    rims_P = np.bincount(owner[rim], minlength=count).clip(min=1)
    middle_P3 = np.stack([np.bincount(owner[rim], position[rim, d], count) / rims_P for d in range(3)], axis=1)
    local = corners_F33 - middle_P3[part_F][:, None]
    volume_F = np.einsum("fd,fd->f", local[:, 0], np.cross(local[:, 1], local[:, 2])) / 6
    volume_P = np.bincount(part_F, volume_F, count)
    area_P = np.bincount(part_F, np.linalg.norm(face_crosses(corners_F33), axis=1) / 2, count)
    # A sheet encloses nothing: its way round is not judged.
    solid = np.flatnonzero(np.abs(volume_P) > ENCLOSES * area_P**1.5)
    inwards_P = np.zeros(count, dtype=bool)
    if len(solid) == 0 or len(solid) > MANY_PARTS or (volume_P[solid] > 0).all():
        return inwards_P[part_F]
    low_P3, high_P3 = _boxes(corners_F33, part_F, count)
    # From the largest box to the smallest: what lies in the box of another is turned if that one is.
    order = solid[np.argsort(-np.prod(high_P3[solid] - low_P3[solid], axis=1), kind="stable")]
    for at, part in enumerate(order):
        around = order[:at][((low_P3[order[:at]] <= low_P3[part]) & (high_P3[order[:at]] >= high_P3[part])).all(axis=1)]
        inwards_P[part] = inwards_P[around[-1]] if len(around) else volume_P[part] < 0
    return inwards_P[part_F]


def _boxes(corners_F33: NDArray[np.float64], part_F: NDArray[np.int64], count: int) -> tuple[NDArray, NDArray]:
    """Lower and upper corners (P, 3) of parts 0 to count - 1, each of which has faces."""
    if (part_F[1:] < part_F[:-1]).any():
        order = np.argsort(part_F, kind="stable")
        corners_F33, part_F = corners_F33[order], part_F[order]
    # Faces of a part are one run, so that a reduction over runs gives the boxes in one pass.
    begin = np.searchsorted(part_F, np.arange(count))
    a, b, c = (corners_F33[:, k] for k in range(3))
    low_F3, high_F3 = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
    return np.minimum.reduceat(low_F3, begin, axis=0), np.maximum.reduceat(high_F3, begin, axis=0)


def _turned_share(
    corners_F33: NDArray[np.float64], turned_F: NDArray[np.bool_], solids: "_Solids"
) -> NDArray[np.float64]:
    """Share (P,) of the area of each part that the file winds inwards."""
    area_F = np.linalg.norm(face_crosses(corners_F33), axis=1)
    # By area and not by number: many small faces of a screw head must not outvote the body.
    total_P = np.bincount(solids.part_F, area_F, solids.count)
    turned_P = np.bincount(solids.part_F, area_F * turned_F, solids.count) / np.where(total_P > 0, total_P, 1)
    return np.where(solids.wound_P < 0, 1 - turned_P, turned_P)


class _Solids:
    """Closed parts, each wound one way all over: triangles (F, 3, 3) and the part (F,) of each."""

    def __init__(self, corners_F33: NDArray[np.float64], part_F: NDArray[np.int64]) -> None:
        self.corners_F33, self.part_F = corners_F33, part_F
        self.count = count = int(part_F.max(initial=-1)) + 1
        self.low_P3, self.high_P3 = _boxes(corners_F33, part_F, count)
        # Volumes about the middle of each part: about a far origin small ones would drown in rounding.
        local = corners_F33 - ((self.low_P3 + self.high_P3) / 2)[part_F][:, None]
        self.volume_P = np.bincount(
            part_F, np.einsum("fd,fd->f", local[:, 0], np.cross(local[:, 1], local[:, 2])), count
        )
        self.wound_P = np.where(self.volume_P < 0, -1, 1)

    def signs(self, turned_share_P: NDArray[np.float64]) -> tuple[NDArray[np.int64], int]:
        """+1 or -1 (P,): what each part counts inside; and how many of the choices are unclear."""
        sign_P, unclear = np.ones(self.count, dtype=np.int64), 0
        inwards_P = turned_share_P > 0.5
        doubtful_P = (turned_share_P > UNCLEAR[0]) & (turned_share_P < UNCLEAR[1])
        inner, around = self._contained(inwards_P, doubtful_P)
        # From the outside in: a part in a cavity is solid again, whatever its winding.
        container_P = np.full(self.count, -1)
        for part, other in zip(inner, around, strict=True):
            # Of all parts around this one, the smallest is the one that it lies in directly.
            held = container_P[part]
            if held < 0 or abs(self.volume_P[other]) < abs(self.volume_P[held]):
                container_P[part] = other
        for part in np.argsort(-np.abs(self.volume_P), kind="stable"):
            other = container_P[part]
            # Nothing around it, or a cavity: solid, whatever its winding.
            if other < 0 or sign_P[other] < 0:
                continue
            unclear += int(doubtful_P[part] or doubtful_P[other])
            if inwards_P[part] != inwards_P[other]:
                sign_P[part] = -1
        return sign_P, unclear

    def _contained(self, inwards_P: NDArray[np.bool_], doubtful_P: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
        """Pairs (part, other) where the part lies wholly in the other, of parts that may be cavities."""
        inner: list[int] = []
        around: list[int] = []
        # Where all are wound alike no part is a cavity, and nobody has to be asked.
        if not doubtful_P.any() and (inwards_P == inwards_P[0]).all():
            return inner, around
        reach = PROBE_STEP * float((self.high_P3 - self.low_P3).max())
        order = np.argsort(self.part_F, kind="stable")
        begin = np.searchsorted(self.part_F[order], np.arange(self.count + 1))
        # Only parts in the box of another that is wound the other way can be cavities: few of a scene of thousands.
        held = [
            np.flatnonzero((self.low_P3 > self.low_P3[other]).all(1) & (self.high_P3 < self.high_P3[other]).all(1))
            for other in range(self.count)
        ]
        candidate_P = np.zeros(self.count, dtype=bool)
        for other, parts in enumerate(held):
            differ = (inwards_P[parts] != inwards_P[other]) | doubtful_P[parts] | doubtful_P[other]
            candidate_P[parts[differ]] = True
        probes = {
            part: self._probes(order[begin[part] : begin[part + 1]], part, reach)
            for part in np.flatnonzero(candidate_P)
        }
        for other, within in enumerate(held):
            parts = within[candidate_P[within]]
            if len(parts) == 0:
                continue
            corners = self.corners_F33[order[begin[other] : begin[other + 1]]]
            number = scan_points(corners, np.concatenate([probes[part] for part in parts]), device="cpu")
            ends = np.cumsum([len(probes[part]) for part in parts])[:-1]
            for part, own in zip(parts, np.split(number, ends), strict=True):
                # Wholly inside, at every probe; a part that pokes through the wall is no cavity.
                if (own != 0).all():
                    inner.append(int(part))
                    around.append(other)
        return inner, around

    def _probes(self, faces: NDArray[np.int64], part: np.signedinteger, reach: float) -> NDArray[np.float64]:
        """Places just outside a part: all over its faces, and near their corners."""
        # At most about a quarter as many faces as probes, evenly from the list: each gets several places.
        corners = self.corners_F33[faces[:: max(1, 4 * len(faces) // PROBES)]]
        crosses = face_crosses(corners)
        length = np.linalg.norm(crosses, axis=1)
        corners, normals = corners[length > 0], crosses[length > 0] / length[length > 0][:, None]
        # A box has twelve faces, and another part may cut through the middle of one: few faces get many places.
        steps = int(np.ceil(np.sqrt(PROBES / max(len(corners), 1))).clip(1, MAX_STEPS))
        i, j = (np.indices((steps, steps)).reshape(2, -1) + 0.5) / steps
        i, j = i[i + j < 1], j[i + j < 1]
        shares_S3 = np.concatenate([np.stack([i, j, 1 - i - j], axis=1), 0.01 / 3 + 0.99 * np.eye(3)])
        places = np.einsum("sk,fkd->fsd", shares_S3, corners) + (reach * self.wound_P[part] * normals)[:, None]
        return places.reshape(-1, 3)

    def lobed(self) -> NDArray[np.bool_]:
        """Which parts (P,) are wound one way in one place and the other way in another; they overlap themselves."""
        lobed_P = np.zeros(self.count, dtype=bool)
        # A part that no other one reaches may count as it is: its number is not 0 in either lobe.
        chosen = np.flatnonzero(self._meets_another()[self.part_F])
        if len(chosen) == 0:
            return lobed_P
        frame = PointFrame(self.corners_F33[chosen], LOBE_RESOLUTION)
        faces = torch.as_tensor(frame.to_cube(self.corners_F33[chosen]))
        lines, heights, signs, parts = [], [], [], []
        for crossing in grid_crossings(faces, LOBE_RESOLUTION, axis=2):
            lines.append((crossing.line_H2[:, 0] * LOBE_RESOLUTION + crossing.line_H2[:, 1]).numpy())
            heights.append(crossing.height_H.numpy())
            signs.append(crossing.sign_H.numpy())
            parts.append(self.part_F[chosen[crossing.face_H.numpy()]])
        if not lines:
            return lobed_P
        # Along each line the number of one part, between one crossing and the next.
        part, height = np.concatenate(parts), np.concatenate(heights)
        key = part * LOBE_RESOLUTION**2 + np.concatenate(lines)
        order = np.lexsort((height, key))
        number = -np.cumsum(np.concatenate(signs)[order]) * self.wound_P[part[order]]
        # Beyond the last crossing of a line there is no stretch; and stretches as short as rounding tell nothing.
        last = np.r_[key[order][1:] != key[order][:-1], True]
        long = np.r_[np.diff(height[order]), 0.0] > LOBE_LENGTH
        lobed_P[part[order][(number < 0) & long & ~last]] = True
        # Each of these costs a scan conversion of its own: of a hundred small ones the largest matter.
        if lobed_P.sum() > MAX_LOBED:
            largest = np.argsort(np.where(lobed_P, -np.abs(self.volume_P), 0), kind="stable")[:MAX_LOBED]
            lobed_P &= np.isin(np.arange(self.count), largest)
        return lobed_P

    def _meets_another(self) -> NDArray[np.bool_]:
        """Which parts (P,) have a box that overlaps another part's."""
        if self.count > MANY_PARTS:
            return np.ones(self.count, dtype=bool)
        apart_PP = (self.low_P3[:, None] > self.high_P3[None]).any(2)
        return np.count_nonzero(~(apart_PP | apart_PP.T), axis=1) > 1  # a box overlaps itself
