"""How often the host waits for the device, and how much it asks of it: counted on a pretended one."""

import json
from pathlib import Path

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
    there.tolist()  # 8
assert count.all_waits == 8, count.waits
assert count.operators > 10
"""


def test_the_counter_sees_what_waits():
    run_on_a_device(COUNTER)


STEPS = """
import dataclasses
import tempfile
from types import SimpleNamespace
import ifnet.model
from data_processing.batch import Batch
from isofield.config import OptimConfig
from isofield.ops.feature_sampling import device as sampling
from isofield.run_dir import RunDir, create_run
from isofield.runtime.config import to_yaml
from isofield.runtime.distributed import Group
from isofield.registry import build_model, resolve
from isofield.training import optim
from isofield.training.loop import train_step
from isofield.training.state import initial_state, restore, save
from tests.isofield.conftest import TINY_MODEL, tiny_config

# As on CUDA: the operator of devices, all shapes at once, one kernel of the optimiser.
sampling.DEVICES = optim.FUSED = ("cuda", "pretended")
sampling.triton_agrees = lambda where: True
ifnet.model.shapes_at_once = lambda where, held: 100
small = {key: value for key, value in TINY_MODEL.items() if key != "type"}
small["shapes_per_chunk"] = 100
gan = {"autoencoder": small, "generator_widths": [16], "critic_widths": [16]}
models = {
    "imnet_autoencoder": (small, (1, 64, 64, 64)),
    "imnet_latent_gan": (gan, (8,)),
    "imnet_single_view": ({"autoencoder": small, "channels": [4, 4, 4, 4]}, (1, 128, 128)),
    "ifnet": ({"resolution": 32}, (1, 32, 32, 32)),
}

def batch(shape, device):
    generator, shapes = torch.Generator().manual_seed(0), 6
    inputs, values = torch.rand(shapes, *shape, generator=generator), torch.rand(shapes, 100, generator=generator)
    points, keys = torch.rand(shapes, 100, 3, generator=generator) - 0.5, torch.arange(shapes)
    if name == "imnet_single_view":
        values = torch.rand(shapes, 8, generator=generator)
    parts = (part.to(device) for part in (inputs, points, (values > 0.5).float()))
    return Batch(*parts, tuple(range(shapes)), False, keys.to(device), keys[:1].to(device))

for name, (model, shape) in models.items():
    optim_config = OptimConfig(learning_rate=1e-3, clip_norm=1.0, ema_decay=0.9)
    with tempfile.TemporaryDirectory() as folder:
        config = dataclasses.replace(
            tiny_config(Path(folder), Path(folder), optim=optim_config), model={"type": name, **model}
        )
        run, here = RunDir(config.run_path), Group(0, 1, torch.device("cpu"))
        create_run(run, config=to_yaml(config), preparation={}, resume=False)
        state = initial_state(build_model(config.model, where="test"), config)
        step = lambda state, group: train_step(  # noqa: E731
            state, given, SimpleNamespace(config=config, group=group), weight=1.0, rate=1e-3
        )
        given = batch(shape, "cpu")
        step(state, here)
        save(state, config, run, which="last", group=here)
        with pretended_device() as device:
            there, given = Group(0, 1, device), batch(shape, device)
            state = initial_state(build_model(config.model, where="test").to(device), config)
            for resumed in (False, True):
                if resumed:
                    restore(state, config, run, device=device)
                    steps = [one["step"] for o in state.optimisers.values() for one in o.state.values()]
                    assert steps and all(one.device.type == "pretended" for one in steps), name
                    assert all(value.device.type == "pretended" for value in state.average.weights.values()), name
                for _ in range(2):
                    with counts() as count:
                        step(state, there)
                assert not count.waits, (name, resumed, count.waits)
            print(name, count.operators)
"""


def test_no_step_waits_for_the_device_also_after_resuming():
    lines = run_on_a_device(STEPS).splitlines()
    operators = {name: int(count) for name, count in (line.split() for line in lines)}
    assert len(operators) == 4
    assert operators["ifnet"] < 600  # six shapes at once: 1,792 when each was asked for alone


BATCHES = """
import json
from data_processing.loading.batches import BatchPlan, LoadingConfig, ResidentShapes, StreamedShapes, recipe_of
from data_processing.loading.mask_damage import KINDS, DamageConfig
from data_processing.loading.mask_deformation import DeformationConfig
from data_processing.loading.network_inputs import InputConfig
from data_processing.loading.poses import PoseConfig
from data_processing.store.shape_set import open_shapes

shapes = open_shapes(Path(sys.argv[1]))
damaged = DeformationConfig(modes=("add", "remove", "both"), damage=DamageConfig(share=0.8, at_once=len(KINDS)))
pose = PoseConfig(turn=20, stretch=0.1)
inputs = {
    "solid": InputConfig("solid", 16, noise=0.01, crop=(0.0, 0.4)),
    "points": InputConfig("points", 16, points=60, noise=0.01, pose=pose),
    "scan": InputConfig("scan", 16, points=60),
    "deformed": InputConfig("deformed", 16, pose=pose, deform=damaged),
}
plans = [BatchPlan(np.array([0, 2]), 0, 50, epoch=n, step=n) for n in range(3)]
operators = {}
with pretended_device() as device:
    for name, section in inputs.items():
        loading = LoadingConfig(shapes.path, input=section)
        recipe = recipe_of(shapes, "boundary", loading)
        for source in (
            ResidentShapes(shapes, np.array([0, 1, 2]), recipe, device=device),
            StreamedShapes(shapes, recipe, device=device),
        ):
            made = source.batches(plans)
            next(made)  # sends what is constant
            with counts() as count:
                next(made)
            assert not count.waits, (name, type(source).__name__, count.waits)
        operators[name] = count.operators
print(json.dumps(operators))
"""


def test_no_batch_waits_for_the_device(prepared: Path):
    operators = json.loads(run_on_a_device(BATCHES.replace("sys.argv[1]", repr(str(prepared)))))
    assert set(operators) == {"solid", "points", "scan", "deformed"}


SHAPES = """
import json
from data_processing.occupancy.coarse_solids import solid_cells, solid_cells_of_all
from data_processing.occupancy.scan_batches import scan_grids
from data_processing.occupancy.scan_conversion import scan_grid
from data_processing.preparation.level_batches import ShapeGrid, sample_levels_of_all
from data_processing.preparation.level_points import sample_levels
from tests.data_processing.solids import ball, box, turned

solid, sheet = turned(box((-0.3, -0.2, -0.1), (0.25, 0.15, 0.3))), box((0, 0, 0), (0.3, 0.01, 0.4))
meshes = [solid, ball(0.4, subdivisions=2), sheet]
triangles = [torch.from_numpy(mesh.triangles()) for mesh in meshes]
fine = [torch.zeros(256, 256, 256, dtype=torch.uint8) for _ in meshes]
for number, grid in enumerate(fine):
    grid[40:200, 60 : 61 + 30 * number, 100:230] = 1
rods = [scan_grid(mesh, 64).ne(0).to(torch.uint8) for mesh in triangles]
asked = {}
with pretended_device() as device:
    for count in (1, 3):
        given, there, thin = ([one.to(device) for one in part[:count]] for part in (triangles, fine, rods))
        shapes = [ShapeGrid(grid, 0, str(number)) for number, grid in enumerate(there)]
        works = {
            "scan": lambda: scan_grids(given, 64),
            "levels": lambda: sample_levels_of_all(shapes),
            "thinning": lambda: solid_cells_of_all(thin, 16, keep_thin=True),
        }
        results = {}
        for name, work in works.items():
            with counts() as count_of:
                results[name] = work()
            asked.setdefault(name, []).append([count_of.operators, count_of.all_waits])
    for number in range(3):
        equal(scan_grid(triangles[number], 64), results["scan"][number])
        equal(solid_cells(rods[number], 16, keep_thin=True), results["thinning"][number])
        for resolution, level in sample_levels(fine[number], seed=0, name=str(number)).items():
            equal(level.points_P3, results["levels"][number][resolution].points_P3)
            equal(level.values_P, results["levels"][number][resolution].values_P)
print(json.dumps(asked))
"""


def test_many_shapes_take_about_the_launches_and_the_waits_of_one():
    for name, (one, three) in json.loads(run_on_a_device(SHAPES)).items():
        assert three[1] <= one[1] + 1 <= 6, (name, one, three)
        assert three[0] < 1.2 * one[0] + 20, (name, one, three)
