"""A run as the files of a pack, in a folder or a zip that is there whole or not at all."""

import copy
import dataclasses
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

import isofield
from isofield import checkpoint
from isofield.outliers.scoring.calibrate import calibrate_prior
from isofield.outliers.scoring.calibration import load_calibration, save_calibration
from isofield.outliers.scoring.detector import MaskPrior
from isofield.outliers.scoring.scores import scorer_arrays
from isofield.packs.manifest import (
    FORMAT,
    INPUT_CALIBRATION,
    MANIFEST,
    WEIGHTS,
    PackedFile,
    PackManifest,
    parse_manifest,
)
from isofield.packs.weights import Precision, weights_image, weights_of
from isofield.packs.writing.calibrate_inputs import packed_input_calibration
from isofield.packs.writing.card import CardText, PackedWeights, card_of, card_text
from isofield.packs.writing.field_change import FieldChange, field_change
from isofield.packs.writing.portable import portable, refuse_own_places
from isofield.registry import LoadedRun, load_run
from isofield.run_dir import RunDir, make_folder, preparation_of
from isofield.runtime.atomic_files import TEMPORARY_PREFIX, replacing
from isofield.runtime.commandline import say
from isofield.runtime.config import to_plain, to_yaml
from isofield.runtime.fingerprint import sha256_of
from isofield.runtime.json_files import read_object

ZIP = ".zip"
BOUND = 0.02  # of the span of the field's values


@dataclass(frozen=True)
class PackOptions:
    """What is asked of a pack. `bound`: the most that rounding may move the field, as a share of what it spans."""

    which: str = "best"
    precision: Precision = "float32"
    text: CardText = field(default_factory=CardText)
    bound: float = BOUND
    with_calibration: bool = True


@dataclass(frozen=True)
class Pack:
    """What was made: bytes by name, and what there is to say of them."""

    images: Mapping[str, bytes]
    manifest: PackManifest
    change: FieldChange | None
    unfinished: str


def pack_run(run: RunDir, out: Path, options: PackOptions) -> Pack:
    """Write the pack of a run into a folder, or into a zip where `out` ends so.

    ValueError when something is there already, the run is packed itself, its calibration is of other weights, or
    rounding moves the field further than the bound. FileNotFoundError when there is no such run or checkpoint.
    """
    refuse_existing(out)
    if run.is_packed:
        raise ValueError(f"{run.path} is packed already: copy the folder, or zip it")
    pack = pack_of(run, options)
    write_pack(pack.images, out)
    return pack


def pack_of(run: RunDir, options: PackOptions) -> Pack:
    """The files of a pack, in memory. Errors are those of `pack_run`."""
    loaded = load_run(run, which=options.which)
    # The weights as they travel, read back: what is said of them is true of what arrives.
    image = weights_image(loaded.model.state_dict(), options.precision)
    arriving = weights_of(image, where=WEIGHTS)
    rounded = _with_weights(loaded, arriving)
    change = None if options.precision == "float32" else _change(loaded, rounded, options)
    weights = PackedWeights(options.precision, sha256_of(image), rounded.model_hash, change, options.bound)
    texts = _settings(run, loaded)
    images = {WEIGHTS: image}
    if options.with_calibration and run.calibration_file.is_file():
        texts["calibration.json"], images["judge.npz"] = _calibration(run, loaded, rounded)
    if options.with_calibration and run.input_calibration_file.is_file():
        texts[INPUT_CALIBRATION] = packed_input_calibration(run, loaded, rounded)
    # What people and programs are told: the card, which holds no place of this machine.
    planned, seconds = _training(run, options.which)
    preparation = preparation_of(run)
    card = card_of(run, loaded, preparation, weights, options.text, which=options.which, seconds=seconds)
    card |= {"input_calibration": INPUT_CALIBRATION if INPUT_CALIBRATION in texts else None}
    card |= {"calibration": "calibration.json" if "judge.npz" in images else None}
    unfinished = f"; NOT FINISHED: {loaded.step:,} of {planned:,} steps" if loaded.unfinished else ""
    texts["card.json"] = json.dumps(card, indent=1, ensure_ascii=False) + "\n"
    texts["README.md"] = card_text(card, options.text.about, unfinished=unfinished)
    refuse_own_places(texts, run.path)
    images |= {name: text.encode("utf-8", "backslashreplace") for name, text in texts.items()}
    manifest = PackManifest(
        format=FORMAT,
        made_by=f"isofield {isofield.__version__}",
        name=loaded.config.name,
        checkpoint=options.which,
        step=loaded.step,
        # An early checkpoint of a training that came to its end lacks nothing: a pack has no other to tell it by.
        planned=planned if loaded.unfinished or (planned or 0) <= loaded.step else None,
        precision=options.precision,
        model_hash=rounded.model_hash,
        files={name: PackedFile(len(images[name]), sha256_of(images[name])) for name in sorted(images)},
    )
    images[MANIFEST] = (json.dumps(dataclasses.asdict(manifest), indent=1) + "\n").encode()
    parse_manifest(images[MANIFEST], where=MANIFEST)  # what we write, we also read
    return Pack(images, manifest, change, unfinished.lstrip("; "))


def write_pack(images: Mapping[str, bytes], out: Path) -> None:
    """A folder, or a zip whose bytes depend on the content alone; whole or not there. ValueError when `out` is."""
    make_folder(out.absolute().parent)
    if out.suffix.lower() == ZIP:
        image = io.BytesIO()
        with zipfile.ZipFile(image, "w") as archive:
            for name in sorted(images):
                info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                info.external_attr = 0o100644 << 16
                # Numbers hardly pack.
                info.compress_type = zipfile.ZIP_STORED if name == WEIGHTS else zipfile.ZIP_DEFLATED
                archive.writestr(info, images[name])
        refuse_existing(out)
        with replacing(out) as temporary:
            temporary.write_bytes(image.getbuffer())
        return
    stage = out.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{out.name}")
    try:
        for name, content in images.items():
            with replacing(stage / name) as temporary:
                temporary.write_bytes(content)
        refuse_existing(out)
        os.rename(stage, out)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def refuse_existing(out: Path) -> None:
    """ValueError when anything is there, a broken link too: nothing is overwritten."""
    if os.path.lexists(out):
        raise ValueError(f"{out} is there already: choose another OUT, or take it away; nothing was overwritten")


def _with_weights(loaded: LoadedRun, weights: Mapping[str, torch.Tensor]) -> LoadedRun:
    """The same run with other weights."""
    model = copy.deepcopy(loaded.model)
    model.load_state_dict(weights)
    return dataclasses.replace(loaded, model=model, model_hash=checkpoint.hash_of(weights))


def _change(loaded: LoadedRun, rounded: LoadedRun, options: PackOptions) -> FieldChange:
    """What rounding does to the field. ValueError when that is more than the bound."""
    change = field_change(loaded.model, rounded.model, loaded.config.data.input)
    if not change.share <= options.bound:
        raise ValueError(
            f"--precision {options.precision}: moves the field by {change}, more than --bound {options.bound:g} of the "
            "span; pack in a finer precision, or raise the bound"
        )
    return change


def _settings(run: RunDir, loaded: LoadedRun) -> dict[str, str]:
    """config.yaml, preparation.json, and what came with published weights, without places of this machine."""
    config = portable(to_plain(loaded.config)) | {"device": "auto"}
    texts = {"config.yaml": to_yaml(config)}
    jsons = {"preparation.json": run.preparation_file, "published.json": run.published_file}
    for name, file in jsons.items():
        if file.is_file():
            content = portable(read_object(file, again="it comes with the run"))
            texts[name] = json.dumps(content, indent=1, sort_keys=True) + "\n"
    return texts


def _calibration(run: RunDir, loaded: LoadedRun, rounded: LoadedRun) -> tuple[str, bytes]:
    """Both files, the path of the clean masks cut to a name; made again with the same masks where weights were rounded.

    ValueError when the run's calibration is of other weights, or those masks are not here any more.
    """
    before, _ = load_calibration(run, model_hash=loaded.model_hash)
    if rounded.model_hash == loaded.model_hash:
        return _calibration_files(run)
    # Scores of one model say nothing of another, however near its weights are.
    say(f"{run.calibration_file}: made again for the rounded weights, with {before.data} ({before.split})")
    prior = MaskPrior(rounded, preparation_of(run))
    try:
        calibration, scorer = calibrate_prior(prior, data=Path(before.data), split=before.split, where=run.path)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{run.calibration_file}: is of the float32 weights and cannot be made again for rounded ones ({error}); "
            "pack with --precision float32, or without it: --no-calibration"
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        save_calibration(RunDir(folder), calibration, scorer_arrays(scorer))
        return _calibration_files(RunDir(folder))


def _calibration_files(run: RunDir) -> tuple[str, bytes]:
    content = portable(read_object(run.calibration_file, again="calibrate again"))
    return json.dumps(content, indent=1) + "\n", run.judge_file.read_bytes()


def _training(run: RunDir, which: str) -> tuple[int | None, float]:
    """Steps of all stages, where the checkpoint tells (those of version 0.1 do not), and seconds spent in training."""
    saved = checkpoint.load(run.existing_checkpoint(which))
    planned, seconds = saved.get("planned"), saved.get("seconds")
    return planned if isinstance(planned, int) else None, float(seconds) if isinstance(seconds, int | float) else 0.0
