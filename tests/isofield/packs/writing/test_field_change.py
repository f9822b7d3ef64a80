"""The change of a field is what was done to it."""

import pytest
import torch

from data_processing.loading.network_inputs import InputConfig
from isofield.packs.writing.field_change import field_change, probe_inputs
from tests.isofield.ready_runs import Echo, EchoConfig


def test_it_is_measured_where_the_field_is(monkeypatch: pytest.MonkeyPatch):
    """The repeating model's field is 0 or its scale: 1.25 for 1 moves it by 0.25 of 1, and no point changes sides."""
    first, second = Echo(EchoConfig()), Echo(EchoConfig())
    with torch.no_grad():
        second.scale.fill_(1.25)
    change = field_change(first, second, InputConfig("solid", 32))
    assert (change.largest, change.span, change.share, change.crossed) == (0.25, 1.0, 0.25, 0)
    with torch.no_grad():
        second.scale.fill_(0.25)
    inside = sum(int(cells.sum()) for cells in probe_inputs(InputConfig("solid", 32)))
    assert field_change(first, second, InputConfig("solid", 32)).crossed == inside > 1000


@pytest.mark.parametrize("kind", ["voxels", "solid", "deformed", "points", "scan"])
def test_probes_are_what_a_network_is_shown(kind: str):
    section = InputConfig(kind, 64, points=300)
    probes = list(probe_inputs(section))
    assert len(probes) == 3 and all(probe.shape == (1, 64, 64, 64) for probe in probes)
    counts = [int(probe.sum()) for probe in probes]
    assert set(torch.stack(probes).unique().tolist()) == {0.0, 1.0}
    assert counts == [300] * 3 if kind in ("points", "scan") else min(counts) > 3000
    again = list(probe_inputs(section))
    assert all(torch.equal(a, b) for a, b in zip(probes, again, strict=True))


def test_a_picture_is_grey_on_white():
    for probe in probe_inputs(InputConfig("view")):
        assert probe.shape == (1, 128, 128) and probe.max() == 1 and 0 < probe.min() < 1


def test_offsets_of_a_probe_lie_in_the_cells_that_it_marks():
    plain, section = InputConfig("points", 32, points=200), InputConfig("points", 32, points=200, offsets=True)
    for marks, probe in zip(probe_inputs(plain), probe_inputs(section), strict=True):
        assert probe.shape == (4, 32, 32, 32) and torch.equal(probe[:1], marks)
        assert torch.equal((probe[1:] != 0).all(0), marks[0] > 0) and probe.min() >= -1 and probe.max() <= 1
        assert min(probe[axis][marks[0] > 0].std() for axis in (1, 2, 3)) > 0.4
