"""Published IM-NET weights: their names and sizes in ours, and the run that they become.

A published checkpoint is a bare state_dict: of an autoencoder with `encoder.conv_1..5.*` and `generator.linear_1..7.*`,
of single view with `img_encoder.*` and `generator.*`. `convert` and `convert_single_view` are pure; only `make_run`
writes. Its command line: published.py.
"""

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from data_processing.loading.batches import LoadingConfig
from data_processing.loading.network_inputs import InputConfig
from data_processing.store.published_hdf5 import PUBLISHED_PREPARATION
from imnet.autoencoder import Autoencoder, Config
from imnet.single_view import Config as SingleViewConfig
from imnet.single_view import SingleView
from isofield.config import RunConfig, TrainingConfig, TrainingStage
from isofield.runtime.commandline import say
from isofield.runtime.config import to_plain
from isofield.runtime.invocation import next_command
from isofield.runtime.reasons import reason_of
from isofield.training.imported_weights import (
    NORM,
    read_mapping,
    refuse_misfits,
    refuse_other_dimensions,
    renamed_weights,
    write_run,
)

CONVOLUTIONS, LAYERS = 5, 7
BLOCKS, HALVING = 8, (2, 4, 6)  # residual blocks of the image encoder; those with a shortcut of their own
STAGES = (TrainingStage(level=16, epochs=100), TrainingStage(level=32, epochs=100), TrainingStage(level=64, epochs=200))


def convert(state: Mapping[str, Any], *, where: str) -> tuple[Config, dict[str, torch.Tensor]]:
    """Sizes and weights of our autoencoder out of a published state_dict. ValueError naming what is missing or odd."""
    names = key_names()
    expected = f"a published IM-NET autoencoder: expected the {len(names)} keys encoder.conv_* and generator.linear_*"
    weights = renamed_weights(state, names, expected=expected, where=where)
    config = _sizes(weights, where)
    refuse_misfits(weights, lambda: Autoencoder(config), where=where)
    return config, weights


def key_names() -> dict[str, str]:
    """Published key to ours."""
    names = {f"encoder.conv_{i}.weight": f"encoder.convolutions.{i - 1}.weight" for i in range(1, CONVOLUTIONS)}
    names |= {f"encoder.conv_{CONVOLUTIONS}.{kind}": f"encoder.last.{kind}" for kind in ("weight", "bias")}
    return names | {
        f"generator.linear_{i}.{kind}": f"decoder.layers.{i - 1}.{kind}"
        for i in range(1, LAYERS + 1)
        for kind in ("weight", "bias")
    }


def _sizes(weights: Mapping[str, torch.Tensor], where: str) -> Config:
    wanted = {name: 5 if "encoder" in name else 2 for name in weights if name.endswith("weight")}
    refuse_other_dimensions(weights, wanted, where=where)
    channels = [weights[f"encoder.convolutions.{i}.weight"].shape[0] for i in range(CONVOLUTIONS - 1)]
    widths = [weights[f"decoder.layers.{i}.weight"].shape[0] for i in range(LAYERS - 1)]
    latent = weights["encoder.last.weight"].shape[0]
    try:
        return Config(latent=latent, encoder_channels=tuple(channels), decoder_widths=tuple(widths))
    except ValueError as error:
        raise ValueError(f"{where}: {reason_of(error)}") from error


def convert_single_view(
    state: Mapping[str, Any], autoencoder: Mapping[str, Any] | None = None, *, where: str, beside: str = ""
) -> tuple[SingleViewConfig, dict[str, torch.Tensor]]:
    """Sizes and weights of our single-view model out of published state_dicts: its own and its autoencoder's.

    Its own holds the decoder, but no voxel encoder: without `autoencoder` (from the file `beside`) the model has none.
    ValueError naming what is missing or odd, and when the other file is of another autoencoder.
    """
    names = renamed_single_view()
    expected = f"published IM-NET single-view weights: expected the {len(names)} keys img_encoder.* and generator.*"
    weights = renamed_weights(state, names, expected=expected, where=where)
    # A negative variance turns into NaN in the first batch normalisation, far from the file that is to blame.
    for name in weights:
        if name.endswith("running_var") and bool((weights[name] < 0).any()):
            raise ValueError(f"{where}: {name} holds negative variances")
    config = _single_view_sizes(weights, where)
    if autoencoder is not None:
        # Both files hold the decoder. If theirs differ, codes of this encoder mean nothing to the other's decoder.
        own, frozen = convert(autoencoder, where=beside)
        decoder = {name: value for name, value in frozen.items() if name.startswith("decoder.")}
        if not all(torch.equal(value, weights[f"autoencoder.{name}"]) for name, value in decoder.items()):
            raise ValueError(f"{beside} is not the autoencoder of {where}: their decoders (generator.*) differ")
        config = dataclasses.replace(config, autoencoder=own, voxel_encoder=True)
        weights |= {f"autoencoder.{name}": value for name, value in frozen.items()}
    refuse_misfits(weights, lambda: SingleView(config), where=where)
    return config, weights


def renamed_single_view() -> dict[str, str]:
    """Published key to ours."""
    names = {"img_encoder.conv_0.weight": "encoder.first.weight"} | _norm("bn_0", "first_norm")
    for block in range(BLOCKS):
        # Where a block halves the picture, its shortcut needs a convolution of its own.
        parts = {"conv_1": "first", "conv_2": "second"}
        norms = {"bn_1": "first_norm", "bn_2": "second_norm"}
        if block in HALVING:
            parts, norms = parts | {"conv_s": "shortcut"}, norms | {"bn_s": "shortcut_norm"}
        theirs, ours = f"res_{block + 1}", f"blocks.{block}"
        names |= {f"img_encoder.{theirs}.{a}.weight": f"encoder.{ours}.{b}.weight" for a, b in parts.items()}
        for a, b in norms.items():
            names |= _norm(f"{theirs}.{a}", f"{ours}.{b}")
    names |= {"img_encoder.conv_9.weight": "encoder.narrowing.weight"} | _norm("bn_9", "narrowing_norm")
    names |= {f"img_encoder.conv_10.{kind}": f"encoder.last.{kind}" for kind in ("weight", "bias")}
    decoder = {theirs: f"autoencoder.{ours}" for theirs, ours in key_names().items() if theirs.startswith("generator.")}
    return names | decoder


def _norm(theirs: str, ours: str) -> dict[str, str]:
    return {f"img_encoder.{theirs}.{kind}": f"encoder.{ours}.{kind}" for kind in NORM}


def _single_view_sizes(weights: Mapping[str, torch.Tensor], where: str) -> SingleViewConfig:
    norms = ("norm", "last.bias")
    convolutions = [name for name in weights if name.startswith("encoder.") and not any(part in name for part in norms)]
    wanted = dict.fromkeys(convolutions, 4)
    layers = [f"autoencoder.decoder.layers.{i}.weight" for i in range(LAYERS)]
    refuse_other_dimensions(weights, wanted | dict.fromkeys(layers, 2), where=where)
    channels = tuple(weights[f"encoder.blocks.{block}.first.weight"].shape[0] for block in (0, *HALVING))
    widths = tuple(weights[name].shape[0] for name in layers[:-1])
    try:
        autoencoder = Config(latent=weights["encoder.last.weight"].shape[0], decoder_widths=widths)
        return SingleViewConfig(autoencoder=autoencoder, voxel_encoder=False, channels=channels)
    except ValueError as error:
        raise ValueError(f"{where}: {reason_of(error)}") from error


def make_run(options: argparse.Namespace) -> None:
    """Write the run that the command line asks for. ValueError for a file that is no published checkpoint."""
    state = read_mapping(options.file, expected="a state_dict")
    make = _single_view_run if any(str(key).startswith("img_encoder.") for key in state) else _autoencoder_run
    model, section, config = make(state, options)
    out = write_run(model, config, options.out, preparation=PUBLISHED_PREPARATION)
    count = sum(parameter.numel() for parameter in model.parameters())
    say(f"{out.path}: {count:,} parameters from {options.file}, latent {section.latent}; data set: {options.data}")
    say(f"done; next: {next_command('generate', '--run', out.path, '--input', 'FILE')}")


def _autoencoder_run(state: Mapping[str, Any], arguments: argparse.Namespace) -> tuple[Autoencoder, Config, RunConfig]:
    if arguments.autoencoder:
        raise ValueError(f"{arguments.file} is an autoencoder itself: --autoencoder belongs to single-view weights")
    sizes, weights = convert(state, where=str(arguments.file))
    sizes = dataclasses.replace(sizes, output_clip=arguments.output_clip)
    model = Autoencoder(sizes)
    model.load_state_dict(weights)
    data, training = LoadingConfig(path=arguments.data), TrainingConfig(stages=STAGES)
    return model, sizes, _config("imnet_autoencoder", sizes, arguments, data=data, training=training)


def _single_view_run(
    state: Mapping[str, Any], arguments: argparse.Namespace
) -> tuple[SingleView, SingleViewConfig, RunConfig]:
    beside = read_mapping(arguments.autoencoder, expected="a state_dict") if arguments.autoencoder else None
    sizes, weights = convert_single_view(state, beside, where=str(arguments.file), beside=str(arguments.autoencoder))
    autoencoder = dataclasses.replace(sizes.autoencoder, output_clip=arguments.output_clip)
    sizes = dataclasses.replace(sizes, autoencoder=autoencoder)
    model = SingleView(sizes)
    model.load_state_dict(weights)
    data = LoadingConfig(path=arguments.data, input=InputConfig("view"), target=InputConfig())
    training = TrainingConfig(stages=(TrainingStage(level="codes", epochs=1000),), batch_shapes=64)
    return model, sizes, _config("imnet_single_view", sizes, arguments, data=data, training=training)


def _config(
    kind: str, sizes: Any, arguments: argparse.Namespace, *, data: LoadingConfig, training: TrainingConfig
) -> RunConfig:
    """The run an imported model lives in."""
    model = {"type": kind, **to_plain(sizes)}
    return RunConfig(name=arguments.out.name, runs=arguments.out.parent, model=model, data=data, training=training)
