"""Code that serves a device, on a pretended one: no tensor stays behind on the CPU, and results are the CPU's."""

import pytest

from tests.isofield.scripts_on_a_device import run_on_a_device

GEOMETRY = """
from data_processing.loading.mask_damage import KINDS, DamageConfig
from data_processing.loading.mask_deformation import DeformationConfig, deform
from isofield.runtime.counter_random import keys_of
from data_processing.occupancy.inside_outside import InsideConfig, inside_points, occupancy_grid
from data_processing.preparation.level_points import carve_from_top, max_pool, sample_levels
from tests.data_processing.solids import ball, box, joined, quad, turned, without_faces

solid = turned(box((-0.3, -0.2, -0.1), (0.25, 0.15, 0.3)))
sheet = quad((-0.4, -0.35, 0.4), (0.4, -0.3, 0.41), (0.4, 0.4, 0.42), (-0.4, 0.4, 0.43))
meshes = {
    "scan": solid,
    "winding": without_faces(ball(0.4, subdivisions=3), 60),
    "thin parts": joined(solid, sheet, turned(box((-0.4, 0, 0), (0.4, 1e-3, 1e-3)))),
    "flood": joined(solid, solid.__class__(solid.vertices, solid.faces[:, ::-1])),
    "thick": sheet,
}
points = np.random.default_rng(0).uniform(-0.5, 0.5, (1000, 3))
grid = torch.zeros(256, 256, 256, dtype=torch.uint8)
grid[40:200, 60:90, 100:230] = 1
with pretended_device() as device:
    for name, mesh in meshes.items():
        for cavities in ("keep", "fill") if name == "winding" else ("keep",):
            settings = InsideConfig(cavities=cavities, lookup_resolution=32, decision_resolution=24)
            here, there = (occupancy_grid(mesh, 32, settings, device=where) for where in ("cpu", device))
            equal(here.grid_RRR, there.grid_RRR)
            assert (here.method, here.quality) == (there.method, there.quality)
            first, second = (inside_points(mesh, points, settings, device=where) for where in ("cpu", device))
            assert np.array_equal(first, second), name
    for level in (16, 32, 64):
        equal(max_pool(grid, level), max_pool(grid.to(device), level))
    equal(carve_from_top(grid), carve_from_top(grid.to(device)))
    masks, keys = grid[::8, ::8, ::8].expand(12, -1, -1, -1).contiguous(), keys_of(range(12))
    for at_once in (1, len(KINDS)):  # on a device all rows go through every kind
        section = DeformationConfig(damage=DamageConfig(share=0.8, at_once=at_once))
        equal(deform(masks, section, keys), deform(masks.to(device), section, keys.to(device)))
    samples = [sample_levels(item, seed=0, name="a") for item in (grid, grid.to(device))]
    for level in samples[0]:
        equal(samples[0][level].points_P3, samples[1][level].points_P3)
        equal(samples[0][level].values_P, samples[1][level].values_P)
"""

EXTRACTION = """
from isofield.extraction.isosurface import extract
from data_processing.geometry.marching_cubes import marching_cubes, pad_outside

def solid(points_N3):
    sides = points_N3.new_tensor([0.3, 0.2, 0.4])
    return 1.2 - ((points_N3 - 0.03) / sides).abs().sum(1) + 0.3 * torch.sin(20 * points_N3[:, 0])

with pretended_device() as device:
    for resolution, steps in ((64, 0), ((40, 50, 60), 2)):
        here, there = (
            extract(
                solid, iso_level=0.3, resolution=resolution, batch_points=4096, refine_steps=steps, device=where
            )
            for where in (torch.device("cpu"), device)
        )
        assert here.evaluations == there.evaluations
        assert np.array_equal(here.mesh.vertices, there.mesh.vertices)
        assert np.array_equal(here.mesh.faces, there.mesh.faces) and len(here.mesh.faces) > 500
    values = pad_outside(torch.rand(12, 13, 14, generator=torch.Generator().manual_seed(0)))
    for here, there in zip(
        marching_cubes(values, iso_level=0.5), marching_cubes(values.to(device), iso_level=0.5), strict=True
    ):
        equal(here, there)
"""

TRAINING = """
import dataclasses
import tempfile
from data_processing.store.shape_set import open_shapes
from isofield.config import ValidationConfig
from isofield.runtime.distributed import Group
from isofield.training.optim import OptimConfig
from isofield.registry import build_model, resolve
from isofield.run_dir import RunDir
from isofield.training.loop import train
from tests.isofield.conftest import tiny_config
from tests.small_sets import write_published

def run(config, device):
    config = resolve(config, where="test")
    torch.manual_seed(0)
    model = build_model(config.model, where="test")
    group = Group(0, 1, device)
    return train(model, open_shapes(config.data.path), config, RunDir(config.run_path), group, resume=False)

with tempfile.TemporaryDirectory() as folder:
    boxes = write_published(Path(folder), train=3, test=2)
    validation = ValidationConfig(every=4, shapes=2, pictures=1, resolution=16)
    optim = OptimConfig(learning_rate=1e-3, schedule="cosine", warmup_steps=2, ema_decay=0.9, clip_norm=1.0)
    for resident in ("yes", "no"):
        config = tiny_config(boxes, Path(folder) / resident, validation=validation, optim=optim)
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, resident=resident))
        here = run(config, torch.device("cpu"))
        with pretended_device() as device:
            there = dataclasses.replace(config, runs=Path(folder) / (resident + "-device"))
            state = run(there, device)  # a wrapped tensor cannot be read back from a file, so no resuming here
        assert state.step == here.step > 3
        for name, value in state.model.state_dict().items():
            assert value.device.type == "pretended", name
            torch.testing.assert_close(value.cpu(), here.model.state_dict()[name], rtol=1e-3, atol=1e-5)
"""


@pytest.mark.parametrize("script", [GEOMETRY, EXTRACTION, TRAINING], ids=["geometry", "extraction", "training"])
def test_runs_where_nothing_may_stay_on_the_cpu(script):
    run_on_a_device(script)
