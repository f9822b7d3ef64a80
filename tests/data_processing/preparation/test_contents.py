"""The section contents: the default is IM-NET's layout; fields come and go by it; what makes no sense is refused."""

import pytest

from data_processing.preparation.contents import BoundaryConfig, Contents, SurfaceConfig
from data_processing.store.shards import Layout
from isofield.runtime.config import build, to_plain


def test_the_default_is_what_imnet_needs():
    assert Contents().layout() == Layout()
    assert list(Layout().fields()) == [
        "voxels", "points_16", "values_16", "points_32", "values_32", "points_64", "values_64", "to_world",
    ]  # fmt: skip


def test_fields_of_ifnet():
    text = {"voxels": 0, "levels": False, "grids": [128, 32], "boundary": {"points": 80}, "surface": {"points": 50}}
    contents = build(Contents, text, where="test")
    assert contents.layout().fields() == {
        "grid_32": ((4096,), "u1"),
        "grid_128": ((262144,), "u1"),
        "boundary_points": ((160, 3), "<i2"),
        "boundary_values": ((20,), "u1"),
        "surface_points": ((50, 3), "<i2"),
        "to_world": ((4, 4), "<f8"),
    }
    assert build(Contents, to_plain(contents), where="test") == contents
    seen = build(Contents, {"surface": {"points": 50, "views": 16}}, where="test").layout()
    assert seen.fields()["surface_visible"] == ((50, 2), "u1")


def test_fields_of_views():
    """Cameras only where the pictures are rendered here."""
    fields = build(Contents, {"rendering": {}}, where="test").layout().fields()
    assert fields["pixels"] == ((24, 137, 137), "u1") and fields["cameras"] == ((24, 3), "<f4")
    there = build(Contents, {"voxels": 0, "levels": False, "rendering": {"folder": "x", "views": 3}}, where="test")
    assert there.layout().fields() == {"pixels": ((3, 137, 137), "u1"), "to_world": ((4, 4), "<f8")}
    assert build(Contents, to_plain(there), where="test") == there


@pytest.mark.parametrize(
    ("section", "options", "message"),
    [
        (BoundaryConfig, {"points": 100}, "multiple of 8"),
        (BoundaryConfig, {"sigmas": (0.1, 0.1)}, "sigmas"),
        (BoundaryConfig, {"sigmas": (-0.1,)}, "sigmas"),
        (SurfaceConfig, {"points": 0}, "points"),
        (SurfaceConfig, {"views": 12}, "views.* 8"),
        (SurfaceConfig, {"distance": 0.8}, "distance: "),
        (SurfaceConfig, {"elevation": 91}, "elevation"),
        (Contents, {"grids": (33,)}, "even"),
        (Contents, {"grids": (512,)}, "grids"),
        (Contents, {"grids": (32, 32)}, "grids"),
        (Contents, {"voxels": 0, "levels": False}, "voxels, levels, grids"),
    ],
)
def test_what_makes_no_sense_is_refused(section, options, message):
    with pytest.raises(ValueError, match=message):
        section(**options)
