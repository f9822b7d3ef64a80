"""Fitting at test time: a model's encoder is tuned on the input's own samples, for one shape, and put back.

The decoder is frozen and BatchNorm keeps its statistics. Each shape starts from the trained weights with an optimiser
and draws of its own: nothing of one shape reaches the next.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F

from data_processing.batch import Batch
from data_processing.formats.point_clouds import PointCloud
from data_processing.geometry.coordinates import voxel_centres
from data_processing.loading.single_inputs import Observed
from isofield.contract import Model
from isofield.extraction.lattice import evaluate_field, field_of
from isofield.runtime.counter_random import derive_keys, integers, keys_of
from isofield.runtime.seeds import seed_of

POINTS = 8192  # of a step: half of them at the surface, half anywhere
CLEARANCE = 3  # cells from a marked one to where a cloud says nothing
ANCHORS = 1 << 16  # cells far from a cloud among which a step draws

Sampler = Callable[[int], tuple[torch.Tensor, torch.Tensor]]  # step to points (1, N, 3) and values (1, N)


def fitted_code(
    model: Model, observed: Observed, *, name: str, steps: int, rate: float, device: torch.device
) -> tuple[Any, dict[str, float]]:
    """The code of an input after `steps` steps on its own samples; the losses before and after them.

    `name` keys the draws. The model must have `encoder_parameters()`: ValueError when it has not. It is left as it was.
    """
    inputs = observed.inputs[None].to(device)
    tuned = encoder_parameters(model)
    with _put_back(model):
        sample = _cloud_samples if isinstance(observed.shown(), PointCloud) else _cell_samples
        draw = sample(model, observed, name, device)
        # Only the encoder's own parameters move: the decoder is what the data taught about shapes.
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for parameter in tuned:
            parameter.requires_grad_(True)
        optimiser = torch.optim.Adam(tuned, lr=rate)
        # Judged on samples that no step sees (-1), the same before and after.
        before = _loss(model, inputs, draw(-1))
        for step in range(steps):
            optimiser.zero_grad(set_to_none=True)
            _, values = next(iter(model.losses(_batch(inputs, draw(step)))))
            values["loss"].backward()
            optimiser.step()
        after = _loss(model, inputs, draw(-1))
        if not math.isfinite(after):
            raise ValueError(f"fitting ran away: the loss is {after} after {steps} steps; lower --fit-rate")
        with torch.no_grad():
            return model.encode(inputs), {"loss_before": before, "loss_after": after}


def encoder_parameters(model: Model) -> list[torch.nn.Parameter]:
    """What fitting tunes. ValueError when the model does not say."""
    named = getattr(model, "encoder_parameters", None)
    if named is None:
        raise ValueError("--fit-steps: this run's model cannot be fitted: it does not tell encoder from decoder")
    return list(named())


@contextlib.contextmanager
def _put_back(model: Model) -> Iterator[None]:
    """Weights, statistics, and what asks for gradients are as before in the end; no gradient is left."""
    weights = {key: value.detach().clone() for key, value in model.state_dict().items()}
    asked = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.eval()
    try:
        yield
    finally:
        model.load_state_dict(weights)
        for parameter, required in asked:
            parameter.requires_grad_(required)
            parameter.grad = None


def _batch(inputs: torch.Tensor, samples: tuple[torch.Tensor, torch.Tensor]) -> Batch:
    return Batch(inputs, *samples, shapes=(0,))


@torch.no_grad()
def _loss(model: Model, inputs: torch.Tensor, samples: tuple[torch.Tensor, torch.Tensor]) -> float:
    _, values = next(iter(model.losses(_batch(inputs, samples))))
    return float(values["loss"])


def _cell_samples(model: Model, observed: Observed, name: str, device: torch.device) -> Sampler:
    """Centres of cells with what the input says of them: half beside the surface, half anywhere."""
    cells_RRR = observed.inputs[0].to(device)
    around = F.max_pool3d(cells_RRR[None], 3, 1, 1) != -F.max_pool3d(-cells_RRR[None], 3, 1, 1)
    beside = around.flatten().nonzero()[:, 0]
    flat = cells_RRR.flatten()

    def draw(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        keys_B = _keys(name, step, device)
        anywhere = integers(derive_keys(keys_B, "anywhere"), POINTS // 2, len(flat))
        near = beside[integers(derive_keys(keys_B, "near"), POINTS // 2, len(beside))] if len(beside) else anywhere
        index = torch.cat([near, anywhere], 1)
        return _centres(index, len(cells_RRR)), flat[index]

    return draw


def _cloud_samples(model: Model, observed: Observed, name: str, device: torch.device) -> Sampler:
    """The cloud's points lie on the level: value 0.5. Far from them the trained model's own answer is kept.

    Without that anchor a field that is on the level everywhere would fit.
    """
    cloud = observed.shown()
    assert isinstance(cloud, PointCloud)
    points_N3 = torch.from_numpy(cloud.points_N3).float().to(device)
    marked = observed.inputs[None].to(device)
    # Cells with no point in their neighbourhood: there the cloud says nothing.
    far = (F.max_pool3d(marked, 2 * CLEARANCE + 1, 1, CLEARANCE) == 0).flatten().nonzero()[:, 0]
    if len(points_N3) == 0 or len(far) == 0:
        raise ValueError("--fit-steps: the input has no point, or points everywhere: nothing to fit to")
    keys_B = _keys(name, -2, device)
    anchors_AN3 = _centres(far[integers(keys_B, ANCHORS, len(far))], observed.inputs.shape[-1])
    with torch.no_grad():
        code = model.encode(observed.inputs[None].to(device))
    sides_A = (evaluate_field(field_of(model, code), anchors_AN3[0], batch_points=POINTS) > model.iso_level).float()

    def draw(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        keys_B = _keys(name, step, device)
        on = points_N3[integers(derive_keys(keys_B, "near"), POINTS // 2, len(points_N3))]
        index = integers(derive_keys(keys_B, "anywhere"), POINTS // 2, ANCHORS)
        values = torch.cat([torch.full_like(on[..., 0], 0.5), sides_A[index]], 1)
        return torch.cat([on, anchors_AN3[0][index]], 1), values

    return draw


def _keys(name: str, step: int, device: torch.device) -> torch.Tensor:
    return keys_of([seed_of(name, "fitting", step)], device)


def _centres(index_BN: torch.Tensor, resolution: int) -> torch.Tensor:
    """Cube coordinates (B, N, 3) of the centres of cells given by their place in C order."""
    i, j, k = index_BN // resolution**2, index_BN // resolution % resolution, index_BN % resolution
    return voxel_centres(torch.stack([i, j, k], -1), resolution)
