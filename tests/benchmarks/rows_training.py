"""Rows of the suite: steps of training, the sampling of features, and what a step's time means for a whole schedule."""

import itertools

import torch

from data_processing.batch import Batch
from ifnet.model import Config, IFNet
from imnet.autoencoder import Autoencoder
from imnet.autoencoder import Config as ImnetConfig
from isofield.ops import memory
from isofield.ops.feature_sampling import PLACES
from tests.benchmarks import bench_feature_sampling as sampling
from tests.benchmarks import bench_ifnet_training as ifnet
from tests.benchmarks import bench_training as imnet
from tests.benchmarks.measuring import Timing, Work, best_rate, copy_rate, has_amx, in_turn, once, products
from tests.benchmarks.results import Floor, Goal, Result
from tests.benchmarks.setting import Setting

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SCHEDULE_SHAPES, SCHEDULE_EPOCHS, SCHEDULE_BATCH = 35_019, 400, 32  # 13 categories; 100, 100 and 200 epochs
IFNET_FLOOR = "convolutions and decoder at the product rate, features and volumes once each way at the copy rate"


def on(batch: Batch, device: torch.device) -> Batch:
    """The same batch on a device."""
    return Batch(batch.inputs.to(device), batch.points_BN3.to(device), batch.values_BN.to(device), batch.shapes)


def timed_steps(setting: Setting, works: dict[str, Work], small: Work) -> tuple[dict[str, Timing], dict[str, float]]:
    """Medians of plain and ours in both precisions, and the rates of products (multiply-adds a second) beside them.

    Plain runs as torch is; ours, and the products that it is held against, as train.py runs: freed memory is kept.
    """

    def kept(work: Work, keep: bool) -> Work:
        def run() -> object:
            memory.keep_freed(keep)
            return work()

        return run

    small()
    rows = setting.pick(32768, 1024)
    bare = {name: products(dtype, setting.device, rows=rows) for name, dtype in DTYPES.items()}
    bare_works = {name: product.work for made in bare.values() for name, product in made.items()}
    for work in bare_works.values():
        work()
    works = {name: kept(work, not name.startswith("plain")) for name, work in {**works, **bare_works}.items()}
    times = in_turn(works, setting.rounds, setting.device, warm=setting.gpu, settled=works)
    memory.keep_freed(False)
    return times, {name: best_rate(made, times) for name, made in bare.items()}


def imnet_training(setting: Setting) -> list[Result]:
    """32 x 4096 points, as published."""
    shapes, points = setting.pick(32, 2), setting.pick(4096, 512)
    torch.manual_seed(0)
    model = Autoencoder(ImnetConfig()).to(setting.device)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-5, betas=(0.5, 0.999))
    batch, few = (on(imnet.random_batch(n, points), setting.device) for n in (shapes, 1))

    def work(loss: str, name: str, batch: Batch = batch) -> Work:
        loss_of = {"plain": imnet.plain_loss, "ours": imnet.our_loss}[loss]
        return lambda: imnet.step(loss_of, model, optimiser, batch, bfloat16=name == "bfloat16")

    names = list(itertools.product(("plain", "ours"), DTYPES))
    works = {f"{loss}, {name}": work(loss, name) for loss, name in names}
    times, rates = timed_steps(setting, works, lambda: [work(loss, name, few)() for loss, name in names])
    multiply_adds = imnet.multiply_adds(model, shapes=shapes, points=points)
    results = []
    for name in DTYPES:
        ours, plain = times[f"ours, {name}"], times[f"plain, {name}"]
        floor = Floor(f"multiply-adds at the rate of a bare {name} product", multiply_adds / rates[name])
        over_float32 = times["plain, float32"].wall / ours.wall
        goals = []
        if name == "float32" and not setting.gpu:
            goals = [setting.goal("share of the product rate", floor.seconds / ours.wall, 0.85)]
        elif name == "bfloat16" and setting.gpu:
            goals = [setting.goal("share of the product rate", floor.seconds / ours.wall, 0.5)]
        elif name == "bfloat16":
            amx = has_amx() and not setting.quick
            what = "over plain float32" + ("" if has_amx() else " (asked where AMX is; none here)")
            goals = [Goal(what, over_float32, 4, judged=amx)]
        results.append(
            Result(
                f"imnet-training, {name}",
                f"IM-NET training step, {shapes} x {points} points, {name}",
                ours,
                plain,
                f"the code repeated and concatenated to every point, {name}",
                floor,
                goals,
                f"{rates[name] / 1e9:.0f} G multiply-adds/s; {over_float32:.2f} times plain float32 in wall time",
            )
        )
    if setting.gpu:
        results.append(schedule(setting, times["ours, bfloat16"], shapes))
    return results


def schedule(setting: Setting, step: Timing, shapes: int) -> Result:
    """The published schedule of 13 categories, from one step."""
    steps = -(-SCHEDULE_SHAPES // SCHEDULE_BATCH) * SCHEDULE_EPOCHS
    scale = steps * SCHEDULE_BATCH / shapes
    whole = Timing(step.wall * scale, step.cpu * scale)
    goal = setting.goal("hours", whole.wall / 3600, 2, at_least=False)
    work = f"IM-NET, {SCHEDULE_SHAPES:,} shapes, {SCHEDULE_EPOCHS} epochs, bfloat16 (extrapolated)"
    return Result("imnet-schedule", work, whole, goals=[goal], note="from the step above; without reading and checking")


def ifnet_multiply_adds(config: Config, points: int) -> tuple[float, float]:
    """Forward: of the convolutions, and of the decoder with those grids folded that have fewer voxels than points."""
    convolutions, resolution = 0, config.resolution
    scales, before = [(1, resolution)], 1
    for stage in config.stages:
        for width in stage:
            convolutions += 27 * before * width * resolution**3
            before = width
        scales.append((before, resolution))
        resolution //= 2
    outputs = config.decoder_widths[0]
    first = sum(PLACES * channels * outputs * min(points, side**3) for channels, side in scales)
    others = sum(a * b for a, b in itertools.pairwise([*config.decoder_widths, 1])) * points
    return float(convolutions), float(first + others)


def traffic(config: Config, points: int, *, bytes_each: int) -> float:
    """Bytes of features and volumes, once forward and once backward."""
    features = PLACES * sum(config.channels) * points
    sides = [config.resolution >> level for level in (0, *range(len(config.stages)))]
    voxels = sum(channels * side**3 for channels, side in zip(config.channels, sides, strict=True))
    return 2.0 * (features * bytes_each + voxels * 4)


def ifnet_training(setting: Setting) -> list[Result]:
    """128^3, 50,000 points, one shape."""
    points, resolution = setting.pick(50_000, 5_000), setting.pick(128, 32)
    config = Config(resolution=resolution)
    torch.manual_seed(0)
    model = IFNet(config).to(setting.device)
    batch, few = (on(ifnet.batch_of_a_sphere(n, resolution), setting.device) for n in (points, 500))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.0)  # all variants see the same parameters in every round

    def work(loss: str, name: str, batch: Batch = batch) -> Work:
        loss_of = {"plain": ifnet.plain_loss, "ours": ifnet.our_loss}[loss]
        return lambda: ifnet.step(loss_of, model, optimiser, batch, bfloat16=name == "bfloat16")

    names = list(itertools.product(("plain", "ours"), DTYPES))
    works = {f"{loss}, {name}": work(loss, name) for loss, name in names}
    times, rates = timed_steps(setting, works, lambda: [work(loss, name, few)() for loss, name in names])
    multiply_adds, copies = 3 * sum(ifnet_multiply_adds(config, points)), copy_rate(setting.device)
    results = []
    for name, dtype in DTYPES.items():
        ours = times[f"ours, {name}"]
        base = f"plain, {name if setting.gpu else 'float32'}"
        wanted = 2 if setting.gpu and name == "bfloat16" else 8 if name == "bfloat16" else 4
        moved = traffic(config, points, bytes_each=dtype.itemsize) / copies
        results.append(
            Result(
                f"ifnet-training, {name}",
                f"IF-Net training step, {resolution}^3, {points:,} points, {name}",
                ours,
                times[base],
                f"seven-fold grid_sample, features concatenated ({base.removeprefix('plain, ')})",
                Floor(IFNET_FLOOR, multiply_adds / rates[name] + moved),
                [setting.goal("ratio in wall time", times[base].wall / ours.wall, wanted)],
                f"ratio to plain in the same precision {times[f'plain, {name}'].wall / ours.wall:.2f}; "
                f"{rates[name] / 1e9:.0f} G multiply-adds/s, {copies / 1e9:.1f} GB/s copied",
            )
        )
    return results


def feature_sampling(setting: Setting) -> list[Result]:
    """Six scales of voxels_128 at seven places, forward and backward."""
    points = setting.pick(50_000, 1_000)
    points_1N3 = sampling.points_near_a_sphere(points).to(setting.device)
    grids = {
        name: [volume.detach().to(setting.device) for volume in sampling.volumes(channels_last=name == "ours")]
        for name in ("plain", "ours")
    }
    for volumes in grids.values():
        for volume in volumes[1:]:
            volume.requires_grad_()
    operators = {"plain": sampling.plain_features, "ours": sampling.our_features}

    def work(name: str, at: torch.Tensor = points_1N3) -> Work:
        return lambda: sampling.forward_and_backward(operators[name], grids[name], at, bfloat16=False)

    for name in operators:
        once(work(name, points_1N3[:, :100]), setting.device)
    times = in_turn(
        {name: work(name) for name in operators}, setting.rounds, setting.device, warm=setting.gpu, settled=operators
    )
    copies = copy_rate(setting.device)
    floor = Floor(
        "features and volumes once each way at the copy rate", traffic(Config(), points, bytes_each=4) / copies
    )
    return [
        Result(
            "feature-sampling",
            f"IF-Net feature sampling, 128^3, {points:,} points, both ways",
            times["ours"],
            times["plain"],
            "seven-fold grid_sample, features concatenated",
            floor,
            note=f"{copies / 1e9:.1f} GB/s copied",
        )
    ]
