"""Batch normalisation over ranks against one process on the whole batch. The ranks are real: torchrun over gloo."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isofield.ops.batch_statistics import batch_norm
from tests.torchrun import torchrun

CHANNELS = 3
SPLITS = {"2 and 1": (2, 1), "1 and none": (1, 0), "none and 2": (0, 2)}  # shapes of each rank
SCRIPT = """
import sys, torch
from isofield.runtime.distributed import session
from tests.isofield.ops.test_batch_statistics import SPLITS, problem, step
with session("cpu") as group:
    found = {}
    for name, split in SPLITS.items():
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            norm, x, target = problem(sum(split), dtype)
            own = slice(sum(split[: group.rank]), sum(split[: group.rank + 1]))
            count = split[group.rank]
            mine = x[own] if count else x[:1] + 1000  # a placeholder; unlike all real shapes
            weight = count / sum(split)
            y, of_x = step(norm, mine, target[own] if count else target[:1], weight=weight, is_padding=count == 0)
            group.add_gradients(norm.parameters())
            found[name, dtype] = y, of_x, norm.weight.grad, norm.bias.grad, norm.state_dict()
    torch.save(found, f"{sys.argv[1]}/{group.rank}.pt")
"""


def problem(shapes: int, dtype: torch.dtype) -> tuple[nn.BatchNorm3d, torch.Tensor, torch.Tensor]:
    """A layer with weights of its own and volumes whose means lie far from 0 and from each other."""
    generator = torch.Generator().manual_seed(shapes)
    norm = nn.BatchNorm3d(CHANNELS).to(torch.float64 if dtype == torch.float64 else torch.float32)
    with torch.no_grad():
        norm.weight.copy_(torch.rand(CHANNELS, generator=generator) + 0.5)
        norm.bias.copy_(torch.rand(CHANNELS, generator=generator) - 0.5)
    size = (shapes, CHANNELS, 4, 5, 6)
    x = torch.randn(size, generator=generator, dtype=torch.float64)
    x = x * torch.rand(shapes, CHANNELS, 1, 1, 1, generator=generator) + 5 * torch.arange(shapes).view(-1, 1, 1, 1, 1)
    return norm, x.to(dtype), torch.randn(size, generator=generator, dtype=torch.float64)


def step(
    norm: nn.BatchNorm3d, x: torch.Tensor, target: torch.Tensor, *, weight: float, is_padding: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised values, and the gradient of a weighted loss (mean over shapes, sum over the rest) by x."""
    x = x.clone().requires_grad_()
    y = batch_norm(x, norm, training=True, is_padding=is_padding)
    assert y.dtype == x.dtype
    loss = (y.to(torch.promote_types(y.dtype, torch.float32)) - target.to(norm.weight)).abs().pow(3).sum() / len(x)
    (loss * weight).backward()
    assert x.grad is not None
    return y.detach(), x.grad


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What two processes found, by split and type."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "script.py").write_text(SCRIPT)
    torchrun(folder / "script.py", folder)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    ("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 2e-5), (torch.bfloat16, 2e-2)], ids=str
)
def test_two_ranks_compute_what_one_process_does_on_the_whole_batch(
    ranks: list[dict], split: str, dtype: torch.dtype, within: float
):
    counts = SPLITS[split]
    norm, x, target = problem(sum(counts), dtype)
    exact = nn.BatchNorm3d(CHANNELS).double()
    exact.load_state_dict(norm.state_dict())
    leaf = x.double().requires_grad_()
    y = F.batch_norm(leaf, exact.running_mean, exact.running_var, exact.weight, exact.bias, True, 0.1, exact.eps)
    ((y - target).abs().pow(3).sum() / len(x)).backward()
    found = [rank[split, dtype] for rank in ranks]

    def close(ours: torch.Tensor, expected: torch.Tensor) -> bool:
        return torch.allclose(ours.double(), expected, rtol=0, atol=within * float(expected.abs().max()))

    real = [rank for rank, count in zip(found, counts, strict=True) if count]
    assert close(torch.cat([rank[0] for rank in real]), y.detach())
    assert close(torch.cat([rank[1] for rank in real]), leaf.grad)
    for _, _, of_weight, of_bias, state in found:
        assert close(of_weight, exact.weight.grad) and close(of_bias, exact.bias.grad)
        assert close(state["running_mean"], exact.running_mean) and close(state["running_var"], exact.running_var)
        assert int(state["num_batches_tracked"]) == 1
    assert all(torch.equal(found[0][4][name], found[1][4][name]) for name in found[0][4])  # the ranks stay equal
    placeholders = [rank for rank, count in zip(found, counts, strict=True) if not count]
    assert all(float(rank[1].abs().max()) == 0 for rank in placeholders)


def test_alone_it_is_torchs_own_also_on_channels_last_volumes():
    """Torch's own loses three digits on these: the warning that this operator heeds."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4, 96, 96, 96, generator=generator) + 3
    ours, plain = nn.BatchNorm3d(4), nn.BatchNorm3d(4)
    volume = x.contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    leaf = x.clone().requires_grad_()
    y, expected = batch_norm(volume, ours, training=True), plain(leaf)
    assert torch.equal(y, expected) and y.is_contiguous()
    gradient = torch.randn(x.shape, generator=generator)
    y.backward(gradient)
    expected.backward(gradient)
    assert torch.equal(volume.grad, leaf.grad) and torch.equal(ours.weight.grad, plain.weight.grad)
    assert all(torch.equal(ours.state_dict()[name], value) for name, value in plain.state_dict().items())


def test_evaluation_uses_the_running_statistics_and_moves_nothing():
    norm, x, _ = problem(2, torch.float32)
    batch_norm(x, norm, training=True)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    norm.eval()
    assert torch.equal(batch_norm(x, norm, training=False), norm(x))
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())
