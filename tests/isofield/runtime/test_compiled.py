"""Modules of kernels that cannot be imported are none; others are imported once."""

from isofield.runtime.compiled import compiled_module


def test_a_module_that_cannot_be_imported_is_none():
    assert compiled_module("data_processing.geometry.no_such_kernels") is None


def test_a_module_is_imported_once():
    found = compiled_module("isofield.metrics.neighbour_kernels")
    assert found is None or (found is compiled_module("isofield.metrics.neighbour_kernels") and found.build)
