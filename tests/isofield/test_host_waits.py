"""How often the host waits for the device, and how much it asks of it: counted on a pretended one."""

import json

from tests.isofield.scripts_on_a_device import run_on_a_device

EXTRACTION = """
import json
from isofield.extraction.isosurface import extract

def field(points_N3):
    with count.pause():  # a decoder has costs of its own
        x, y, z = points_N3.unbind(1)
        octahedron = 1.2 - (x - 0.03).abs() / 0.3 - (y - 0.03).abs() / 0.2 - (z - 0.03).abs() / 0.4
        return octahedron + 0.3 * torch.sin(20 * x)

with pretended_device() as device:
    for _ in range(2):  # the first also sends what is constant
        with counts() as count:
            found = extract(field, iso_level=0.3, resolution=256, device=device)
assert len(found.mesh.faces) > 100_000
print(json.dumps([count.operators, count.all_waits, dict(count.waits)]))
"""


def test_a_mesh_takes_few_waits_and_operators():
    operators, waits, where = json.loads(run_on_a_device(EXTRACTION))
    assert waits <= 60, where
    assert operators <= 700


COUNTER = """
values = torch.arange(12.0).view(3, 4)
with pretended_device() as device, counts() as count:
    there = values.to(device)  # 1: from memory that is not pinned
    there.sum().item()  # 2
    there[there > 3]  # 3: how many?
    there[torch.tensor([0, 1], device=device)]  # 4: the list is sent
    there[:, 0] = 5.0
    there[(there > 3).nonzero()[:, 0]] = 7.0  # 5 and 6: how many, and the number is sent
    values.to(device, non_blocking=True)
    there.view(-1)
    there + 1
    with torch.inference_mode():
        bool((there > 3).any())  # 7
assert count.all_waits == 7, count.waits
assert count.operators > 10
"""


def test_the_counter_sees_what_waits():
    run_on_a_device(COUNTER)
