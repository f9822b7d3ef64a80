"""What is up in pictures and inputs of a run: chosen, known of its data, or assumed; one line says which."""

import json
from pathlib import Path

import pytest

from data_processing.preparation.up_axis import UpAxis
from isofield.commands import compare, inspect
from isofield.run_dir import RunDir
from isofield.up_axis import describe_inputs, up_in_pictures, up_of_run
from tests.commands import call
from tests.isofield.ready_runs import make_run

Z = UpAxis("z", "shapes of ModelNet have z up")


def test_pictures_follow_the_user_then_the_data_then_y():
    assert up_in_pictures("y", Z) == ("y", "")
    assert up_in_pictures(None, Z) == ("z", "pictures: z is up (shapes of ModelNet have z up); --up changes it")
    axis, line = up_in_pictures(None, None)
    assert axis == "y" and line.startswith("pictures: y is taken for up, nothing says it; --up z if")


def test_inputs_that_lie_otherwise_are_told():
    glb, ply = Path("a.glb"), Path("b.ply")
    (line,) = describe_inputs([glb, ply], Z)
    assert line == (
        "note: 1 of 2 inputs are glTF, with y up; the run was trained with z up (shapes of ModelNet have z up): "
        "turn them first"
    )
    (line,) = describe_inputs([ply], Z)
    assert line == "inputs are taken as they lie, with z up as in the run's data (shapes of ModelNet have z up)"
    assert describe_inputs([glb], UpAxis("y", "")) == describe_inputs([ply], None) == []


def test_a_run_knows_it_of_the_cameras_or_the_files_of_its_data(prepared: Path, boxes: Path, tmp_path: Path):
    run = make_run(prepared, tmp_path / "prepared")
    assert up_of_run(run) == ("y", "contents.surface.up of the data set is y")
    settings = json.loads(run.preparation_file.read_text())
    for change, expected in (({"up": "z"}, "z"), ({"views": 0, "up": "z"}, None)):  # without cameras: .ply says nothing
        settings["contents"]["surface"].update(change)
        run.preparation_file.write_text(json.dumps(settings))
        known = up_of_run(run)
        assert (known and known.axis) == expected
    assert up_of_run(make_run(boxes, tmp_path / "published")) is None
    assert up_of_run(RunDir(tmp_path / "none")) is None


@pytest.mark.parametrize(("main", "words"), [(inspect.main, ["set"]), (compare.main, ["a", "b"])])
def test_an_axis_that_pictures_cannot_have_is_refused(main, words: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        call(main, *words, "--up", "x")
    assert "invalid choice: 'x'" in capsys.readouterr().err
