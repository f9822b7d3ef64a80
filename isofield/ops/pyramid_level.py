"""What follows the convolutions of one level of a pyramid: rectifier, batch normalisation, pooling for the next level.

On a CPU, numba kernels over channels-last rows make six passes of a dozen; statistics add up in double. Elsewhere,
and where statistics run over the shapes of several ranks, the plain twin runs. Both are equal up to rounding.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from isofield.ops import memory
from isofield.ops.batch_statistics import batch_norm, statistics_used
from isofield.ops.feature_sampling.cpu import HAS_NUMBA
from isofield.runtime.threads import in_parallel, share


def pyramid_level(
    x_BCRRR: torch.Tensor,
    norm: nn.modules.batchnorm._BatchNorm,
    *,
    training: bool,
    pooled: bool,
    is_padding: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Normalised relu(x), and of that the largest of each 2^3 voxels where `pooled`.

    The first is for sampling: channels last in memory and float32 (double stays), as gradients of points add up in it;
    the second has the type of x. `training`, `is_padding` and `norm` as `batch_norm` takes them. Differentiable once.
    """
    if not _kernels_serve(x_BCRRR, training):
        return pyramid_level_plain(x_BCRRR, norm, training=training, pooled=pooled, is_padding=is_padding)
    levels = _Level.apply(x_BCRRR, norm.weight, norm.bias, norm, training, pooled)
    return (levels[0], levels[1]) if pooled else (levels, None)


def pyramid_level_plain(
    x_BCRRR: torch.Tensor,
    norm: nn.modules.batchnorm._BatchNorm,
    *,
    training: bool,
    pooled: bool,
    is_padding: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The plain twin."""
    y_BCRRR = batch_norm(F.relu(x_BCRRR), norm, training=training, is_padding=is_padding)
    # Channels-last volumes are pooled nine times faster.
    y_BCRRR = _ForSampling.apply(y_BCRRR)
    return y_BCRRR, F.max_pool3d(y_BCRRR, 2).to(x_BCRRR.dtype) if pooled else None


def _kernels_serve(x_BCRRR: torch.Tensor, training: bool) -> bool:
    over_ranks = training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    known = x_BCRRR.device.type == "cpu" and x_BCRRR.dtype in (torch.float32, torch.bfloat16) and x_BCRRR.numel() > 0
    even = x_BCRRR.shape[2] % 2 == 0 and len({*x_BCRRR.shape[2:]}) == 1
    return HAS_NUMBA and known and even and not over_ranks and not torch.compiler.is_compiling()


class _ForSampling(torch.autograd.Function):
    """The same volume laid out for sampling: a point's channels side by side, float32 (double stays).

    Sampling computes in float32, and gradients of points add up there. They go back as the volume was: NCDHW, its type.
    """

    @staticmethod
    def forward(ctx: Any, x_BCRRR: torch.Tensor) -> torch.Tensor:
        ctx.dtype = x_BCRRR.dtype
        dtype = torch.promote_types(x_BCRRR.dtype, torch.float32)
        return x_BCRRR.to(dtype, memory_format=torch.channels_last_3d)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.to(ctx.dtype, memory_format=torch.contiguous_format)


class _Level(torch.autograd.Function):
    """apply(x_BCRRR, weight_C, bias_C, norm, training, pooled).

    With r = relu(x), x^ = (r - mean) / sigma, d the gradient of the normalised volume, n elements a channel: gradients
    of weight and bias are sum(d x^) and sum(d); that of r is weight / sigma (d - sum(d) / n - x^ sum(d x^) / n), where
    the last two terms belong to training.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x_BCRRR: torch.Tensor,
        weight_C: torch.Tensor,
        bias_C: torch.Tensor,
        norm: nn.modules.batchnorm._BatchNorm,
        training: bool,
        pooled: bool,
    ) -> Any:
        from isofield.ops import pyramid_level_kernels as kernels

        rows = _Rows(x_BCRRR)
        # Statistics: of this batch, noted in the layer as torch notes them, or the layer's own.
        if training:
            mean_C, var_C = rows.moments()
            statistics_used(norm, torch.tensor(float(rows.count)), torch.from_numpy(mean_C), torch.from_numpy(var_C))
        else:
            assert norm.running_mean is not None and norm.running_var is not None
            mean_C, var_C = norm.running_mean.float().numpy(), norm.running_var.float().numpy()
        # Rounded where torch's own kernel rounds: in float32 the values are those of the plain twin, bit for bit.
        inverse_C = (1 / np.sqrt(var_C.astype(np.float64) + norm.eps)).astype(np.float32)
        scale_C = weight_C.detach().float().numpy() * inverse_C
        shift_C = (bias_C.detach().double().numpy() - mean_C.astype(np.float64) * scale_C).astype(np.float32)
        # Rectify, normalise and write in one pass over memory: the level is too large for the caches.
        y = _Rows.empty_like(x_BCRRR, x_BCRRR.shape[2], torch.float32)
        in_parallel(lambda *part: kernels.normalise(rows.array, scale_C, shift_C, *share(rows.count, *part), y.array))
        ctx.save_for_backward(rows.volume, weight_C)
        ctx.mean_C, ctx.inverse_C, ctx.training, ctx.winners = mean_C, inverse_C, training, None
        if not pooled:
            return y.volume
        # The next level's input, and which voxel of each block won: backward sends its gradient there alone.
        of_blocks = _Rows.empty_like(x_BCRRR, x_BCRRR.shape[2] // 2, x_BCRRR.dtype)
        winners = _Rows.empty_like(x_BCRRR, x_BCRRR.shape[2] // 2, torch.uint8)
        rows.by_slab(kernels.pool, y.array, into=(of_blocks.array, winners.array))
        ctx.winners = winners.array
        return y.volume, of_blocks.volume

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor, of_blocks: torch.Tensor | None = None) -> tuple[Any, ...]:
        from isofield.ops import pyramid_level_kernels as kernels

        x_BCRRR, weight_C = ctx.saved_tensors
        rows, mean_C, inverse_C = _Rows(x_BCRRR), ctx.mean_C, ctx.inverse_C
        no_rows = np.empty((0, 0), rows.array.dtype)
        from_blocks = no_rows if of_blocks is None else _Rows(of_blocks).array
        winners = np.empty((0, 0), np.uint8) if ctx.winners is None else ctx.winners
        read = rows.array, _Rows(gradient).array, of_blocks is not None, from_blocks, winners
        plain, weighted = rows.zeros_of_slabs(), rows.zeros_of_slabs()
        rows.by_slab(kernels.gradient_sums, *read, mean_C, into=(plain, weighted))
        sum_C, weighted_C = plain.sum(0), weighted.sum(0) * inverse_C
        of_x = None
        if ctx.needs_input_grad[0]:
            # As torch's own kernel computes and rounds: (d - mean d - (r - mean) k) / sigma * weight.
            # In evaluation the statistics are constants: the terms of the mean are 0.
            divisor = rows.count if ctx.training else np.inf
            k_C, mean_d_C = (weighted_C * inverse_C / divisor).astype(np.float32), (sum_C / divisor).astype(np.float32)
            weight = weight_C.detach().float().numpy()
            out = _Rows.empty_like(x_BCRRR, x_BCRRR.shape[2], x_BCRRR.dtype)
            rows.by_slab(kernels.gradient_of_rows, *read, mean_C, k_C, mean_d_C, inverse_C, weight, into=(out.array,))
            of_x = out.volume
        return of_x, *(torch.from_numpy(s).to(weight_C.dtype) for s in (weighted_C, sum_C)), None, None, None


class _Rows:
    """A volume (B, C, R, R, R) as the kernels take it: channels-last rows, by slabs of two planes."""

    def __init__(self, volume_BCRRR: torch.Tensor) -> None:
        from isofield.ops.bfloat16_loops import as_array

        self.volume = memory.channels_last(volume_BCRRR)
        self.side, channels = volume_BCRRR.shape[2], volume_BCRRR.shape[1]
        self.array: NDArray = as_array(self.volume.movedim(1, -1)).reshape(-1, channels)
        self.count, self.slabs = len(self.array), len(volume_BCRRR) * self.side // 2

    @classmethod
    def empty_like(cls, volume_BCRRR: torch.Tensor, side: int, dtype: torch.dtype) -> "_Rows":
        shapes, channels = volume_BCRRR.shape[:2]
        return cls(memory.empty(shapes, side, side, side, channels, dtype=dtype).movedim(-1, 1))

    def zeros_of_slabs(self) -> NDArray[np.float64]:
        return np.zeros((self.slabs, self.array.shape[1]))

    def by_slab(self, kernel: Callable[..., None], *read: Any, into: tuple[NDArray, ...]) -> None:
        in_parallel(lambda *part: kernel(*read, self.side, *share(self.slabs, *part), *into))

    def moments(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and biased variance (C,) of the rectified rows, in two passes, rounded as torch does."""
        from isofield.ops import pyramid_level_kernels as kernels

        sums, squares = self.zeros_of_slabs(), self.zeros_of_slabs()
        self.by_slab(kernels.sums, self.array, into=(sums,))
        mean_C = (sums.sum(0) / self.count).astype(np.float32)
        self.by_slab(kernels.squares, self.array, mean_C, into=(squares,))
        return mean_C, squares.sum(0).astype(np.float32) / np.float32(self.count)
