"""Numbers of papers: each with a source, a task, a protocol of ours and metrics that it publishes."""

import pytest

from isofield.evaluation.names import KNOWN
from isofield.evaluation.protocols import find_protocols
from isofield.evaluation.published_numbers import find_published, published_methods


def test_every_number_has_a_source_and_a_metric_that_its_protocol_publishes():
    assert published_methods()
    for method in published_methods():
        assert method.source and method.task
        for (protocol, average), numbers in method.rows.items():
            assert protocol in KNOWN and average in ("per category", "per shape", "not stated")
            (known,) = find_protocols([protocol])
            assert numbers.keys() <= set(known.published)
            assert all(isinstance(value, int | float) for value in numbers.values())


def test_methods_are_found_by_name():
    assert find_published(None) == []
    assert [each.method for each in find_published(["IF-Net"])] == ["IF-Net"]
    assert find_published([]) == list(published_methods())
    assert find_published(["IM-NET"])[0].under("imnet")["per shape"] == {"chamfer": 1.371, "normal_consistency": 0.811}
    with pytest.raises(ValueError, match=r"--published IFNet: .*IF-Net"):
        find_published(["IFNet"])
