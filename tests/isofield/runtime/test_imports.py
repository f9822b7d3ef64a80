"""Modules are loaded without collecting garbage, and the collector is left as it was."""

import gc
import subprocess
import sys

from isofield.runtime.imports import without_collection


def test_the_collector_rests_and_is_left_as_it_was():
    assert gc.isenabled()
    before = gc.get_freeze_count()
    try:
        with without_collection():
            assert not gc.isenabled()
        assert gc.isenabled() and gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
    gc.disable()
    try:
        with without_collection():
            pass
        assert not gc.isenabled() and gc.get_freeze_count() == 0
    finally:
        gc.enable()


def test_generating_loads_no_library_that_it_does_not_need():
    """Each of them takes a tenth to half a second."""
    code = (
        "import sys\n"
        "import isofield.generation.meshes, isofield.generation.contact_sheets, isofield.generation.requests\n"
        "import isofield.registry, isofield.packs.find_run\n"
        "print([name for name in ('trimesh', 'networkx', 'numba', 'matplotlib', 'tensorboard', 'torch._dynamo', "
        "'torchvision', 'scipy.ndimage', 'scipy.spatial', 'scipy.io') if name in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]", result.stdout


def test_a_call_from_python_loads_no_kernels_for_one_shape(tmp_path):
    """Compiling them takes longer than a shape does without them."""
    (tmp_path / "tetrahedron.off").write_text(
        "OFF\n4 4 0\n0 0 0\n2 0 0\n0 1 0\n0 0 3\n3 0 2 1\n3 0 1 3\n3 0 3 2\n3 1 2 3\n"
    )
    code = (
        "import sys, isofield\n"
        f"solid, to_world = isofield.occupancy({str(tmp_path / 'tetrahedron.off')!r}, 32)\n"
        "print(solid.any(), 'numba' in sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["True", "False"], result.stdout
