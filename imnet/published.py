"""Published IM-NET weights become a run: `python -m imnet.published FILE.pth --out runs/NAME [--data PATH]`.

A published autoencoder checkpoint is a bare state_dict with `encoder.conv_1..5.*` and `generator.linear_1..7.*`.
`convert` is pure; only the command below it writes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from data_processing.commandline import DONE, Parser, run, say
from data_processing.config import to_plain
from data_processing.dataset import DataSection
from data_processing.published_hdf5 import PUBLISHED_PREPARATION
from engine.config import RunConfig, Stage, TrainingSection
from engine.foreign_weights import read_mapping, refuse_misfits, refuse_other_dimensions, renamed_weights, write_run
from imnet.autoencoder import Autoencoder, Config

CONVOLUTIONS, LAYERS = 5, 7
STAGES = (Stage(level=16, epochs=100), Stage(level=32, epochs=100), Stage(level=64, epochs=200))


def convert(state: Mapping[str, Any], *, where: str) -> tuple[Config, dict[str, torch.Tensor]]:
    """Sizes and weights of our autoencoder out of a published state_dict. ValueError naming what is missing or odd."""
    names = renamed()
    expected = f"a published IM-NET autoencoder: expected the {len(names)} keys encoder.conv_* and generator.linear_*"
    weights = renamed_weights(state, names, expected=expected, where=where)
    config = _sizes(weights, where)
    refuse_misfits(weights, lambda: Autoencoder(config), where=where)
    return config, weights


def renamed() -> dict[str, str]:
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
        raise ValueError(f"{where}: {error}") from error


def main() -> int:
    parser = Parser(prog="python -m imnet.published", description="Make a run out of published IM-NET weights.")
    parser.add_argument("file", type=Path, help="published checkpoint (.pth)")
    parser.add_argument("--out", type=Path, required=True, help="the run to make: runs/NAME")
    parser.add_argument("--data", type=Path, default=Path("datasets/published"), help="data set to evaluate on")
    parser.add_argument("--output-clip", choices=("leaky", "hard"), default="leaky", help="hard: trained in TensorFlow")
    arguments = parser.parse_args()

    state = read_mapping(arguments.file, expected="a state_dict")
    sizes, weights = convert(state, where=str(arguments.file))
    section = {"type": "imnet_autoencoder", **to_plain(sizes), "output_clip": arguments.output_clip}
    model = Autoencoder(Config(**{**to_plain(sizes), "output_clip": arguments.output_clip}))
    model.load_state_dict(weights)
    config = RunConfig(
        name=arguments.out.name,
        runs=arguments.out.parent,
        model=section,
        data=DataSection(path=arguments.data),
        training=TrainingSection(stages=STAGES),
    )
    out = write_run(model, config, arguments.out, preparation=PUBLISHED_PREPARATION)
    count = sum(parameter.numel() for parameter in model.parameters())
    say(f"{out.path}: {count:,} parameters from {arguments.file}, latent {sizes.latent}; data set: {arguments.data}")
    return DONE


if __name__ == "__main__":
    run(main)
