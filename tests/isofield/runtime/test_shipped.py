"""Shipped configurations by name."""

from pathlib import Path

import pytest

from isofield.runtime.shipped import config_names, configs_folder, find_config
from tests.conftest import ROOT


def test_every_file_has_a_name_and_is_found_by_it():
    files = {file.relative_to(ROOT / "configs").with_suffix("").as_posix() for file in ROOT.glob("configs/**/*.yaml")}
    assert set(config_names()) == files >= {"demo", "imnet/small", "data/meshes"}
    for name in config_names():
        assert find_config(name) == configs_folder() / f"{name}.yaml"


def test_other_spellings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shipped = configs_folder() / "imnet" / "small.yaml"
    monkeypatch.chdir(tmp_path)  # no checkout around
    for name in ("imnet/small", "imnet/small.yaml", "configs/imnet/small.yaml", "imnet\\small", Path("imnet/small")):
        assert find_config(name) == shipped


def test_the_users_own_file_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    own = Path("configs/imnet/small.yaml")
    own.parent.mkdir(parents=True)
    own.write_text("name: mine")
    assert find_config(own) == own
    assert find_config("imnet/small") != own


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("imnet/smal", r"imnet/smal .*did you mean 'imnet/small'"),
        ("nowhere/x.yaml", r"nor does its folder nowhere"),
        ("../imnet/small", r"\.\./imnet/small"),
    ],
)
def test_unknown_names(name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=expected):
        find_config(name)
