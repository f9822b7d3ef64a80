"""The table of the validations: nothing twice, nothing of the future, and what is damaged is begun anew."""

from pathlib import Path

import pytest

from isofield.run_dir import RunDir, create_run
from isofield.runtime.atomic_files import WriteError
from isofield.training.history import History, Points


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "mine")
    create_run(run, config="name: mine\n", preparation={}, resume=False)
    return run


def note(run: RunDir, *steps: int, since: int = 0) -> None:
    history = History(run, step=since)
    for step in steps:
        history.add(step, {"validation/loss": step / 3})


def test_a_resumed_training_has_the_lines_of_one_that_was_never_stopped(run: RunDir):
    note(run, 5, 10, 15, 20)
    whole = run.curves_file.read_bytes()
    note(run, 15, 20, since=10)  # its checkpoint was of step 10
    assert run.curves_file.read_bytes() == whole
    note(run, 20, since=20)  # the last validation again
    assert run.curves_file.read_bytes() == whole
    note(run, 5, since=0)  # trained anew
    assert run.curves_file.read_text() == "step,validation/loss\n5,1.6666666666666667\n"


def test_curves_keep_their_gaps_and_reach_who_draws_them(run: RunDir):
    drawn: list[tuple[Path, Points]] = []
    history = History(run, step=0, draw=lambda file, curves: drawn.append((file, curves)))
    history.add(5, {"loss": 1.0})
    history.add(7, {"iou": 0.5, "loss": float("nan")})
    file, curves = drawn[-1]
    assert file == run.curves_picture and len(drawn) == 2 and curves["iou"] == [(7, 0.5)]
    assert History(run, step=7).curves()["iou"] == [(7, 0.5)] and len(History(run, step=7).curves()["loss"]) == 2


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "step,loss\n1.5,2\n", "step,loss\nx,2\n", "step\n1,2,3\n", "\0"])
def test_what_is_no_table_of_ours_is_begun_anew(run: RunDir, text: str, capsys: pytest.CaptureFixture[str]):
    run.curves_file.write_text(text)
    history = History(run, step=9)
    shown = capsys.readouterr().out
    assert history.curves() == {} and (text == "" or f"{run.curves_file}: not a table of curves (" in shown)
    assert not any(word in shown for word in ("could not convert", "NUL", "list indices", "float()", "'"))
    history.add(9, {"loss": 1.0})
    assert History(run, step=9).curves() == {"loss": [(9, 1.0)]}


def test_a_run_that_vanished_is_not_begun_elsewhere(run: RunDir):
    history = History(run, step=0)
    run.path.rename(run.path.with_name("away"))
    with pytest.raises(WriteError, match="vanished"):
        history.add(1, {"loss": 1.0})
    assert not run.path.exists()
