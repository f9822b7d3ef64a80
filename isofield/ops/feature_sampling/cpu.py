"""Feature sampling on a CPU as autograd functions over the kernels.

Of the layer, coarse grids are folded: voxels times columns first, then the products are sampled. Features of the fine
grids exist for one chunk of points only and are computed again in backward.
"""

import dataclasses
import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from isofield.ops import memory
from isofield.ops.feature_sampling.places import (
    PLACES,
    Sampling,
    column_slices,
    first_columns,
    order_by_cell,
    pays_to_fold,
    rows_of,
    working_dtype,
)
from isofield.ops.linear_leaky import product

if TYPE_CHECKING:
    from isofield.ops.feature_sampling.cpu_kernels import Grid

HAS_NUMBA = importlib.util.find_spec("numba") is not None
# Points whose features exist at once: 52 MB at published sizes. Fewer would stay in cache, but torch's threads keep
# spinning for milliseconds after every product and would take the cores from the kernels.
CHUNK = 1 << 14


class SampleOnCPU(torch.autograd.Function):
    """apply(points_BN3, sampling, *volumes): features (B, N, 7 * sum of C)."""

    @staticmethod
    def forward(ctx: Any, points_BN3: torch.Tensor, sampling: Sampling, *volumes: torch.Tensor) -> torch.Tensor:
        from isofield.ops.feature_sampling.cpu_kernels import gather

        dtype = working_dtype(volumes, points_BN3)
        ctx.save_for_backward(points_BN3)
        ctx.sampling, ctx.gradients = sampling, [_Gradient(volume, dtype) for volume in volumes]
        channels = [volume.shape[1] for volume in volumes]
        columns = dict(enumerate(first_columns(channels)))
        features_BNF = memory.empty(*points_BN3.shape[:2], PLACES * sum(channels), dtype=dtype)
        for shape, points_N3 in enumerate(points_BN3.to(dtype)):
            # Shape by shape: points in the order of cells read neighbouring voxels, and only one shape's rows are
            # copied at a time.
            rows = {scale: rows_of(volume[shape], dtype) for scale, volume in enumerate(volumes)}
            order_N = order_by_cell(points_N3)
            gather(_grids(rows, columns, points_N3[order_N], sampling), order_N, features_BNF[shape])
        return features_BNF

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient_BNF: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        from isofield.ops.feature_sampling.cpu_kernels import scatter

        (points_BN3,) = ctx.saved_tensors
        columns = dict(enumerate(first_columns([gradient.channels for gradient in ctx.gradients])))
        gradients = _zeros(ctx.gradients, ctx.needs_input_grad[2:])
        gradient_BNF = gradient_BNF.contiguous()
        for shape, points_N3 in enumerate(points_BN3.to(gradient_BNF.dtype)):
            rows = {scale: gradient[shape] for scale, gradient in gradients.items()}
            order_N = order_by_cell(points_N3)
            scatter(_grids(rows, columns, points_N3[order_N], ctx.sampling), order_N, gradient_BNF[shape])
        return None, None, *_volumes(ctx.gradients, gradients)


class SampledLinearOnCPU(torch.autograd.Function):
    """apply(points_BN3, sampling, dtype, weight_OF, bias_O, *volumes): (B, N, O); `dtype` of its matrix products."""

    @staticmethod
    def forward(
        ctx: Any,
        points_BN3: torch.Tensor,
        sampling: Sampling,
        dtype: torch.dtype,
        weight_OF: torch.Tensor,
        bias_O: torch.Tensor,
        *volumes: torch.Tensor,
    ) -> torch.Tensor:
        working = working_dtype(volumes, points_BN3)
        layer = _Layer(weight_OF.to(dtype), volumes, points=points_BN3.shape[1])
        rows = [rows_of(volume[shape], working) for shape in range(len(points_BN3)) for volume in volumes]
        out_BNO = memory.empty(*points_BN3.shape[:2], len(weight_OF), dtype=dtype)
        for shape, points_N3 in enumerate(points_BN3.to(working)):
            of_shape = rows[shape * len(volumes) : (shape + 1) * len(volumes)]
            layer.forward(of_shape, points_N3, sampling, bias_O.to(dtype), out_BNO[shape])
        ctx.save_for_backward(points_BN3, weight_OF, *rows)
        ctx.sampling, ctx.layer, ctx.gradients = sampling, layer, [_Gradient(volume, working) for volume in volumes]
        return out_BNO

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient_BNO: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        points_BN3, weight_OF, *rows = ctx.saved_tensors
        _, _, _, wants_weight, wants_bias, *wants_volumes = ctx.needs_input_grad
        gradients, working = _zeros(ctx.gradients, wants_volumes), rows[0].dtype if rows else points_BN3.dtype
        weight_gradient = torch.zeros(weight_OF.shape, dtype=working) if wants_weight else None
        for shape, points_N3 in enumerate(points_BN3.to(working)):
            of_shape = rows[shape * len(ctx.gradients) : (shape + 1) * len(ctx.gradients)]
            into = {scale: gradient[shape] for scale, gradient in gradients.items()}
            ctx.layer.backward(of_shape, points_N3, ctx.sampling, gradient_BNO[shape], into, weight_gradient)
        of_weight = None if weight_gradient is None else weight_gradient.to(weight_OF.dtype)
        of_bias = gradient_BNO.sum((0, 1), dtype=working).to(weight_OF.dtype) if wants_bias else None
        return None, None, None, of_weight, of_bias, *_volumes(ctx.gradients, gradients)


class _Layer:
    """The layer cut into the columns of fine grids, side by side, and those of folded grids, place by place."""

    def __init__(self, weight_OF: torch.Tensor, volumes: Sequence[torch.Tensor], *, points: int) -> None:
        channels, outputs = [volume.shape[1] for volume in volumes], len(weight_OF)
        pays = [pays_to_fold(v.shape[1], v.shape[2], outputs=outputs, points=points, device="cpu") for v in volumes]
        self.columns = column_slices(channels)
        self.fine = [scale for scale, folds in enumerate(pays) if not folds]
        self.starts = dict(zip(self.fine, first_columns([channels[scale] for scale in self.fine]), strict=True))
        fine = [weight_OF[:, self.columns[scale]] for scale in self.fine]
        self.weight_OG = torch.cat([weight_OF[:, :0], *fine], dim=1)  # G: features of the fine grids
        self.folded_QC = {  # Q = 7 O: the outputs of every place
            scale: weight_OF[:, self.columns[scale]].unflatten(1, (PLACES, -1)).transpose(0, 1).flatten(0, 1)
            for scale, folds in enumerate(pays)
            if folds
        }

    def forward(
        self,
        rows: Sequence[torch.Tensor],
        points_N3: torch.Tensor,
        sampling: Sampling,
        bias_O: torch.Tensor,
        out_NO: torch.Tensor,
    ) -> None:
        """Fill the outputs of one shape: in the order of cells first, then row by row to where they belong."""
        from isofield.ops.feature_sampling.cpu_kernels import gather

        dtype = out_NO.dtype
        # Coarse scales: the first layer is applied to whole volumes, which have fewer cells than there are samples.
        folded = {
            scale: product(rows[scale].to(dtype), weight_QC).to(points_N3.dtype).view(-1, len(bias_O))
            for scale, weight_QC in self.folded_QC.items()
        }
        # Neighbours in space one after the other: their cells are still in the cache.
        order_N = order_by_cell(points_N3)
        fine_grids = _grids({s: rows[s] for s in self.fine}, self.starts, points_N3[order_N], sampling)
        sums_NO = memory.empty(*out_NO.shape, dtype=points_N3.dtype)
        features = memory.empty(min(CHUNK, len(points_N3)), self.weight_OG.shape[1], dtype=dtype)
        # Fine scales: features of a chunk are gathered and multiplied while they are in the cache.
        for chunk in _chunks(len(points_N3)):
            features_MG = features[: chunk.stop - chunk.start]
            gather(_chunk_of(fine_grids, chunk), torch.arange(len(features_MG)), features_MG)
            sums_NO[chunk] = product(features_MG, self.weight_OG, bias_O)
        # The folded scales are added, and everything goes back to where the caller has its points.
        in_order_N = torch.arange(len(order_N))
        gather(_grids(folded, None, points_N3[order_N], sampling), in_order_N, sums_NO)
        place_N = torch.empty_like(order_N).scatter_(0, order_N, in_order_N)
        torch.index_select(sums_NO.to(dtype), 0, place_N, out=out_NO)

    def backward(
        self,
        rows: Sequence[torch.Tensor],
        points_N3: torch.Tensor,
        sampling: Sampling,
        gradient_NO: torch.Tensor,
        into: Mapping[int, torch.Tensor],
        weight_gradient_OF: torch.Tensor | None,
    ) -> None:
        """Add one shape's gradients to the rows of the scales in `into` and to the weight's."""
        from isofield.ops.feature_sampling.cpu_kernels import gather, scatter

        dtype, working, outputs = gradient_NO.dtype, points_N3.dtype, gradient_NO.shape[1]
        order_N = order_by_cell(points_N3)
        points_N3 = points_N3[order_N]
        folded = {
            scale: memory.zeros(len(rows[scale]) * PLACES, outputs, dtype=working)
            for scale in self.folded_QC
            if scale in into or weight_gradient_OF is not None
        }
        # Coarse scales first: gradients by place, to be taken through the folded layer at the end.
        scatter(_grids(folded, None, points_N3, sampling), order_N, gradient_NO.contiguous())
        read = _grids({s: rows[s] for s in self.fine}, self.starts, points_N3, sampling)
        added = _grids({s: into[s] for s in self.fine if s in into}, self.starts, points_N3, sampling)
        fine_gradient_OG = torch.zeros(self.weight_OG.shape, dtype=working)
        features = memory.empty(min(CHUNK, len(points_N3)), self.weight_OG.shape[1], dtype=dtype)
        for chunk in _chunks(len(points_N3)):
            # Fine scales: features are gathered again rather than kept, which would take gigabytes.
            gradient_MO, rows_M = gradient_NO[order_N[chunk]], torch.arange(chunk.stop - chunk.start)
            if weight_gradient_OF is not None:
                features_MG = features[: len(rows_M)]
                gather(_chunk_of(read, chunk), rows_M, features_MG)
                fine_gradient_OG += product(gradient_MO.t(), features_MG.t())
            if added:
                gradient_MG = product(gradient_MO, self.weight_OG.t())
                scatter(_chunk_of(added, chunk), rows_M, gradient_MG)
        self._finish(rows, folded, fine_gradient_OG, into, weight_gradient_OF, dtype)

    def _finish(
        self,
        rows: Sequence[torch.Tensor],
        folded: Mapping[int, torch.Tensor],
        fine_gradient_OG: torch.Tensor,
        into: Mapping[int, torch.Tensor],
        weight_gradient_OF: torch.Tensor | None,
        dtype: torch.dtype,
    ) -> None:
        """From gradients of products to those of voxels and weights; from side by side to the weight's columns."""
        # Coarse scales: the gradient of products by place goes back through the layer to voxels and to weights.
        for scale, gradient in folded.items():
            gradient_VQ = gradient.view(len(rows[scale]), -1).to(dtype)
            if scale in into:
                into[scale] += product(gradient_VQ, self.folded_QC[scale].t())
            if weight_gradient_OF is not None:
                gradient_QC = product(gradient_VQ.t(), rows[scale].to(dtype).t())
                gradient_OPC = gradient_QC.view(PLACES, -1, gradient_QC.shape[1]).transpose(0, 1)
                weight_gradient_OF[:, self.columns[scale]] += gradient_OPC.flatten(1)
        if weight_gradient_OF is not None:
            for scale, start in self.starts.items():
                columns = self.columns[scale]
                width = columns.stop - columns.start
                weight_gradient_OF[:, columns] += fine_gradient_OG[:, start : start + width]


def _chunks(points: int) -> list[slice]:
    """Their size decides the order of additions into the weight's gradient: it must not depend on threads."""
    return [slice(start, min(start + CHUNK, points)) for start in range(0, points, CHUNK)]


def _chunk_of(grids: "list[Grid]", chunk: slice) -> "list[Grid]":
    return [dataclasses.replace(grid, coordinates_N73=grid.coordinates_N73[chunk]) for grid in grids]


def _grids(
    rows: Mapping[int, torch.Tensor], columns: Mapping[int, int] | None, points_N3: torch.Tensor, sampling: Sampling
) -> "list[Grid]":
    """The scales as the kernels take them; without columns they are folded."""
    from isofield.ops.feature_sampling.cpu_kernels import Grid

    grids, coordinates = [], {}
    for scale, rows_VC in rows.items():
        # A folded grid has seven rows a voxel. The cube root of a number of voxels is rounded, as floating roots are
        # not exact.
        voxels = len(rows_VC) // (PLACES if columns is None else 1)
        resolution = round(voxels ** (1 / 3))
        if resolution not in coordinates:
            coordinates[resolution] = sampling.coordinates(points_N3[None], resolution)[0].contiguous()
        column = 0 if columns is None else columns[scale]
        grids.append(Grid(rows_VC, coordinates[resolution], resolution, column, folded=columns is None))
    return grids


class _Gradient:
    """How the gradient of a volume is made: as channels-last rows, then in the volume's own dtype and layout."""

    def __init__(self, volume_BCRRR: torch.Tensor, working: torch.dtype) -> None:
        self.batch, self.channels, *self.grid = volume_BCRRR.shape
        self.dtype, self.working = volume_BCRRR.dtype, working
        # The gradient lies as its volume does, so that the layer before copies nothing.
        self.layout = torch.contiguous_format if volume_BCRRR.is_contiguous() else torch.channels_last_3d

    def zeros(self) -> torch.Tensor:
        """Rows (B, R^3, C)."""
        return memory.zeros(self.batch, self.grid[0] ** 3, self.channels, dtype=self.working)

    def volume(self, rows_BVC: torch.Tensor) -> torch.Tensor:
        volume_BCRRR = rows_BVC.view(self.batch, *self.grid, self.channels).movedim(-1, 1)
        return volume_BCRRR.to(self.dtype).contiguous(memory_format=self.layout)


def _zeros(gradients: Sequence[_Gradient], wanted: Sequence[bool]) -> dict[int, torch.Tensor]:
    return {scale: gradients[scale].zeros() for scale, needed in enumerate(wanted) if needed}


def _volumes(gradients: Sequence[_Gradient], rows: Mapping[int, torch.Tensor]) -> list[torch.Tensor | None]:
    return [gradient.volume(rows[scale]) if scale in rows else None for scale, gradient in enumerate(gradients)]
