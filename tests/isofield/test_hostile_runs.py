"""Attacks on what a run from anywhere brings along: checkpoints, config, manifest, journals, codes."""

import io
import json
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_processing.medical.label_names import read_table, table_of_extensions
from data_processing.store.shape_set import open_shapes
from data_processing.store.splits import SplitConfig
from ifnet.published_organs import read_organ_folder
from isofield import checkpoint
from isofield.evaluation.pairs import entries_in, read_manifest
from isofield.generation.manifest import read_line
from isofield.registry import load_run
from isofield.run_dir import RunDir, create_run, manifest_file, preparation_of
from isofield.runtime.config import read_yaml, to_yaml
from isofield.runtime.journal import Journal, journal_file
from isofield.training.frozen_codes import _kept
from tests.data_processing.formats.test_hostile_grids import declared, deflated_zeros
from tests.hostile import SECRET, refusal
from tests.isofield.conftest import tiny_config

DEEP = "[" * 100_000


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret.ply").write_text(SECRET)
    return tmp_path / "inside"


def rewritten(path: Path, change: dict[bytes, bytes], packing: int = zipfile.ZIP_STORED) -> None:
    """A torch file with its pickle changed, or its records packed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in members.items():
            for old, new in change.items() if name.endswith("data.pkl") else ():
                assert old in content
                content = content.replace(old, new)
            archive.writestr(name, content)


CHECKPOINTS: dict[str, Any] = {
    "expanded": lambda: {"a": torch.zeros(1).expand(1 << 20, 1 << 20)},
    "expanded_deep": lambda: {"a": [{"b": (torch.zeros(1).expand(1 << 40),)}]},
    "meta": lambda: {"a": torch.empty(1 << 40, device="meta")},
    "sparse": lambda: {"a": torch.zeros(3, 3).to_sparse()},
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_tensors_that_are_not_there(inside: Path, name: str):
    checkpoint.save(inside / "last.pt", {"model": CHECKPOINTS[name]()})
    refusal(checkpoint.load, inside / "last.pt")


def test_records_that_are_packed_or_shorter_than_declared(inside: Path):
    path = inside / "last.pt"
    checkpoint.save(path, {"model": {"a": torch.zeros(1 << 20)}})
    rewritten(path, {}, zipfile.ZIP_DEFLATED)
    assert "torch does not pack" in refusal(checkpoint.load, path)
    checkpoint.save(path, {"model": {"a": torch.arange(4.0)}})
    rewritten(path, {b"K\x04": b"M\x00\x10"})  # 4096 numbers
    refusal(checkpoint.load, path)
    checkpoint.save(path, {"model": {"a": torch.arange(4.0)}})
    rewritten(path, {b"K\x01\x85": b"J\x00\x00\x00\x70\x85"})  # the stride
    refusal(checkpoint.load, path)


def test_pickles_that_call_functions(inside: Path):
    for module, name in (("os", "mkdir"), ("builtins", "eval"), ("torch.hub", "load"), ("torch", "load")):
        checkpoint.save(inside / "last.pt", {"model": {"a": torch.arange(4.0)}})
        rewritten(inside / "last.pt", {b"ctorch._utils\n_rebuild_tensor_v2\n": f"c{module}\n{name}\n".encode()})
        refusal(checkpoint.load, inside / "last.pt")


def test_a_config_that_asks_for_a_model_of_terabytes(inside: Path):
    config = tiny_config(Path("nowhere"), inside)
    run = RunDir(config.run_path)
    config.model["decoder_widths"] = [1 << 20, 1 << 20, 8]
    create_run(run, config=to_yaml(config), preparation={}, resume=False)
    checkpoint.save(run.checkpoint_file("best"), {"model": {}, "step": 1})
    text = refusal(lambda path: load_run(RunDir(path)), run.path)
    assert "does not fit the model" in text


CONFIGS = {
    "merges": "a: &a {x: 1}\n"
    + "".join(f"{n}: &{n} {{<<: [{','.join(['*' + m] * 9)}]}}\n" for m, n in zip("abcdefgh", "bcdefghi", strict=True)),
    "twice": "name: x\nname: y\n",
    "code": "name: !!python/object/apply:os.mkdir [executed]\n",
    "deep": "a: " + "[" * 1_000,
    "number": "a: " + "9" * 5000,
    "sixties": "a: " + ":".join(["59"] * 60_000),
    "hexadecimal": "a: 0x" + "f" * 100_000,
    "keys": "? [a, b]\n: 1\n",
    "bytes": "a: !!binary " + "A" * 7,
    "huge": "a: " + "x" * (1 << 19),
    "control": "a: \x1b[2J\x00",
    "no_date": "a: !!timestamp soon",
    "no_truth": "a: !!bool perhaps",
    "no_number": 'a: !!int ""',
    "no_digits": "a: !!float _",
    "sixties_of_a_float": "a: " + ":".join(["1"] * 190) + ":1.5",
    "circle": "a: &a [*a]",
    "circle_of_keys": "a: &a {b: *a}",
    "long_word_again": "a: &a " + "x" * 1000 + "\nb: [" + "*a, " * 1000 + "*a]",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs(inside: Path, name: str):
    (inside / "config.yaml").write_text(CONFIGS[name])
    refusal(read_yaml, inside / "config.yaml")
    assert not Path("executed").exists()


def test_a_bomb_of_aliases_is_never_unfolded(inside: Path):
    levels = "".join(f"  - &a{n + 1} [{','.join([f'*a{n}'] * 9)}]\n" for n in range(30))
    (inside / "config.yaml").write_text("name: x\nmodel:\n  type: &a0 [x]\n" + "training:\n" + levels)
    from isofield.config import read_run_config

    refusal(read_run_config, inside / "config.yaml")


def test_short_words_may_be_repeated(inside: Path):
    (inside / "config.yaml").write_text("a: &a 12\nb: *a\n")
    assert read_yaml(inside / "config.yaml") == {"a": 12, "b": 12}


@pytest.mark.parametrize("subject", ["(" * 5000, "a{4294967295}"])
def test_rules_for_subjects_that_nobody_can_read(subject: str):
    with pytest.raises(ValueError, match=r"subject .*bids") as told:
        SplitConfig(subject=subject)
    assert len(str(told.value)) < 1000


MANIFESTS: dict[str, Any] = {
    "up": {"shapes": [{"name": "a", "status": "done", "file": "../../secret.ply"}]},
    "absolute": {"shapes": [{"name": "a", "status": "done", "file": "/etc/passwd"}]},
    "no_text": {"shapes": [{"name": "a", "status": "done", "file": ["a.ply"]}]},
    "missing": {"shapes": [{"name": "a", "status": "done"}]},
    "no_entries": {"shapes": ["a"]},
    "no_list": {"shapes": 7},
    "nothing": [],
    "deep": None,
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests(inside: Path, name: str):
    run = RunDir(inside / "run")
    file = manifest_file(run.meshes("test"))
    file.parent.mkdir(parents=True)
    file.write_text(DEEP if name == "deep" else json.dumps(MANIFESTS[name]))
    refusal(lambda path: read_manifest(run, "test"), file)
    assert isinstance(entries_in(file.parent), list)


def test_lines_of_journals_that_are_not_ours(inside: Path):
    good = {"name": "good", "made_from": "x", "row": {}, "start": 3}
    changes: list[dict[str, Any]] = [{"name": 7}, {"name": ["a"]}, {"made_from": 7}]
    changes += [{"start": start} for start in ("x", True, -1, 1e300, float("nan"))]
    lines = [DEEP, "7", "[]", "\x00\ud7ff", '{"name"', '{"name": "b", "made_from": "x"}']
    lines += [json.dumps(good | {"name": "a"} | change) for change in changes]
    journal_file(inside, 0).write_text("\n".join([*lines, json.dumps(good)]), encoding="utf-8")
    assert set(Journal(inside).lines) == {"good"}


SETTINGS = {"model_hash": "0", "resolution": 24}
MESH = {"name": "a", "origin": "x", "status": "done", "file": "a.ply"}
MESHES: list[dict[str, Any]] = [
    {"file": "../secret.ply"},
    {"file": ["a.ply"]},
    {"input_file": "/etc/passwd"},
    {"mask_file": "b/../../x.nii.gz"},
    {"status": ["done"]},
    {"name": 7},
    {"origin": json.loads("[" * 200 + "]" * 200)},
]


@pytest.mark.parametrize("change", MESHES, ids=str)
def test_lines_about_meshes_that_are_not_ours(inside: Path, change: dict[str, Any]):
    """In the form of today, and of the version before."""
    row = MESH | change
    lines = [{"name": "a", "made_from": "x", "row": row, "start": 1}, row | {"settings": SETTINGS, "start": 1}]
    lines += [{"name": "b", "made_from": "x", "row": 7, "start": 1}, row | {"settings": {"deep": [1]}, "name": 7}]
    journal_file(inside, 0).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert not Journal(inside, read=read_line).lines


@pytest.mark.parametrize(
    "text", [DEEP, "[]", "7", '{"name": "x", "input": "."', '{"a": 1e999, "b": ' + "9" * 5000 + "}"]
)
def test_preparations(inside: Path, text: str):
    run = RunDir(inside)
    run.preparation_file.write_text(text)
    refusal(lambda path: preparation_of(run), run.preparation_file)


def test_codes_that_cannot_be_are_made_again(inside: Path):
    for content in (
        deflated_zeros("codes.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 30)),
        b"PK\x03\x04",
        _zip({"codes.npy": declared((1 << 30, 256), "<f4"), "key.npy": b""}),
        _zip({"codes.npy": declared((0, 8), "<f4"), "key.npy": declared((), "<U1") + b"\xff\xff\xff\x7f"}),
    ):
        (inside / "codes.npz").write_bytes(content)
        assert _kept(inside / "codes.npz", "key") is None


def _zip(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def test_numbers_beside_published_organs(inside: Path):
    folder = inside / "5"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "checkpoint_1.tar").write_bytes(b"")
    for content in (declared((1 << 33,), "<f8"), declared((1000, 1000)), np.array([object()]).dumps()):
        (folder / "outlier_threshold.npy").write_bytes(content)
        assert isinstance(read_organ_folder(folder).thresholds, str)


INDEX: dict[str, Any] = {
    "shards_up": {"shards": [{"file": "..", "rows": 1}]},
    "shards_elsewhere": {"shards": [{"file": "/tmp/x.h5", "rows": 1}]},
    "names_up": {"names": ["../../x"]},
    "names_absolute": {"names": ["/x"]},
    "sources_up": {"sources": ["a/../../x"]},
    "splits_up": {"splits": {"../../x": [0]}},
    "rows": {"shards": [{"file": "0.h5", "rows": 1 << 62}]},
    "numbers": {"splits": {"train": [10**4000]}},
    "deep": None,
}


@pytest.mark.parametrize("name", INDEX)
def test_indices_of_data_sets(inside: Path, name: str):
    whole: dict[str, Any] = {
        "schema": 1,
        "name": "x",
        "settings": {},
        "input_folder": "raw",
        "layout": {},
        "shards": [{"file": "0.h5", "rows": 1}],
        "splits": {"train": [0]},
        **{key: ["a"] for key in ("names", "categories", "sources", "methods", "qualities", "licences")},
    }
    (inside / "dataset.json").write_text(json.dumps(whole))
    assert open_shapes(inside).names == ["a"]
    (inside / "dataset.json").write_text(DEEP if name == "deep" else json.dumps(whole | INDEX[name]))
    refusal(lambda path: open_shapes(path.parent), inside / "dataset.json")


LABELS = {
    "deep.json": DEEP,
    "number.json": '{"labels": {"a": ' + "9" * 5000 + "}}",
    "long_key.json": '{"labels": {"' + "9" * 5000 + '": "a"}}',
    "other.json": '{"labels": {"a": {"b": 1}}}',
    "cell.tsv": "id\tname\n1\t" + "x" * 200_000,
    "number.tsv": "id\tname\n" + "9" * 5000 + "\ta\n",
    "short.csv": "id,name\n1\n",
    "nothing.tsv": "\x00" * 100,
}


@pytest.mark.parametrize("name", LABELS)
def test_tables_of_labels(inside: Path, name: str):
    (inside / name).write_text(LABELS[name])
    refusal(read_table, inside / name)


class _Extension:
    def __init__(self, content: bytes) -> None:
        self.extensions = [self]
        self.get_content = lambda: content


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_in_header_extensions(inside: Path, encoding: str):
    entities = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    start = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE x [<!ENTITY a0 "x">{entities}]>'
    text = f'{start}<x><Label Key="1">&a9;</Label></x>'.encode(encoding)
    text += b"<!--<Label -->" if encoding == "utf-16" else b""
    refusal(lambda path: table_of_extensions(_Extension(text), path), inside / "scan.nii.gz")
    outside = f'<!DOCTYPE x [<!ENTITY a SYSTEM "file://{inside.parent}/secret.ply">]><x><Label Key="1">&a;</Label></x>'
    refusal(lambda path: table_of_extensions(_Extension(outside.encode()), path), inside / "scan.nii.gz")


@pytest.mark.parametrize("encoding", ["nowhere", "hex", "utf-7"])
def test_header_extensions_are_read_as_utf_8(inside: Path, encoding: str):
    """Others could hide entities, or name what decodes no text."""
    text = f'<?xml version="1.0" encoding="{encoding}"?><x><Label Key="1">a\u00e9</Label></x>'.encode()
    table = table_of_extensions(_Extension(text), inside / "scan.nii.gz")
    assert table is not None and table.ids_of("a\u00e9") == (1,)


def test_nothing_was_executed():
    assert not os.path.exists("executed")
