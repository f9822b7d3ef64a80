"""How much memory there is to use, on a device or on this machine."""

from pathlib import Path

import torch

LINUX = Path("/proc/meminfo").exists()


def free_memory(device: torch.device) -> int:
    """Bytes free on the device (of the machine, on a CPU)."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines()) if LINUX else {}
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else 4 << 30
