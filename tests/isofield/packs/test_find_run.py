"""What a user may name as a run: packed or not, folder, zip; meshes are the same bytes, and bad packs are refused."""

import io
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import isofield
from isofield.commands import evaluate, generate, train
from isofield.packs.find_run import find_run
from isofield.registry import load_run
from isofield.run_dir import RunDir, exclusive
from isofield.runtime.config import to_yaml
from tests.commands import call
from tests.hostile import refusal
from tests.isofield.conftest import tiny_config
from tests.isofield.generation.test_latent_shapes import gan  # noqa: F401 (a fixture)
from tests.isofield.generation.test_view_runs import view_config
from tests.isofield.packs.tiny_runs import (
    Images,
    images_in,
    packed,
    renamed_in_manifest,
    trained_ifnet,
    with_manifest,
    written,
    zipped,
)
from tests.isofield.ready_runs import make_run
from tests.isofield.training.test_frozen_codes import gan_config, run_training
from tests.small_sets import write_viewed

COARSE = ("--resolution", 24, "--frame", 12, "--device", "cpu")


def meshes_of(run: Path | str, out: Path, *words: object) -> Images:
    """What generate.py writes for a run."""
    assert call(generate.main, "--run", run, *COARSE, "--out", out, *words) == 0
    meshes = {file.relative_to(out).as_posix(): file.read_bytes() for file in out.rglob("*.ply")}
    assert meshes
    return meshes


def refuse_same_everywhere(run: RunDir, tmp_path: Path, *words: object) -> None:
    """Meshes of the run, of its packed folder, of the zip, and of a zip of the folder are the same bytes."""
    expected = meshes_of(run.path, tmp_path / "out", *words)
    folder, file = packed(run, tmp_path / "pack"), packed(run, tmp_path / "pack.zip")
    by_hand = zipped(images_in(folder), tmp_path / "by hand.zip", below="pack/")
    for number, place in enumerate((folder, file, by_hand)):
        assert meshes_of(place, tmp_path / f"out{number}", *words) == expected
        assert load_run(find_run(place)).model_hash == load_run(run).model_hash


def test_an_autoencoder_arrives_as_it_left(boxes: Path, tmp_path: Path):
    run = make_run(boxes, tmp_path / "runs")  # octahedra: every mesh has a surface
    refuse_same_everywhere(run, tmp_path, "--split", "test", "--data", boxes)


def test_a_latent_gan_arrives_as_it_left(gan: Path, tmp_path: Path):  # noqa: F811
    refuse_same_everywhere(RunDir(gan), tmp_path, "--samples", 3)


@pytest.mark.slow
def test_a_single_view_run_arrives_as_it_left(tmp_path: Path):
    seen = write_viewed(tmp_path / "seen", shapes=5, views=3, size=130)
    autoencoder = make_run(seen, tmp_path / "initial")
    config = view_config(seen, tmp_path / "runs", autoencoder)
    run_training(config)
    refuse_same_everywhere(RunDir(config.run_path), tmp_path, "--split", "test", "--data", seen)


def test_an_ifnet_arrives_as_it_left(prepared: Path, tmp_path: Path):
    run = trained_ifnet(prepared, tmp_path / "runs")
    source = np.random.default_rng(0).random((400, 3))
    np.save(tmp_path / "cloud.npy", source)
    before, after = isofield.load(run.path, device="cpu"), isofield.load(packed(run, tmp_path / "p.zip"), device="cpu")
    points_N3 = np.random.default_rng(1).random((500, 3))
    np.testing.assert_array_equal(after.field(points_N3, source), before.field(points_N3, source))
    assert len(before.model.state_dict()) == len(after.model.state_dict())
    refuse_same_everywhere(run, tmp_path, "--split", "test", "--data", prepared)


def test_results_of_a_zip_go_into_the_cache_and_are_found_again(
    boxes: Path, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
):
    file = packed(make_run(boxes, tmp_path / "runs"), tmp_path / "octahedra.zip")
    for _ in range(2):
        assert call(generate.main, "--run", file, *COARSE, "--split", "test", "--data", boxes) == 0
    assert f"{cache}/packs/tiny-" in capsys.readouterr().out.splitlines()[-1]
    assert call(evaluate.main, "--run", file, "--split", "test", "--data", boxes, "--against", "voxels") == 0
    (report,) = cache.rglob("report.html")
    assert str(report) in capsys.readouterr().out
    assert len(list((cache / "packs").iterdir())) == 1


def test_a_file_of_the_cache_that_was_changed_is_put_back(images: Images, tmp_path: Path):
    file = zipped(images, tmp_path / "tiny.zip")
    run = find_run(file)
    run.weights_file.write_bytes(b"x" * run.weights_file.stat().st_size)
    assert load_run(find_run(file)).step == 15


def test_a_gan_trains_on_a_packed_autoencoder(boxes: Path, images: Images, tmp_path: Path):
    autoencoder = RunDir(zipped(images, tmp_path / "tiny.zip"))
    file = tmp_path / "gan.yaml"
    file.write_text(to_yaml(gan_config(boxes, tmp_path / "runs", autoencoder, max_steps=1)))
    assert call(train.main, "--config", file) == 0
    trained, initial = load_run(RunDir(tmp_path / "runs" / "gan")), load_run(find_run(autoencoder.path))
    assert trained.config.model["init_hash"] == initial.model_hash
    for name, value in initial.model.state_dict().items():
        assert torch.equal(trained.model.state_dict()[f"autoencoder.{name}"], value)


@pytest.mark.parametrize("how", ["run", "config"])
def test_a_packed_run_is_not_resumed(boxes: Path, images: Images, tmp_path: Path, how: str):
    folder = written(images, tmp_path / "runs" / "tiny")
    config = tmp_path / "tiny.yaml"
    config.write_text(to_yaml(tiny_config(boxes, tmp_path / "runs")))
    words = ["--config", config, "--resume"] if how == "run" else ["--config", folder / "config.yaml", "--resume"]
    with pytest.raises(ValueError, match=r"tiny is a packed run.*--resume.*name=NAME data\.path"):
        call(train.main, *words, "--set", f"data.path={boxes}")
    assert images_in(folder) == images
    assert (
        call(train.main, "--config", folder / "config.yaml", "--set", f"runs={tmp_path / 'new'}", f"data.path={boxes}")
        == 0
    )


def test_a_checkpoint_that_a_pack_has_not(images: Images, tmp_path: Path):
    folder = written(images, tmp_path / "tiny")
    assert load_run(find_run(folder), which="best").step == 15
    with pytest.raises(FileNotFoundError, match=r"tiny is a packed run.*'best', not 'last'.*--checkpoint"):
        load_run(find_run(folder), which="last")


def test_calibration_leaves_a_packed_run_alone(images: Images, tmp_path: Path):
    folder = written(images, tmp_path / "tiny")
    with pytest.raises(ValueError, match=r"tiny is a packed run.*--calibrate"):
        call(evaluate.main, "--run", folder, "--calibrate", "--device", "cpu")
    assert images_in(folder) == images


def test_a_folder_that_nobody_may_write_to_names_out(
    boxes: Path, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Root may write everywhere: what the system says of others is asked for."""
    folder = written(images, tmp_path / "tiny")
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "access", lambda place, mode: False)
    else:
        folder.chmod(0o555)
    with pytest.raises(ValueError, match=rf"{folder}/meshes/test: .*--out"):
        call(generate.main, "--run", folder, *COARSE, "--split", "test", "--data", boxes)
    with pytest.raises(ValueError, match="--out"):
        exclusive(folder / "evaluation", 0, what="evaluation")


def test_the_data_set_does_not_travel(boxes: Path, images: Images, tmp_path: Path):
    folder = written(images, tmp_path / "tiny")
    for command in (generate, evaluate):
        with pytest.raises(FileNotFoundError, match=rf"tiny is a packed run.*{boxes.name} does not travel.*--data"):
            call(command.main, "--run", folder, "--split", "test", "--device", "cpu")
    with pytest.raises(FileNotFoundError, match="--data"):
        call(generate.main, "--run", folder, "--interpolate", "a", "b", "--device", "cpu")


def test_what_is_no_run_is_said(tmp_path: Path, images: Images):
    (tmp_path / "notes.txt").write_text("no zip")
    with pytest.raises(ValueError, match=r"notes\.txt: .*cut short.*isofield pack RUN"):
        find_run(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=r"tiny\.zip: no pack\.json.*isofield pack RUN"):
        find_run(zipped({"config.yaml": b"name: x"}, tmp_path / "tiny.zip"))
    with pytest.raises(FileNotFoundError, match=r"nowhere is not a run"):
        find_run(tmp_path / "nowhere").existing()


# What a stranger may do to a pack, and what is said of it.


def _changed(name: str, change: Callable[[bytes], bytes]) -> Callable[[Images], Images]:
    return lambda images: images | {name: change(images[name])}


def _lying(images: Images, header: Callable[[dict], dict]) -> Images:
    """Weights whose header was changed, in a pack whose manifest knows."""
    image = images["model.safetensors"]
    length = struct.unpack("<Q", image[:8])[0]
    text = json.dumps(header(json.loads(image[8 : 8 + length]))).encode()
    return renamed_in_manifest(images, weights=struct.pack("<Q", len(text)) + text + image[8 + length :])


def _first(header: dict, **changes: object) -> dict:
    name = next(key for key in header if key != "__metadata__")
    return header | {name: header[name] | changes}


def _pickle(images: Images) -> bytes:
    stream = io.BytesIO()
    torch.save(safetensors.torch.load(images["model.safetensors"]), stream)
    return stream.getvalue()


def _other_sizes(images: Images) -> Images:
    weights = safetensors.torch.load(images["model.safetensors"])
    weights = {name: value[..., :1].contiguous() for name, value in weights.items()}
    return renamed_in_manifest(images, weights=safetensors.torch.save(weights))


def _hollow(images: Images) -> Images:
    weights = safetensors.torch.load(images["model.safetensors"])
    weights = {name: torch.full_like(value, float("nan")) for name, value in weights.items()}
    return renamed_in_manifest(images, weights=safetensors.torch.save(weights))


ATTACKS: dict[str, tuple[Callable[[Images], Images], str]] = {
    "weights cut": (_changed("model.safetensors", lambda image: image[:-7]), "model.safetensors: .*cut or changed"),
    "config cut": (_changed("config.yaml", lambda image: image[:-7]), "config.yaml: .*cut or changed"),
    "weights of another hash": (
        _changed("model.safetensors", lambda image: image[:-1] + bytes([image[-1] ^ 1])),
        "model.safetensors: SHA-256 .*changed or damaged",
    ),
    "config of another hash": (
        _changed("config.yaml", lambda image: image.replace(b"tiny", b"tony")),
        "config.yaml: SHA-256 .*changed or damaged",
    ),
    "a pickle in place of weights": (lambda i: renamed_in_manifest(i, weights=_pickle(i)), "not safetensors"),
    "a pickle beside them": (lambda i: i | {"last.pt": _pickle(i)}, "holds 'last.pt'.*nothing else"),
    "an extra file": (lambda i: i | {"notes.txt": b"x"}, "holds 'notes.txt'.*nothing else"),
    "a file missing": (lambda i: {n: v for n, v in i.items() if n != "README.md"}, "lacks 'README.md'.*cut short"),
    "no manifest": (lambda i: {n: v for n, v in i.items() if n != "pack.json"}, "no pack.json"),
    "manifest cut": (_changed("pack.json", lambda image: image[:-20]), "pack.json: cut or damaged"),
    "manifest of a list": (_changed("pack.json", lambda image: b"[]"), "pack.json: cut or damaged"),
    "manifest too deep": (_changed("pack.json", lambda image: b"[" * 100_000), "pack.json: cut or damaged"),
    "a newer version": (lambda i: with_manifest(i, format=2, made_by="isofield 9"), "format 2.*isofield 9.*update"),
    "no version": (lambda i: with_manifest(i, format="x"), "format 1"),
    "a name that leads out": (lambda i: with_manifest(i, name="x/../../x"), "plain folder name"),
    "a file that leads out": (
        lambda i: with_manifest(i, files={"../config.yaml": {"size": 1, "sha256": "0"}}),
        "names '../config.yaml'",
    ),
    "sizes beyond measure": (
        lambda i: with_manifest(
            i, files=json.loads(i["pack.json"])["files"] | {"config.yaml": {"size": 1 << 60, "sha256": "0"}}
        ),
        "config.yaml of 1,152",
    ),
    "offsets beyond the file": (lambda i: _lying(i, lambda h: _first(h, data_offsets=[0, 1 << 50])), "not safetensors"),
    "a shape that is not there": (lambda i: _lying(i, lambda h: _first(h, shape=[1 << 40])), "not safetensors"),
    "a header of terabytes": (
        lambda i: renamed_in_manifest(i, weights=struct.pack("<Q", 1 << 43) + i["model.safetensors"][8:]),
        "not safetensors",
    ),
    "a type that is none": (lambda i: _lying(i, lambda h: _first(h, dtype="PICKLE")), "not safetensors"),
    "tensors of other sizes": (_other_sizes, "not those that pack.json names"),
    "weights that are no numbers": (_hollow, "NaN or infinite"),
    "a config with code in it": (
        lambda i: renamed_in_manifest(i, config=b"name: !!python/object/apply:os.mkdir [executed]\n"),
        "not a YAML file",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_bad_packs_are_refused(images: Images, tmp_path: Path, attack: str, kind: str):
    change, expected = ATTACKS[attack]
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    place = tmp_path / "inside" / ("pack.zip" if kind == "zip" else "pack")
    (zipped if kind == "zip" else written)(change(images), place)
    with pytest.raises(ValueError, match=expected) as told:
        load_run(find_run(place))
    assert str(place) in str(told.value) or "cache" in str(told.value)
    assert len(str(told.value)) < 600
    assert not Path("executed").exists() and (tmp_path / "secret.txt").read_text() == "secret"


def test_sizes_are_compared_before_the_model_is_made(images: Images, tmp_path: Path):
    """Also where the manifest agrees with the weights: a config of a stranger may ask for any memory."""
    text = images["config.yaml"].decode().replace("- 16\n", f"- {1 << 20}\n")
    place = written(renamed_in_manifest(images, config=text.encode()), tmp_path / "pack")
    with pytest.raises(ValueError, match=r"model\.safetensors does not fit the model of .*config\.yaml"):
        load_run(find_run(place))


def _zip_with(images: Images, file: Path, name: str, *, mode: int = 0o100644, content: bytes = b"x") -> Path:
    zipped(images, file)
    with zipfile.ZipFile(file, "a") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, content)
    return file


@pytest.mark.parametrize(
    ("name", "mode", "expected"),
    [
        ("../x", 0o100644, "leads out"),
        ("/etc/x", 0o100644, "leads out"),
        ("a/../../x", 0o100644, "leads out"),
        ("..\\x", 0o100644, "leads out"),
        ("C:x", 0o100644, "leads out"),
        ("link.yaml", 0o120777, "is a link"),
        ("pipe", 0o010644, "is a link or a device"),
        ("deep/x.txt", 0o100644, "nothing else"),
        ("config.yaml", 0o100644, "twice"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zips_that_lead_out_or_link(images: Images, tmp_path: Path, cache: Path, name: str, mode: int, expected: str):
    (tmp_path / "in").mkdir()
    file = _zip_with(images, tmp_path / "in" / "pack.zip", name, mode=mode, content=b"/etc/passwd")
    assert expected in refusal(find_run, file)
    assert not cache.exists()


def test_zip_bombs_are_not_unpacked(images: Images, tmp_path: Path, cache: Path):
    (tmp_path / "in").mkdir()
    zeros = renamed_in_manifest(images, weights=bytes(64 << 20))
    assert "would unpack to" in refusal(find_run, zipped(zeros, tmp_path / "in" / "a.zip"))
    many = images | {f"{number}.txt": b"" for number in range(200)}
    assert "no packed run" in refusal(find_run, zipped(many, tmp_path / "in" / "b.zip"))
    # A member that declares less than it holds, and a manifest that agrees with the lie.
    lying = zipped(images | {"README.md": bytes(8 << 20)}, tmp_path / "in" / "c.zip")
    assert "8,388,608" in refusal(find_run, lying)
    manifest = zipped(images | {"pack.json": b" " * (2 << 20)}, tmp_path / "in" / "d.zip")
    assert "pack.json of 2,097,152" in refusal(find_run, manifest)
    assert not cache.exists()


def test_zips_that_are_cut_or_encrypted(images: Images, tmp_path: Path):
    (tmp_path / "in").mkdir()
    file = zipped(images, tmp_path / "in" / "a.zip", packing=zipfile.ZIP_STORED)
    whole = file.read_bytes()
    for length in (len(whole) // 2, len(whole) - 10, 30):
        file.write_bytes(whole[:length])
        assert "cut" in refusal(find_run, file)
    middle = whole.index(images["config.yaml"][:40])
    file.write_bytes(whole[:middle] + b"XXXX" + whole[middle + 4 :])
    with pytest.raises(ValueError, match=r"cut or damaged|SHA-256"):
        find_run(file)
    zipped(images, file, packing=zipfile.ZIP_LZMA)
    assert "deflate" in refusal(find_run, file)


def test_results_and_hidden_files_may_lie_beside_a_pack(images: Images, tmp_path: Path):
    folder = written(images, tmp_path / "tiny")
    (folder / "meshes" / "input").mkdir(parents=True)
    (folder / "evaluation").mkdir()
    (folder / ".gitattributes").write_text("x")
    assert load_run(find_run(folder)).step == 15
    shutil.rmtree(folder / "evaluation")
    (folder / "checkpoints").mkdir()
    with pytest.raises(ValueError, match="holds 'checkpoints'"):
        find_run(folder)
