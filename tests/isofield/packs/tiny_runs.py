"""Tiny trained runs of every kind, their packs, and packs as a stranger would change them."""

import dataclasses
import hashlib
import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from data_processing.store.shape_set import open_shapes
from ifnet.model import Config
from isofield.commands import pack
from isofield.config import RunConfig, TrainingStage
from isofield.registry import new_model, resolve
from isofield.run_dir import RunDir
from isofield.training.loop import train
from tests.commands import call
from tests.ifnet.test_training import tiny_run as ifnet_config
from tests.isofield.conftest import tiny_config
from tests.isofield.ready_runs import ALONE
from tests.made_once import made_once

Images = dict[str, bytes]
IFNET = "field"  # the name of a run


def trained_autoencoder(data: Path, runs: Path, **training: object) -> RunDir:
    """15 steps of IM-NET's autoencoder, and its `best`."""
    return _trained(resolve(tiny_config(data, runs, **training), where="test"))


def trained_ifnet(data: Path, runs: Path, *, kind: str = "points") -> RunDir:
    """An IF-Net with counts of its normalisation, trained until there is a surface: a copy, which may be changed."""
    name = f"ifnet-{kind}-{hashlib.sha256(bytes(data)).hexdigest()[:8]}"
    run = made_once(name, lambda folder: _train_ifnet(data, folder, kind=kind)) / IFNET
    return RunDir(shutil.copytree(run, runs / IFNET))


def _train_ifnet(data: Path, runs: Path, *, kind: str) -> RunDir:
    model = Config(resolution=16, stages=((2,), (4, 4)), decoder_widths=(8,))
    stages = (TrainingStage(level="boundary", epochs=40, points=300),)
    config = resolve(ifnet_config(data, runs, model=model, kind=kind, stages=stages), where="test")
    return _trained(dataclasses.replace(config, name=IFNET))


def _trained(config: RunConfig) -> RunDir:
    torch.manual_seed(0)
    run, model = RunDir(config.run_path), new_model(config.model, where="test")
    train(model, open_shapes(config.data.path), config, run, ALONE, resume=False)
    return run


def packed(run: RunDir, out: Path, *words: object) -> Path:
    """What `isofield pack` makes of it."""
    assert call(pack.main, run.path, out, "--licence", "cc-by-4.0", *words) == 0
    return out


def images_in(folder: Path) -> Images:
    """The files of a packed folder by name."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def written(images: Mapping[str, bytes], folder: Path) -> Path:
    """A folder of these files."""
    folder.mkdir(parents=True)
    for name, image in images.items():
        (folder / name).write_bytes(image)
    return folder


def zipped(images: Mapping[str, bytes], file: Path, *, below: str = "", packing: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip of these files, as `zip -r` makes it where they lie `below` a folder."""
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, image in images.items():
            archive.writestr(below + name, image)
    return file


def renamed_in_manifest(images: Images, **changes: bytes | None) -> Images:
    """Files changed (None: gone) by one who knows the format: pack.json names what is there now."""
    names = {"weights": "model.safetensors", "config": "config.yaml", "card": "card.json"}
    content, new = json.loads(images["pack.json"]), dict(images)
    for key, image in changes.items():
        name = names[key]
        if image is None:
            del new[name], content["files"][name]
        else:
            new[name] = image
            content["files"][name] = {"size": len(image), "sha256": hashlib.sha256(image).hexdigest()}
    return new | {"pack.json": json.dumps(content).encode()}


def with_manifest(images: Images, **changes: object) -> Images:
    """pack.json with other values."""
    return images | {"pack.json": json.dumps(json.loads(images["pack.json"]) | changes).encode()}
