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
        "'torchvision') if name in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]", result.stdout
