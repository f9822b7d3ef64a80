"""How much memory there is to use, on a device or on this machine."""

from pathlib import Path

import torch

MEMORY_INFO = Path("/proc/meminfo")  # of Linux


def free_memory(device: torch.device) -> int:
    """Bytes free on the device (of the machine, on a CPU; 4 GiB where the system does not say)."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    lines = MEMORY_INFO.read_text(encoding="ascii").splitlines() if MEMORY_INFO.exists() else []
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else 4 << 30
