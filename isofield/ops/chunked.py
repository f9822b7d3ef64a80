"""A loss over shapes and points, computed and differentiated a few shapes, or a few points of a shape, at a time.

Decoding all shapes of a batch at once writes and reads back every activation through memory. In chunks they stay in
cache, and only one chunk's activations exist at any moment. Exact but for the order of float32 sums.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

Errors = Callable[[slice, torch.Tensor], torch.Tensor]
PointErrors = Callable[[slice, slice, Sequence[torch.Tensor]], torch.Tensor]


def mean_over_shapes(
    error_of: Errors, code: torch.Tensor, parameters: Sequence[torch.Tensor], *, shapes_per_chunk: int
) -> torch.Tensor:
    """Mean over B shapes of the per-shape errors.

    `error_of(chunk, code[chunk])` returns the *sum* of the errors of the shapes in the slice `chunk` of the batch.
    `parameters`: every tensor with a gradient that `error_of` uses, besides the code (B, ...). The gradients are
    computed along with the value (one chunk's graph alive at a time), so the result can be differentiated once, not
    twice. Where no gradient is wanted only the value is computed.
    """
    if not torch.is_grad_enabled() or not (_learning(parameters) or code.requires_grad):
        return plain_mean_over_shapes(error_of, code, shapes_per_chunk=shapes_per_chunk)

    def share_of(shapes: slice, _: slice, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return error_of(shapes, parts[0]) / len(code)

    return _ChunkedSum.apply(share_of, shapes_per_chunk, 1, 1, 1, code, *_learning(parameters))


def plain_mean_over_shapes(error_of: Errors, code: torch.Tensor, *, shapes_per_chunk: int) -> torch.Tensor:
    """The plain twin: ordinary autograd through all chunks."""
    chunks = _chunks(len(code), shapes_per_chunk)
    return torch.stack([error_of(chunk, code[chunk]) for chunk in chunks]).sum() / len(code)


def _chunks(shapes: int, shapes_per_chunk: int) -> list[slice]:
    return [slice(start, min(start + shapes_per_chunk, shapes)) for start in range(0, shapes, shapes_per_chunk)]


def _learning(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [tensor for tensor in tensors if tensor.requires_grad]


def sum_over_points(
    error_of: PointErrors,
    code: Sequence[torch.Tensor],
    parameters: Sequence[torch.Tensor],
    *,
    points: int,
    points_per_chunk: int,
    shapes_per_chunk: int = 1,
) -> torch.Tensor:
    """Sum of the errors of all B shapes and their N points, for codes of several tensors (B, ...) each.

    `error_of(shapes, chunk, parts)` returns the summed errors of the points in the slice `chunk` of the few shapes in
    the slice `shapes` of the batch, from their part of each tensor of the code. Otherwise as `mean_over_shapes`.
    """
    if not torch.is_grad_enabled() or not _learning([*code, *parameters]):
        return plain_sum_over_points(error_of, code, points=points, points_per_chunk=points_per_chunk)
    sizes = shapes_per_chunk, points, points_per_chunk, len(code)
    return _ChunkedSum.apply(error_of, *sizes, *code, *_learning(parameters))


def shapes_at_once(device: torch.device, bytes_per_shape: int) -> int:
    """How many shapes to decode together, by what the decoder holds of each: 1 on a CPU, whose cache is small.

    On a GPU, where few large launches keep it busy, as many as fit an eighth of its memory.
    """
    if device.type != "cuda":
        return 1
    return max(1, torch.cuda.get_device_properties(device).total_memory // 8 // max(1, bytes_per_shape))


def plain_sum_over_points(
    error_of: PointErrors, code: Sequence[torch.Tensor], *, points: int, points_per_chunk: int
) -> torch.Tensor:
    """The plain twin: ordinary autograd through all chunks."""
    return torch.stack(
        [
            error_of(shape, chunk, [tensor[shape] for tensor in code])
            for shape in _chunks(len(code[0]), 1)
            for chunk in _chunks(points, points_per_chunk)
        ]
    ).sum()


class _ChunkedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        error_of: PointErrors,
        shapes_per_chunk: int,
        points: int,
        points_per_chunk: int,
        tensors: int,
        *code_and_parameters: torch.Tensor,
    ) -> torch.Tensor:
        assert points > 0 and points_per_chunk > 0
        code, parameters = code_and_parameters[:tensors], code_and_parameters[tensors:]
        total = torch.zeros((), device=code[0].device)
        # All in one chunk: its gradients need no buffer to be summed into, and volumes are not copied.
        at_once = len(code[0]) <= shapes_per_chunk and points <= points_per_chunk
        of_code = [torch.empty_like(tensor) if tensor.requires_grad and not at_once else None for tensor in code]
        of_parameters = [torch.zeros_like(parameter) for parameter in parameters]
        # A few shapes after the others, so that only their activations are alive.
        for shape in _chunks(len(code[0]), shapes_per_chunk):
            parts = [tensor[shape].detach().requires_grad_(tensor.requires_grad) for tensor in code]
            wanted = _learning(parts)
            of_parts = [gradient[shape] for gradient in of_code if gradient is not None]
            for chunk in _chunks(points, points_per_chunk):
                # The graph of a chunk lives only here: forward and backward meet before the next chunk begins.
                with torch.enable_grad():
                    error = error_of(shape, chunk, parts)
                gradients = torch.autograd.grad(error, [*wanted, *parameters])
                if at_once:  # large volumes: not copied, unless two of them share their memory
                    of_parts = _apart(gradients[: len(wanted)])
                else:
                    _collect(of_parts, gradients[: len(wanted)], first=chunk.start == 0)
                _collect(of_parameters, gradients[len(wanted) :], first=False)
                total += error.detach()
        if at_once:
            rest = iter(of_parts)
            of_code = [next(rest) if tensor.requires_grad else None for tensor in code]
        # Not saved for backward: they are ours, and may be scaled where they lie.
        ctx.gradients = [*of_code, *of_parameters]
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("a sum over chunks can be differentiated once: its gradients were handed out")
        gradients, ctx.gradients = ctx.gradients, None
        # Gradients were made for an upstream gradient of 1; looking at that number waits for a GPU, multiplying does
        # not.
        if gradient.device.type != "cpu" or float(gradient) != 1:
            torch._foreach_mul_([own for own in gradients if own is not None], gradient)
        return None, None, None, None, None, *gradients


def _apart(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The same, each in memory of its own."""
    # Autograd may give one tensor twice, or one number spread over all: adding into such memory would add to others
    # too.
    alone = len({tensor.data_ptr() for tensor in tensors}) == len(tensors)
    return [tensor if alone and 0 not in tensor.stride() else tensor.clone() for tensor in tensors]


def _collect(sums: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor], *, first: bool) -> None:
    """Add gradients up. The first ones are copied: those of volumes are large, and zeros need not be written before."""
    for total, gradient in zip(sums, gradients, strict=True):
        if first:
            total.copy_(gradient)
        else:
            total.add_(gradient)
