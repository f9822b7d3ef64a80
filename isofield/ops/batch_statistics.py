"""Batch normalisation (Ioffe and Szegedy 2015) whose statistics run over the shapes of all ranks.

N processes then compute what one would on the whole batch, provided the losses of the ranks are weighted by their
share of the batch and gradients of parameters are summed over ranks afterwards, as the engine does.

The plain twin is `F.batch_norm` on the whole batch in one process. Both want volumes in NCDHW order: on channels-last
ones torch's CPU kernel loses three digits.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

SPACE = (0, 2, 3, 4)  # all dimensions of (B, C, R, R, R) but the channels


def batch_norm(
    x_BCRRR: torch.Tensor, norm: nn.modules.batchnorm._BatchNorm, *, training: bool, is_padding: bool = False
) -> torch.Tensor:
    """Normalise with the statistics of this step over all ranks (training), or the running ones.

    `norm` holds weight, bias, running statistics, eps and momentum. `is_padding`: the shapes here only keep the other
    ranks company; they are normalised like the others and count nothing. In training every rank has to come here.
    """
    x_BCRRR = x_BCRRR.contiguous()
    if not (training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        mean_C, var_C = norm.running_mean, norm.running_var
        if training and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        return F.batch_norm(x_BCRRR, mean_C, var_C, norm.weight, norm.bias, training, norm.momentum or 0.0, norm.eps)
    count, mean_C, var_C = moments_over_ranks(x_BCRRR.detach(), is_padding=is_padding)
    statistics_used(norm, count, mean_C, var_C)
    return _OverRanks.apply(
        x_BCRRR, norm.weight, norm.bias, mean_C.to(norm.weight), var_C.to(norm.weight), norm.eps, is_padding
    )


def moments_over_ranks(x_BCRRR: torch.Tensor, *, is_padding: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Count (scalar), mean and biased variance (C,) over all ranks but padding, float64, equal on each.

    One message: each rank's own count, mean and variance, combined as Chan, Golub and LeVeque 1979 do: as accurate as
    two passes over all.
    """
    channels = x_BCRRR.shape[1]
    # Count, mean and variance travel together in double: one collective a layer, and a rank of padding adds a count of
    # 0.
    own = torch.zeros(1 + 2 * channels, dtype=torch.float64, device=x_BCRRR.device)
    if not is_padding:
        wide = x_BCRRR.to(torch.promote_types(x_BCRRR.dtype, torch.float32))
        var_C, mean_C = torch.var_mean(wide, dim=SPACE, correction=0)
        own[0] = x_BCRRR.numel() // channels
        own[1 : 1 + channels], own[1 + channels :] = mean_C, var_C
    ranks = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(ranks, own)
    count_W1, mean_WC, var_WC = torch.stack(ranks).split([1, channels, channels], dim=1)
    count = count_W1.sum()
    mean_C = (count_W1 * mean_WC).sum(0) / count
    return count, mean_C, (count_W1 * (var_WC + (mean_WC - mean_C).square())).sum(0) / count


def statistics_used(
    norm: nn.modules.batchnorm._BatchNorm, count: torch.Tensor, mean_C: torch.Tensor, var_C: torch.Tensor
) -> None:
    """Move the running statistics towards those of this step (the variance: unbiased), and count the step."""
    assert norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    # The biased variance normalises, the unbiased one is remembered: as torch does it.
    norm.running_mean.lerp_(mean_C.to(norm.running_mean), norm.momentum)
    norm.running_var.lerp_((var_C * count / (count - 1)).to(norm.running_var), norm.momentum)


class _OverRanks(torch.autograd.Function):
    """y = weight (x - mean) / sqrt(var + eps) + bias, where mean and var are functions of all ranks' x.

    With g the gradient of the *summed* loss by y on this rank, x^ = (x - mean) / sigma, and n elements a channel over
    all ranks: dx = weight / sigma (g - sum g / n - x^ sum(g x^) / n), sums over all ranks. The gradients of weight and
    bias stay this rank's own sums: the training loop adds them. Padding did not enter mean and var: its dx
    has the first term only, and their g (zero: they weigh nothing) does not enter the sums.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x_BCRRR: torch.Tensor,
        weight_C: torch.Tensor,
        bias_C: torch.Tensor,
        mean_C: torch.Tensor,
        var_C: torch.Tensor,
        eps: float,
        is_padding: bool,
    ) -> torch.Tensor:
        ctx.save_for_backward(x_BCRRR, weight_C, mean_C, var_C)
        ctx.eps, ctx.is_padding = eps, is_padding
        return F.batch_norm(x_BCRRR, mean_C, var_C, weight_C, bias_C, training=False, eps=eps)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x_BCRRR, weight_C, mean_C, var_C = ctx.saved_tensors
        # With fixed statistics: the first term, sum(g x^) and sum g of this rank.
        first, of_weight_C, of_bias_C = torch.ops.aten.native_batch_norm_backward(
            gradient.contiguous(), x_BCRRR, weight_C, mean_C, var_C, None, None, False, ctx.eps, [True, True, True]
        )
        count = x_BCRRR.numel() // len(weight_C)
        sums = torch.cat([of_weight_C.double(), of_bias_C.double(), of_bias_C.new_full((1,), count).double()])
        if ctx.is_padding:
            sums.zero_()
        dist.all_reduce(sums)
        if ctx.is_padding:
            return first, of_weight_C, of_bias_C, None, None, None, None
        sum_gx_C, sum_g_C = (sums[:-1] / sums[-1]).split(len(weight_C))
        deviation_C = (var_C.double() + ctx.eps).rsqrt()
        # first - weight / sigma (sum g / n + (x - mean) / sigma sum(g x^) / n), one multiply and one add an element
        slope_C = -weight_C * deviation_C.square() * sum_gx_C
        offset_C = -weight_C * deviation_C * sum_g_C - slope_C * mean_C
        shaped = (1, -1, 1, 1, 1)
        correction = torch.addcmul(offset_C.to(first).view(shaped), x_BCRRR, slope_C.to(first).view(shaped))
        return first.add_(correction), of_weight_C, of_bias_C, None, None, None, None
