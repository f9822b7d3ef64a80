"""A run learns which inputs are unlike those of its training, and takes that along when it is packed."""

from dataclasses import replace
from pathlib import Path

import torch

from data_processing.store.shape_set import open_shapes
from isofield.generation.out_of_distribution import (
    InputCalibration,
    calibrate_inputs,
    calibration_text,
    load_input_calibration,
    save_input_calibration,
)
from isofield.packs.find_run import find_data, find_run
from isofield.packs.writing.portable import portable
from isofield.registry import LoadedRun, load_run
from isofield.run_dir import RunDir, refuse_calibration
from isofield.runtime.commandline import say

VALIDATION = "val"


def calibrate_inputs_of_run(
    run: Path | RunDir,
    *,
    data: Path | None = None,
    split: str | None = None,
    which: str = "best",
    device: torch.device | str = "cpu",
) -> InputCalibration:
    """Write input_calibration.json of a run from held-out shapes of its data set, or of another (`data`).

    `split`: none: val. ValueError for a packed run, for too few shapes, and what `calibrate_inputs` raises.
    """
    place = find_run(run)
    refuse_calibration(place)
    loaded = load_run(place, which=which, device=device)
    shapes = open_shapes(find_data(place, loaded.config.data.path, data))
    about = {"split": split or VALIDATION, "model_hash": loaded.model_hash}
    calibration = calibrate_inputs(loaded.model, loaded.config, shapes, **about, device=device)
    save_input_calibration(place, calibration)
    return calibration


def packed_input_calibration(run: RunDir, loaded: LoadedRun, rounded: LoadedRun) -> str:
    """The file as it travels, without places of this machine; made again where weights were rounded.

    ValueError when the run's is of other weights, or its shapes are not here any more.
    """
    before = load_input_calibration(run, model_hash=loaded.model_hash, section=loaded.config.data.input)
    assert before is not None  # there is the file
    if rounded.model_hash != loaded.model_hash:
        say(f"{run.input_calibration_file}: made again for the rounded weights, with {before.data} ({before.split})")
        about = {"split": before.split, "model_hash": rounded.model_hash}
        try:
            shapes = open_shapes(Path(before.data))
            before = calibrate_inputs(rounded.model, rounded.config, shapes, **about, device="cpu")
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{run.input_calibration_file}: is of the float32 weights and cannot be made again for rounded ones "
                f"({error}); pack with --precision float32, or take it away"
            ) from error
    return calibration_text(replace(before, data=portable({"data": before.data})["data"]))
