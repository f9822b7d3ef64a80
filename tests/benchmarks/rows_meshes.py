"""Rows of the suite: meshes at 256^3 out of both networks."""

import torch

from ifnet.model import Config, IFNet
from isofield.extraction.isosurface import extract
from isofield.extraction.lattice import Field
from tests.benchmarks import bench_ifnet_generation, fields
from tests.benchmarks.bench_extraction import (
    ISO,
    OURS_BATCH,
    Decoder,
    costly,
    dense_values,
    floor_points,
    published_values,
)
from tests.benchmarks.bench_ifnet_generation import PUBLISHED_CHUNK, plain_chunk
from tests.benchmarks.bench_ifnet_training import batch_of_a_sphere
from tests.benchmarks.measuring import Timing, in_turn, product_rate, timed
from tests.benchmarks.results import Floor, Result
from tests.benchmarks.rows_training import ifnet_multiply_adds
from tests.benchmarks.setting import Setting

CHAIR = fields.chair(fields.SHIFTS[2])
FLOOR = "each corner of a crossing cell decoded once, at the float32 product rate"


def corners(resolution: int, device: torch.device) -> int:
    """Samples that cannot be spared: corners of cells that cross the level."""
    return floor_points(dense_values(CHAIR, resolution, device), iso_level=ISO)


def evaluated(field: Field, setting: Setting, resolution: int, batch: int = OURS_BATCH) -> int:
    """A mesh of ours; returns the points evaluated for it, at most `batch` at once on a CPU."""
    points = 1 << 19 if setting.gpu else batch
    found = extract(field, iso_level=ISO, resolution=resolution, batch_points=points, device=setting.device)
    return found.evaluations


def imnet_mesh(setting: Setting) -> list[Result]:
    """A decoder of the published size; ours against frame, queue and PyMCubes."""
    import mcubes

    resolution, width = setting.pick(256, 64), setting.pick(1024, 128)
    decoder = Decoder(width, setting.device)

    def published() -> int:
        grid, evaluations = published_values(costly(CHAIR, decoder.published), resolution, setting.device)
        mcubes.marching_cubes(grid, ISO)
        return evaluations

    def ours() -> int:
        return evaluated(costly(CHAIR, decoder.split), setting, resolution)

    rounds = setting.rounds if setting.gpu else 1  # minutes of plain work
    evaluated(CHAIR, setting, 64)
    times = in_turn({"plain": published, "ours": ours}, rounds, setting.device, warm=setting.gpu)
    needed, rate = corners(resolution, setting.device), product_rate(torch.float32, setting.device)
    mine, theirs = times["ours"], times["plain"]
    goals = [setting.goal("evaluations over the floor", mine.result / needed, 1.5, at_least=False)]
    if setting.gpu:
        goals.append(setting.goal("meshes a second (not written)", 1 / mine.wall, 20))
    else:
        goals.append(setting.goal("ratio of CPU-s", theirs.cpu / mine.cpu, 4))
    return [
        Result(
            "imnet-mesh",
            f"IM-NET mesh at {resolution}^3, decoder {width} wide",
            mine,
            theirs,
            f"frame of a quarter, queue of blocks, code concatenated, PyMCubes: {theirs.result:,} points",
            Floor(FLOOR, needed * decoder.multiply_adds / rate),
            goals,
            f"{mine.result:,} points evaluated, {needed:,} at least",
        )
    ]


def ifnet_mesh(setting: Setting) -> list[Result]:
    """voxels_128, encoded once; plain is dense, the encoder run for every chunk, scaled up from a part of one."""
    resolution, side, part = setting.pick(256, 64), setting.pick(128, 32), setting.pick(100_000, 5_000)
    torch.manual_seed(0)
    config = Config(resolution=side)
    model = IFNet(config).to(setting.device).eval()
    inputs = batch_of_a_sphere(8, side).inputs.to(setting.device)
    points_1N3 = torch.rand(1, part, 3, device=setting.device) - 0.5

    @torch.inference_mode()
    def ours() -> int:
        code = model.encode(inputs)
        field = lambda points_N3: CHAIR(points_N3) + 0 * model.decode(points_N3[None], code)[0]  # noqa: E731
        return evaluated(field, setting, resolution, bench_ifnet_generation.OURS_BATCH)

    few = 1000
    plain_chunk(model, inputs, points_1N3[:, :few])
    ours()  # kernels are compiled
    mine = timed(ours, setting.rounds, setting.device)
    encoding = timed(lambda: plain_chunk(model, inputs, points_1N3[:, :few]), setting.rounds, setting.device)
    chunk = timed(lambda: plain_chunk(model, inputs, points_1N3), 1, setting.device)
    count = resolution**3
    chunks, parts = count / PUBLISHED_CHUNK, (count - few * count / PUBLISHED_CHUNK) / (part - few)
    theirs = Timing(*(chunks * encoding[i] + parts * (chunk[i] - encoding[i]) for i in (0, 1)))
    needed, rate = corners(resolution, setting.device), product_rate(torch.float32, setting.device)
    if setting.gpu:
        goals = [setting.goal("meshes a second (not written)", 1 / mine.wall, 5)]
    else:
        goals = [setting.goal("ratio of CPU-s", theirs.cpu / mine.cpu, 40)]
    return [
        Result(
            "ifnet-mesh",
            f"IF-Net mesh at {resolution}^3, input {side}^3, with encoding",
            mine,
            theirs,
            f"dense, the encoder for each chunk of {PUBLISHED_CHUNK:,} points (scaled up from {part:,} points)",
            Floor(f"one encoding; {FLOOR}", sum(ifnet_multiply_adds(config, needed)) / rate),
            goals,
            f"{mine.result:,} points evaluated, {needed:,} at least",
        )
    ]
