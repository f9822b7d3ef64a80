"""Published IM-NET weights become a run: `python -m imnet.published FILE.pth --out runs/NAME [--data PATH]`.

A published autoencoder checkpoint is a bare state_dict with `encoder.conv_1..5.*` and `generator.linear_1..7.*`
(SPEC section 1). `convert` is pure; only the command below it writes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from data_processing.commandline import DONE, Parser, run, say
from data_processing.config import to_plain, to_yaml
from data_processing.dataset import DataSection
from data_processing.published_hdf5 import PUBLISHED_PREPARATION
from engine import checkpoint
from engine.config import RunConfig, Stage, TrainingSection
from engine.distributed import Group
from engine.run_dir import RunDir, claim
from engine.state import fresh, save
from imnet.autoencoder import Autoencoder, Config

CONVOLUTIONS, LAYERS = 5, 7
STAGES = (Stage(level=16, epochs=100), Stage(level=32, epochs=100), Stage(level=64, epochs=200))


def convert(state: Mapping[str, Any], *, where: str) -> tuple[Config, dict[str, torch.Tensor]]:
    """Sizes and weights of our autoencoder out of a published state_dict. ValueError naming what is missing or odd."""
    names = renamed()
    missing, unknown = sorted(set(names) - set(state)), sorted(map(str, set(state) - set(names)))
    if missing or unknown:
        raise ValueError(
            f"{where}: not a published IM-NET autoencoder: expected the {len(names)} keys encoder.conv_* and "
            f"generator.linear_*; missing {_some(missing)}; unknown {_some(unknown)}"
        )
    weights = {ours: _tensor(state[published], published, where) for published, ours in names.items()}
    config = _sizes(weights, where)
    with torch.device("meta"):  # sizes only: what a file declares is not allocated
        expected = {name: value.shape for name, value in Autoencoder(config).state_dict().items()}
    for name, value in weights.items():
        if value.shape != expected[name]:
            raise ValueError(f"{where}: {name} is {tuple(value.shape)}, expected {tuple(expected[name])}")
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


def _tensor(value: Any, name: str, where: str) -> torch.Tensor:
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        raise ValueError(f"{where}: {name} is {type(value).__name__}, expected a tensor of floats")
    if value.layout is not torch.strided or value.untyped_storage().nbytes() < value.numel() * value.element_size():
        raise ValueError(f"{where}: {name} declares {tuple(value.shape)} but does not hold as many numbers")
    if not torch.isfinite(value).all():
        raise ValueError(f"{where}: {name} holds NaN or infinite weights")
    return value.float()


def _sizes(weights: Mapping[str, torch.Tensor], where: str) -> Config:
    wanted = {name: 5 if "encoder" in name else 2 for name in weights if name.endswith("weight")}
    for name, dimensions in wanted.items():
        if weights[name].dim() != dimensions:
            raise ValueError(f"{where}: {name} is {tuple(weights[name].shape)}, expected {dimensions} dimensions")
    channels = [weights[f"encoder.convolutions.{i}.weight"].shape[0] for i in range(CONVOLUTIONS - 1)]
    widths = [weights[f"decoder.layers.{i}.weight"].shape[0] for i in range(LAYERS - 1)]
    latent = weights["encoder.last.weight"].shape[0]
    try:
        return Config(latent=latent, encoder_channels=tuple(channels), decoder_widths=tuple(widths))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _some(names: list[str]) -> str:
    return (", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")) or "none"


def main() -> int:
    parser = Parser(prog="python -m imnet.published", description="Make a run out of published IM-NET weights.")
    parser.add_argument("file", type=Path, help="published checkpoint (.pth)")
    parser.add_argument("--out", type=Path, required=True, help="the run to make: runs/NAME")
    parser.add_argument("--data", type=Path, default=Path("datasets/published"), help="data set to evaluate on")
    parser.add_argument("--output-clip", choices=("leaky", "hard"), default="leaky", help="hard: trained in TensorFlow")
    arguments = parser.parse_args()

    state = checkpoint.load_tensors(arguments.file)
    if not isinstance(state, Mapping):
        raise ValueError(f"{arguments.file}: expected a state_dict, got {type(state).__name__}")
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
    out = RunDir(arguments.out)
    claim(out, config=to_yaml(config), preparation=PUBLISHED_PREPARATION, resume=False)
    for which in ("last", "best"):
        save(fresh(model, config), config, out, which=which, group=Group(0, 1, torch.device("cpu")))
    count = sum(parameter.numel() for parameter in model.parameters())
    say(f"{out.path}: {count:,} parameters from {arguments.file}, latent {sizes.latent}; data set: {arguments.data}")
    return DONE


if __name__ == "__main__":
    run(main)
