"""What an unknown name is answered with."""

from isofield.runtime.hints import did_you_mean

NAMES = ("chairs/a17", "tables/a17", "chairs/b20", "lamps/xyz")


def test_the_nearest_come_first_and_no_more_than_asked_for():
    assert did_you_mean("stesp", ["shape", "steps", "stop"]) == "did you mean 'steps'?"
    assert did_you_mean("stesp", ["stop", "steps", "x"], most=2) == "did you mean 'steps' or 'stop'?"
    assert did_you_mean("lenght", ["length"], prefix="part.") == "did you mean 'part.length'?"


def test_nothing_is_near():
    assert did_you_mean("zzz", ["steps"]) == did_you_mean("steps", []) == did_you_mean("", ["steps"]) == ""


def test_case_or_whatever_else_does_not_count_is_left_out():
    assert did_you_mean("IMNET", ["imnet"]) == "did you mean 'imnet'?"
    found = did_you_mean("a71", NAMES, most=5, compared=lambda name: name.rpartition("/")[2])
    assert found == "did you mean 'chairs/a17' or 'tables/a17'?"  # both, although what is compared is one


def test_a_name_that_moves_the_cursor_is_escaped():
    assert did_you_mean("step", ["step\x1b[2J"]) == r"did you mean 'step\x1b[2J'?"
