"""isofield import FAMILY: hands on to the family's own command, with its name in front."""

from pathlib import Path

import pytest

from ifnet.published import SETUP_NAMES
from ifnet.published_weights import SETUPS
from isofield.commands import import_weights
from tests.commands import status_of


@pytest.mark.parametrize("family", import_weights.FAMILIES)
def test_errors_name_the_command_as_it_was_called(family: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        import_weights.main([family, "--outt"], prog="isofield import")
    assert end.value.code == 1 and f"usage: isofield import {family} " in capsys.readouterr().err


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ("imnet", tmp_path / "none.pth", "--out", tmp_path / "runs" / "x")
    assert status_of(import_weights.main, *words) == 1
    assert "none.pth" in capsys.readouterr().err and not (tmp_path / "runs").exists()


def test_the_set_ups_of_the_command_line_are_those_of_the_weights():
    assert tuple(SETUPS) == SETUP_NAMES
