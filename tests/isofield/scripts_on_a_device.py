"""Scripts on the pretended device, each in a process of its own: the device stays registered for the whole process."""

import os
import subprocess
import sys

import pytest
import torch

SHARED = """
import sys
from pathlib import Path
import numpy as np
import torch
from tests.isofield.pretended_device import counts, pretended_device

def equal(here, there):
    assert there.device.type == "pretended", there.device
    assert torch.equal(here, there.cpu())
"""


def run_on_a_device(script: str) -> str:
    """What the script printed. It finds numpy, torch, Path, `pretended_device`, `counts` and `equal`."""
    pytest.importorskip("torch.utils.backend_registration")
    if not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this torch cannot pretend a device")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run([sys.executable, "-c", SHARED + script], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout
