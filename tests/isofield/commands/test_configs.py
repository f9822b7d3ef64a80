"""isofield configs: names, a start for one's own, and what is not there."""

import pytest

from isofield.commands import configs
from isofield.runtime.shipped import config_names
from tests.commands import call, status_of
from tests.conftest import ROOT


def test_all_names_with_what_they_are(capsys: pytest.CaptureFixture[str]):
    assert call(configs.main) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert "next: isofield configs --show NAME" in said.err  # on the error stream: the output may go into a file
    assert [line.split()[0] for line in lines] == config_names()
    assert any(line.startswith("demo ") and "autoencoder" in line for line in lines)


def test_some_names(capsys: pytest.CaptureFixture[str]):
    assert call(configs.main, "imnet/") == 0
    assert all(line.startswith("imnet/") for line in capsys.readouterr().out.splitlines())


def test_one_whole(capsys: pytest.CaptureFixture[str]):
    assert call(configs.main, "--show", "imnet/small") == 0
    said = capsys.readouterr()
    assert said.out == (ROOT / "configs/imnet/small.yaml").read_text()
    assert "isofield train --config mine.yaml" in said.err


@pytest.mark.parametrize("words", [["xyz"], ["--show", "xyz"]])
def test_what_is_not_there(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert status_of(configs.main, *words) == 1
    assert "xyz" in capsys.readouterr().err
