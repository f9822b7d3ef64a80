"""Options of evaluate.py: what is judged as a set, what is refused."""

import pytest

from isofield.evaluation.options import generative_settings, read_options
from isofield.evaluation.protocols import find_protocols, protocols_of_sets

FOLDERS = ["--pred", "a", "--gt", "b"]
RUN = ["--run", "r"]


@pytest.mark.parametrize(
    ("arguments", "samples", "protocols"),
    [
        (FOLDERS, False, ["imnet", "onet"]),
        ([*RUN, "--split", "test"], False, ["imnet", "onet"]),
        ([*FOLDERS, "--protocol", "lfd"], False, ["lfd"]),
        ([*FOLDERS, "--protocol", "lfd", "generative"], True, ["lfd", "generative"]),
        ([*FOLDERS, "--samples"], True, ["generative"]),
        ([*RUN, "--samples", "--protocol", "lfd"], True, ["lfd"]),
    ],
)
def test_what_is_judged(arguments, samples, protocols):
    options = read_options(arguments, None)
    assert (options.samples, options.protocol) == (samples, protocols)


def test_settings_of_sets():
    settings = generative_settings(read_options([*FOLDERS, "--samples"], None))
    assert (settings.points, settings.points_of_emd, settings.normalisation) == (2048, 512, "diagonal")
    assert settings.distances == ("chamfer", "emd")
    few = ["--points", "300", "--emd-points", "0", "--seed", "4", "--normalisation", "box"]
    settings = generative_settings(read_options([*FOLDERS, "--samples", *few], None))
    assert (settings.points, settings.seed, settings.normalisation) == (300, 4, "box")
    assert settings.distances == ("chamfer",)
    assert generative_settings(read_options([*FOLDERS, "--samples", "--points", "300"], None)).points_of_emd == 300
    with pytest.raises(ValueError, match=r"points:.*2"):
        generative_settings(read_options([*FOLDERS, "--samples", "--points", "1"], None))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --run"),
        ([*FOLDERS, *RUN], "give either --run"),
        (RUN, "--run needs --split (or --samples)"),
        (["--pred", "a", "--samples"], "--pred needs --gt"),
        ([*FOLDERS, "--emd-points", "5", "--training", "c"], "--emd-points, --training: only sets of shapes have it"),
        ([*FOLDERS, "--samples", "--iou-points", "5"], "--iou-points: sets of shapes have none"),
        ([*FOLDERS, "--samples", "--tolerance", "5"], "--tolerance: sets of shapes have none"),
        ([*FOLDERS, "--samples", "--training-shapes", "-1"], "at least 0, got -1"),
        ([*FOLDERS, "--samples", "--normalisation", "cube"], "invalid choice"),
        ([*RUN, "--samples", "--gt", "b"], "judged against its data set"),
    ],
)
def test_wrong_combinations_end_with_a_line_and_status_1(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        read_options(arguments, None)
    assert ended.value.code == 1
    assert message in capsys.readouterr().err


def test_pairs_and_sets_do_not_mix():
    with pytest.raises(ValueError, match=r"generative.*--samples"):
        find_protocols(["imnet", "generative"])
    for name in ("imnet", "masks"):
        with pytest.raises(ValueError, match=f"protocol {name} "):
            protocols_of_sets(["generative", name])
    assert [protocol.name for protocol in find_protocols(["lfd", "imnet"])] == ["lfd", "imnet"]
