"""Codes of a data set by the frozen autoencoder of a model with `init_from`: made once, kept in the run.

They belong to the autoencoder's weights, what it is shown, and the shapes: all three are in the key of the file, so
codes of another autoencoder or of other shapes are made again, never used.
"""

import itertools
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from data_processing.formats.npy import read_npz
from data_processing.loading.batches import BatchPlan, Codes, LoadingConfig, Recipe, recipe_of
from data_processing.loading.network_inputs import check_fields, observe, plain_input
from data_processing.loading.single_inputs import FIXED
from data_processing.store.shape_set import ShapeSet
from isofield import checkpoint
from isofield.config import RunConfig
from isofield.contract import Model, TrainsOnCodes
from isofield.run_dir import RunDir
from isofield.runtime.atomic_files import replacing
from isofield.runtime.commandline import say
from isofield.runtime.distributed import Group
from isofield.runtime.fingerprint import fingerprint
from isofield.runtime.progress import with_progress
from isofield.runtime.reasons import reason_of

MAX_BYTES = 1 << 32  # of codes
BATCH = 16  # shapes encoded at once: 64^3 activations of a wide encoder are 32 MB each


def trains_on_codes(config: RunConfig) -> bool:
    """Whether any stage asks for codes of a frozen model."""
    return any(stage.level == "codes" for stage in config.training.stages)


def codes_of(
    model: Model, shapes: ShapeSet, config: RunConfig, run: RunDir, group: Group, *, indices: NDArray[np.int64]
) -> Codes:
    """Codes (S, Z) of the whole data set with rows for `indices`, the others NaN; from the run's file where it fits.

    Collective: the first rank makes them, all get them. ValueError when the data set does not hold what the
    autoencoder is shown.
    """
    section = config.data.target
    if section is None or not isinstance(model, TrainsOnCodes):
        raise ValueError("level: codes needs a model with init_from: the run of a trained autoencoder")
    check_fields(section, shapes.layout, shapes.path)
    recipe = recipe_of(shapes, "codes", LoadingConfig(shapes.path, input=section), seed=config.training.seed)
    indices = np.unique(indices)
    # The other ranks learn the width first, then receive into room of that size.
    rows = torch.zeros(len(indices), 0)
    if group.is_first:
        rows = _kept_or_made(model, shapes, recipe, indices, file=run.codes_file, device=group.device)
    group.wait()  # encoding may take longer than a collective may
    width = torch.tensor([rows.shape[1]], device=group.device)
    group.broadcast([width])
    rows = rows.to(group.device) if group.is_first else torch.empty(len(indices), int(width), device=group.device)
    group.broadcast([rows])
    codes = np.full((len(shapes), int(width)), np.nan, dtype=np.float32)
    codes[indices] = rows.cpu().numpy()
    return codes


def _kept_or_made(
    model: TrainsOnCodes,
    shapes: ShapeSet,
    recipe: Recipe,
    indices: NDArray[np.int64],
    *,
    file: Path,
    device: torch.device,
) -> torch.Tensor:
    key = _key(model, shapes, recipe, indices)
    rows = _kept(file, key)
    if rows is None:
        rows = _made(model, shapes, recipe, indices, device=device)
        names = np.array([shapes.names[i] for i in indices])
        with replacing(file) as temporary, open(temporary, "wb") as stream:
            np.savez(stream, codes=rows.numpy(), names=names, key=np.array(key))
    return rows


def _key(model: TrainsOnCodes, shapes: ShapeSet, recipe: Recipe, indices: NDArray[np.int64]) -> str:
    """A hash of the frozen weights, of what they are shown, and of the shapes by name and content."""
    made_by = checkpoint.hash_of(model.autoencoder.state_dict()), [plain_input(recipe.section.input), recipe.seed]
    # The zero byte ends a name, whatever bytes follow.
    rows = ((f"{shapes.names[i]}\0", *shapes.packed_row(i, recipe.fields).values()) for i in indices.tolist())
    return fingerprint(*made_by, itertools.chain.from_iterable(rows))


def _kept(file: Path, key: str) -> torch.Tensor | None:
    """Codes in the run's file; None, with a line that says why, when there are none that fit."""
    if not file.is_file():
        return None
    try:
        # Whatever is wrong with the file costs nothing but the time to make it again.
        content = read_npz(file, most=MAX_BYTES, names=("codes", "key"))
        codes, made_of = content["codes"], str(content["key"])
        if codes.ndim != 2 or codes.dtype != np.float32:
            raise ValueError(f"codes {codes.shape} {codes.dtype}")
    except (ValueError, OSError) as error:
        say(f"{file}: cannot be read ({reason_of(error)}): codes are made again")
        return None
    if made_of != key:
        say(f"{file}: codes of another autoencoder or other shapes: made again")
        return None
    return torch.from_numpy(codes)


@torch.no_grad()
def _made(
    model: TrainsOnCodes, shapes: ShapeSet, recipe: Recipe, indices: NDArray[np.int64], *, device: torch.device
) -> torch.Tensor:
    model.autoencoder.eval()
    rows = []
    for first in with_progress(range(0, len(indices), BATCH), what="codes", unit="part"):
        part = indices[first : first + BATCH]
        packed = {key: values.to(device) for key, values in recipe.rows(shapes, part).items()}
        keys_B = recipe.keys(BatchPlan(part, 0, 0, epoch=FIXED), "input", device)
        rows.append(model.frozen_code(observe(packed, recipe.section.input, keys_B, fixed=True)).float().cpu())
    return torch.cat(rows)
