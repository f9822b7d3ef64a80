"""A loss that is a mean over shapes, computed and differentiated a few shapes at a time.

Decoding all shapes of a batch at once writes and reads back every activation through memory. One shape at a time they
stay in cache, and only one chunk's activations exist at any moment. Exact but for the order of float32 sums.
"""

from collections.abc import Callable, Sequence

import torch

Errors = Callable[[slice, torch.Tensor], torch.Tensor]


def mean_over_shapes(
    error_of: Errors, code: torch.Tensor, parameters: Sequence[torch.Tensor], *, shapes_per_chunk: int
) -> torch.Tensor:
    """Mean over B shapes of the per-shape errors.

    `error_of(chunk, code[chunk])` returns the *sum* of the errors of the shapes in the slice `chunk` of the batch.
    `parameters`: every tensor with a gradient that `error_of` uses, besides the code (B, ...). The gradients are
    computed along with the value (one chunk's graph alive at a time), so the result can be differentiated once, not
    twice. Where no gradient is wanted only the value is computed.
    """
    wanted = [parameter for parameter in parameters if parameter.requires_grad]
    if not torch.is_grad_enabled() or not (wanted or code.requires_grad):
        return plain_mean_over_shapes(error_of, code, shapes_per_chunk=shapes_per_chunk)
    return _ChunkedMean.apply(error_of, shapes_per_chunk, code, *wanted)


def plain_mean_over_shapes(error_of: Errors, code: torch.Tensor, *, shapes_per_chunk: int) -> torch.Tensor:
    """The plain twin: ordinary autograd through all chunks."""
    chunks = _chunks(len(code), shapes_per_chunk)
    return torch.stack([error_of(chunk, code[chunk]) for chunk in chunks]).sum() / len(code)


def _chunks(shapes: int, shapes_per_chunk: int) -> list[slice]:
    return [slice(start, min(start + shapes_per_chunk, shapes)) for start in range(0, shapes, shapes_per_chunk)]


class _ChunkedMean(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        error_of: Errors,
        shapes_per_chunk: int,
        code: torch.Tensor,
        *parameters: torch.Tensor,
    ) -> torch.Tensor:
        total = torch.zeros((), device=code.device)
        code_gradient = torch.empty_like(code)
        gradients = [torch.zeros_like(parameter) for parameter in parameters]
        for chunk in _chunks(len(code), shapes_per_chunk):
            with torch.enable_grad():
                part = code[chunk].detach().requires_grad_()
                error = error_of(chunk, part) / len(code)
            of_part, *of_parameters = torch.autograd.grad(error, [part, *parameters])
            code_gradient[chunk] = of_part
            torch._foreach_add_(gradients, of_parameters)
            total += error.detach()
        ctx.save_for_backward(code_gradient, *gradients)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # type: ignore[no-untyped-def]
        return None, None, *(saved * gradient for saved in ctx.saved_tensors)
