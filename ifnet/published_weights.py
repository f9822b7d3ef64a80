"""Published IF-Net weights: their names and sizes in ours, and the run that they become.

A published checkpoint is {'epoch', 'model_state_dict', 'optimizer_state_dict'}. It does not say how points were
sampled nor how convolutions were padded: both are asked for, and stored in the run's config. The published optimiser
is left behind. `convert` is pure; only `make_run` writes. Its command line: published.py.
"""

import argparse
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from data_processing.loading.batches import LoadingConfig
from ifnet.model import Config, IFNet
from ifnet.published_organs import OrganFolder, read_organ_folder
from isofield.config import OptimConfig, RunConfig, TrainingConfig, TrainingStage
from isofield.ops.feature_sampling import published_columns
from isofield.run_dir import RunDir
from isofield.runtime.atomic_files import write_text
from isofield.runtime.commandline import say
from isofield.runtime.config import build, to_plain
from isofield.runtime.invocation import next_command
from isofield.runtime.reasons import reason_of
from isofield.training.imported_weights import (
    NORM,
    read_mapping,
    refuse_misfits,
    refuse_other_dimensions,
    renamed_weights,
    some,
    write_run,
)

SETUPS = {
    "voxels_32": Config(
        resolution=32,
        stages=((32, 64), (128, 128), (128, 128)),
        decoder_widths=(512, 256, 256),
        displacement=0.035,
    ),
    "voxels_128": Config(),
    "points_300": Config(sampling_padding="border"),
    "points_3000": Config(sampling_padding="border"),
    "single_view": Config(
        resolution=256,
        stages=(*Config.stages, (128, 128)),
        decoder_widths=(512, 256, 256),
        sampling_padding="border",
        append_point=True,
    ),
    "organs": Config(convolution_padding="replicate"),
}
INPUTS: dict[str, dict[str, Any]] = {  # what the networks were shown: sections `data.input:`
    "voxels_32": {"kind": "solid", "resolution": 32},
    "voxels_128": {"kind": "solid", "resolution": 128},
    "points_300": {"kind": "points", "resolution": 128, "points": 300},
    "points_3000": {"kind": "points", "resolution": 128, "points": 3000},
    "single_view": {"kind": "scan", "resolution": 256, "points": 0},
    "organs": {"kind": "deformed", "resolution": 128},
}


def state_dict_of(file: Path) -> tuple[Mapping[str, Any], str]:
    """The weights in a published checkpoint, and a phrase about how long they were trained. ValueError without any."""
    content = read_mapping(file, expected="a published checkpoint (a mapping with model_state_dict)")
    state, epoch = content.get("model_state_dict"), content.get("epoch")
    if not isinstance(state, Mapping):
        names = some(sorted(map(str, content)))
        raise ValueError(f"{file}: expected a published checkpoint with a model_state_dict; it has {names}")
    return state, f", trained for {epoch} epochs" if isinstance(epoch, int) and abs(epoch) < 1e9 else ""


def convert(
    state: Mapping[str, Any], choices: Config, *, setup: str, where: str
) -> tuple[Config, dict[str, torch.Tensor]]:
    """Config and weights of our model out of a published state_dict; `choices` is the set-up's with what was asked for.

    Widths are those of the file. ValueError naming what is missing or odd.
    """
    names = key_names(choices)
    expected = f"a published IF-Net of the set-up {setup}: expected the {len(names)} keys conv_*, *_bn and fc_*"
    # The keys tell the set-ups apart: a wrong --setup is named with the right one.
    others = [name for name, other in SETUPS.items() if set(key_names(other)) == set(state)]
    if others and setup not in others:
        raise ValueError(f"{where}: not {expected}; these are the keys of --setup {' or '.join(others)}")
    weights = renamed_weights(state, names, expected=expected, where=where)
    config = _sizes(weights, choices, where)
    # Their layers are convolutions of width 1 over points; ours are linear.
    for name in [name for name in weights if name.startswith("decoder") and name.endswith("weight")]:
        weights[name] = weights[name].squeeze(-1)
    refuse_misfits(weights, lambda: IFNet(config), where=where)
    if any(bool((weights[name] < 0).any()) for name in weights if name.endswith("running_var")):
        raise ValueError(f"{where}: a running variance is negative: these are no weights of a trained network")
    # Columns from their order, place within channel, to ours.
    first = weights["decoder.layers.0.weight"]
    weights["decoder.layers.0.weight"] = first[:, _columns(config)].contiguous()
    return config, weights


def key_names(config: Config) -> dict[str, str]:
    """Published key to ours."""
    names = {}
    leading = len(config.stages[0]) == 1  # conv_in, then conv_0; without it numbers start at 1
    for stage, channels in enumerate(config.stages):
        number = stage - 1 if leading else stage + 1
        first, norm = ("conv_in", "conv_in_bn") if number < 0 else (f"conv_{number}", f"conv{number}_1_bn")
        for place in range(len(channels)):
            theirs = f"{first}_{place}" if place else first
            for kind in ("weight", "bias"):
                names[f"{theirs}.{kind}"] = f"encoder.stages.{stage}.convolutions.{place}.{kind}"
        names |= {f"{norm}.{kind}": f"encoder.stages.{stage}.norm.{kind}" for kind in NORM}
    layers = len(config.decoder_widths)
    return names | {
        f"fc_{layer if layer < layers else 'out'}.{kind}": f"decoder.layers.{layer}.{kind}"
        for layer in range(layers + 1)
        for kind in ("weight", "bias")
    }


def _sizes(weights: Mapping[str, torch.Tensor], choices: Config, where: str) -> Config:
    """The choices with the widths of the weights."""
    convolutions = [
        [f"encoder.stages.{stage}.convolutions.{place}.weight" for place in range(len(channels))]
        for stage, channels in enumerate(choices.stages)
    ]
    layers = [f"decoder.layers.{layer}.weight" for layer in range(len(choices.decoder_widths) + 1)]
    wanted = {name: 5 for names in convolutions for name in names} | dict.fromkeys(layers, 3)
    refuse_other_dimensions(weights, wanted, where=where)
    for name in layers:
        # Published layers are convolutions of one place, which are linear layers with an axis more.
        if weights[name].shape[2] != 1:
            raise ValueError(f"{where}: {name} is {tuple(weights[name].shape)}, expected (out, in, 1)")
    stages = tuple(tuple(weights[name].shape[0] for name in names) for names in convolutions)
    widths = tuple(weights[name].shape[0] for name in layers[:-1])
    try:
        return dataclasses.replace(choices, stages=stages, decoder_widths=widths)
    except ValueError as error:
        raise ValueError(f"{where}: {reason_of(error)}") from error


def _columns(config: Config) -> torch.Tensor:
    """The published column of each of ours in the first layer; an appended point is z, y, x there, as it is sampled."""
    columns = published_columns(config.channels)
    return torch.cat([columns, len(columns) + torch.tensor([2, 1, 0])]) if config.append_point else columns


def run_config(config: Config, *, setup: str, out: Path, data: Path) -> RunConfig:
    """The run an imported model lives in; to be trained further as published."""
    return RunConfig(
        name=out.name,
        runs=out.parent,
        model={"type": "ifnet", **to_plain(config)},
        data=build(LoadingConfig, {"path": data, "input": INPUTS[setup]}, where=setup),
        training=TrainingConfig(
            stages=(TrainingStage(level="boundary", epochs=1500, points=50_000),),
            batch_shapes=6,
            optim=OptimConfig(learning_rate=1e-4, betas=(0.9, 0.999), weight_decay=1e-5 * (setup == "organs")),
        ),
    )


def preparation(setup: str) -> dict[str, Any]:
    """How a user's own file has to lie and what a data set has to hold: a data config.

    Shapes fill the cube (longest edge 1); organs were cut out as 128^3 voxels of 1.5 mm.
    """
    kind, resolution = INPUTS[setup]["kind"], INPUTS[setup]["resolution"]
    contents: dict[str, Any] = {"voxels": 0, "levels": False, "boundary": {"sigmas": [0.1, 0.01], "points": 100_000}}
    if kind in ("points", "scan"):
        contents["surface"] = {"points": 32768, "views": 16 if kind == "scan" else 0}
    else:
        contents["grids"] = [resolution]
    normalisation = {"by": "fixed", "length": 192.0} if setup == "organs" else {"by": "longest_edge", "length": 1.0}
    return {"name": "published", "input": ".", "normalisation": normalisation, "contents": contents}


def make_run(options: argparse.Namespace) -> None:
    """Write the run that the command line asks for. ValueError for a file that is no published checkpoint."""
    # An organ's folder says itself which structure it is of, and where its weights lie.
    organ: OrganFolder | None = None
    file, out, settings = options.file, options.out, preparation(options.setup)
    if options.organ_folder is not None:
        organ = read_organ_folder(options.organ_folder, checkpoint=options.checkpoint)
        file, out = organ.checkpoint, out or Path("runs") / organ.organ
        labels = {"structures": [{"name": organ.organ, "labels": [organ.organ]}]}
        settings |= {"name": organ.organ, "kind": "labels", "labels": labels}
    # What the weights alone do not tell: how cells are aligned and how convolutions are padded.
    choices = dataclasses.replace(SETUPS[options.setup], align_corners=options.align_corners == "true")
    if options.conv_padding:
        choices = dataclasses.replace(choices, convolution_padding=options.conv_padding)
    # From their names to ours; every tensor has to find its place.
    state, trained = state_dict_of(file)
    config, weights = convert(state, choices, setup=options.setup, where=str(file))
    model = IFNet(config)
    model.load_state_dict(weights)
    # A run like any other: generate.py and evaluate.py need not know where the weights came from.
    section = run_config(config, setup=options.setup, out=out, data=options.data)
    run_dir = write_run(model, section, out, preparation=settings)
    count = sum(parameter.numel() for parameter in model.parameters())
    say(
        f"{run_dir.path}: {count:,} parameters from {file}{trained}; {options.setup}, align_corners "
        f"{config.align_corners}, convolution padding {config.convolution_padding}; data set: {options.data}"
    )
    if organ is not None:
        note_organ(run_dir, organ)
    else:
        say(f"done; next: {next_command('generate', '--run', run_dir.path, '--input', 'FILE')}")


def note_organ(run_dir: RunDir, organ: OrganFolder) -> None:
    """What came with the weights goes into the run, to be shown."""
    write_text(run_dir.published_file, json.dumps(organ.origin_note(), indent=1) + "\n")
    calibrate = next_command("evaluate", "--run", run_dir.path, "--calibrate", "--data", "DATASET")
    say(
        f"it knows {organ.organ}; calibration is missing ({organ.about_thresholds()}): prepare clean masks of "
        f"subjects it never saw; next: {calibrate}"
    )
