"""Moving the vertices of a mesh onto the level of its field, along the field's gradient, without folding a triangle.

Marching cubes puts a vertex where a straight line between two samples crosses the level; a field shaped like a step
crosses elsewhere. The published refinement tries the 26 offsets around a vertex in three rounds: 79 evaluations of a
vertex. A Newton step along the gradient takes one value and one gradient.
"""

from typing import NamedTuple

import torch

from isofield.extraction.lattice import BATCH_POINTS, Field

LEAST_COSINE = 0.25  # between the normals of a triangle before and after: it may tilt, not turn over
GRADIENT_SHARE = 4  # a batch with gradients keeps the activations of all layers: it is so many times smaller


class Refined(NamedTuple):
    """Vertices after refinement, and what it cost."""

    vertices_V3: torch.Tensor  # float64
    evaluations: int  # values and gradients of the field, one each


def refine_vertices(
    mesh_vertices: torch.Tensor,
    faces: torch.Tensor,
    field: Field,
    iso_level: float,
    steps: int,
    max_move: float,
    *,
    batch_points: int = BATCH_POINTS,
    fixed: torch.Tensor | None = None,
) -> Refined:
    """Damped Newton steps towards the level: |field - iso_level| grows at no vertex, and no face turns over.

    `mesh_vertices` (V, 3) cube coordinates, `faces` (F, 3) int64; `field` maps (N, 3) float32 to (N,) and must be
    differentiable by its points. No vertex ends farther than `max_move` (cube units) from where it began; vertices
    marked in `fixed` (V,) bool stay. A move that brings a vertex no closer, or tilts a triangle beyond LEAST_COSINE, is
    taken back and tried at half the length in the next step. Costs steps + 1 values and `steps` gradients a vertex.
    Raises ValueError on bad settings, on a field without gradient, and on values that are not finite.
    """
    if steps < 1 or not max_move > 0:
        raise ValueError(
            f"refinement in {steps} steps within {max_move}: expected at least 1 step and a positive distance"
        )
    # In double, as moves become far smaller than a voxel; the field itself is asked in float32.
    start = mesh_vertices.double()
    free = torch.ones(len(start), dtype=torch.bool, device=start.device) if fixed is None else ~fixed
    best, damping = start, start.new_ones(len(start), 1)
    error, newton = _newton(field, start, iso_level, batch_points=batch_points)
    for step in range(steps):
        # A Newton step from the best place so far, no farther than allowed from where marching cubes put the vertex.
        target = _within(best + newton * damping, start, max_move)
        last = step + 1 == steps
        new_error, new_newton = _newton(field, target, iso_level, batch_points=batch_points, gradient=not last)
        # Taken where the error falls and no triangle turns; where not, the same step is tried at half the length.
        taken = _unfolded(start, best, target, faces, free & (new_error.abs() < error.abs()))
        best = torch.where(taken[:, None], target, best)
        error, newton = torch.where(taken, new_error, error), torch.where(taken[:, None], new_newton, newton)
        damping = torch.where(taken[:, None], 1.0, damping / 2)
    return Refined(best, (2 * steps + 1) * len(start))


def _newton(
    field: Field,
    points_V3: torch.Tensor,
    iso_level: float,
    *,
    batch_points: int,
    gradient: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """field - iso_level (V,), and the full Newton move along the gradient (V, 3); zeros without `gradient`."""
    error, move = points_V3.new_zeros(len(points_V3)), torch.zeros_like(points_V3)
    with torch.inference_mode(False), torch.set_grad_enabled(gradient):
        for part in torch.arange(len(points_V3), device=points_V3.device).split(max(1, batch_points // GRADIENT_SHARE)):
            batch = points_V3[part].float().requires_grad_(gradient)
            values = field(batch)
            error[part] = values.detach().double() - iso_level
            if gradient:
                move[part] = _gradient(values, batch)
    bad = int((~torch.isfinite(error)).sum())
    if bad:
        raise ValueError(f"field is NaN or infinite at {bad} of {len(error)} vertices: they cannot be refined")
    # Newton's step for f(x) = 0 along the gradient: -f g / |g|^2. Where the gradient is 0 there is no direction.
    square = (move * move).sum(1, keepdim=True)
    move *= torch.where(square > 0, -error[:, None] / square.clamp_min(1e-30), 0.0)
    return error, move


def _gradient(values: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    if not values.requires_grad:
        raise ValueError(
            "the field has no gradient (evaluated under no_grad or inference_mode?): it cannot refine vertices"
        )
    (gradient,) = torch.autograd.grad(values.sum(), points)
    return torch.nan_to_num(gradient.double(), nan=0.0, posinf=0.0, neginf=0.0)


def _within(target: torch.Tensor, start: torch.Tensor, distance: float) -> torch.Tensor:
    """`target` pulled back to at most `distance` from `start`."""
    offset = target - start
    return start + offset * (distance / offset.norm(dim=1, keepdim=True).clamp_min(distance))


def _unfolded(
    start: torch.Tensor, best: torch.Tensor, target: torch.Tensor, faces: torch.Tensor, taken: torch.Tensor
) -> torch.Tensor:
    """Which of the `taken` moves best -> target may stay, so that no face turns away from its normal at the start.

    Every round takes back all moves at the corners of folded faces; with no move left nothing is folded, so it ends.
    """
    first = _normals(start, faces)
    # Against the normals at the start, not the last ones: many small turns could add up to a fold.
    length = first.norm(dim=1)
    while True:
        now = _normals(torch.where(taken[:, None], target, best), faces)
        folded = ((now * first).sum(1) <= LEAST_COSINE * now.norm(dim=1) * length) & (length > 0)
        corners = faces[folded].reshape(-1)
        if not bool(taken[corners].any()):
            return taken
        taken = taken.clone()
        taken[corners] = False


def _normals(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Normals of faces, as long as twice the area: (F, 3)."""
    a, b, c = vertices[faces].unbind(1)
    return torch.linalg.cross(b - a, c - a)
