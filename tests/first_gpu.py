"""The first ten minutes on a GPU: `python -m tests.first_gpu --out DIR [--budget 540] [--device cpu --quick]`.

From the root of the checkout, nothing else running. Every part has its own limit and may fail alone; what it printed
lies in DIR/NAME.log, tables of kernels in DIR/profile-NAME.txt. DIR/numbers.json holds every number beside what it was
predicted to be on one H200, and names those that miss it by more than a third: believe the number, then look into the
profile before anything is changed. After a part of the budget is spent, what is left is told as not run.
"""

import argparse
import dataclasses
import functools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from data_processing.batch import Batch
from ifnet import model as ifnet_model
from imnet import autoencoder
from isofield.config import OptimConfig, TrainingConfig, TrainingStage
from isofield.registry import build_model
from isofield.runtime.distributed import Group
from isofield.runtime.precision import Precision, products_in
from isofield.training import optim
from isofield.training.loop import take_turns, train_step
from isofield.training.state import initial_state
from isofield.training.static_step import played_steps
from tests.benchmarks import bench_batches, bench_ifnet_training, bench_training
from tests.benchmarks.measuring import copy_rate, machine, product_rate, synchronise
from tests.benchmarks.predictions import compared
from tests.benchmarks.rows_training import on

PARTS = ("ceilings", "tests", "steps", "batches", "commands", "suite")
LAUNCHES = {"cudaLaunchKernel", "cuLaunchKernel", "cuLaunchKernelEx", "cudaLaunchKernelExC"}
ROWS = ["feature-sampling", "imnet-mesh", "ifnet-mesh", "preparation", "light-field", "voxelise", "generative"]


@dataclasses.dataclass
class Session:
    """What was asked for, and what came out so far."""

    out: Path
    device: torch.device
    budget: float
    quick: bool
    began: float = dataclasses.field(default_factory=time.monotonic)
    numbers: dict[str, Any] = dataclasses.field(default_factory=dict)
    failed: list[str] = dataclasses.field(default_factory=list)

    @property
    def left(self) -> float:
        """Seconds of the budget."""
        return self.budget - (time.monotonic() - self.began)

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """What fails in the block is told, and the others go on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 (a part that fails is a finding)
            self.failed.append(f"{name}: {type(error).__name__}: {str(error)[:300]}")

    def command(self, name: str, words: list[object], *, limit: float) -> str:
        """Run a command, keep what it printed and its seconds."""
        limit = min(limit, self.left - 15)
        if limit < 10:
            self.failed.append(f"{name}: not run, the budget is spent")
            return ""
        log, began = self.out / f"{name}.log", time.monotonic()
        environment = {**os.environ, "TQDM_DISABLE": "1"}
        with log.open("w") as file:
            try:
                status: object = subprocess.run(
                    list(map(str, words)), stdout=file, stderr=subprocess.STDOUT, timeout=limit, env=environment
                ).returncode
            except subprocess.TimeoutExpired:
                status = f"stopped after {limit:.0f} s"
        text = log.read_text(errors="replace")
        self.numbers[f"{name}, s"] = round(time.monotonic() - began, 1)
        if status not in (0, 2):  # 2: single shapes failed
            self.failed.append(f"{name}: {status}; {(text.strip().splitlines() or [''])[-1][:200]}")
        print(f"--- {name}: {self.numbers[f'{name}, s']} s, {status}", flush=True)
        return text


def ceilings(session: Session) -> None:
    """What a bare product and a copy reach here."""
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        with products_in("float32", session.device):
            rate = 2 * product_rate(dtype, session.device) / 1e12
        session.numbers[f"product {name}, TFLOP/s"] = round(rate, 2)
    session.numbers["copy, TB/s"] = round(copy_rate(session.device) / 1e12, 3)


def tests(session: Session) -> None:
    """Those that only a GPU can show."""
    words = [sys.executable, "-m", "pytest", "-q", "-n0", "-m", "gpu", "-p", "no:cacheprovider", "tests"]
    if session.quick:
        words = [*words[:-1], "tests/isofield/ops/test_feature_sampling_gpu.py"]
    text = session.command("gpu-tests", words, limit=120)
    print((text.strip().splitlines() or ["no output"])[-1], flush=True)


Loss = Callable[[Any, Batch], torch.Tensor]


def row(session: Session, name: str, made: tuple[Any, Any], batch: Batch, loss_of: Loss, precision: Precision) -> None:
    """One kind of step: its milliseconds, peak memory, launches and waits of the host."""
    model, optimiser = made

    def step() -> None:
        with torch.autocast(session.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = loss_of(model, batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    _measure(session, name, step, precision)


def _measure(session: Session, name: str, step: Callable[[], Any], precision: Precision) -> None:
    device = session.device
    with session.alone(name), products_in(precision, device):
        if session.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        times = []
        for number in range(4 if session.quick else 14):  # the first four compile, warm up, and are recorded
            synchronise(device)
            began = time.perf_counter()
            step()
            synchronise(device)
            times.append(1e3 * (time.perf_counter() - began))
            if number == 3 and sum(times[1:]) > 4e3:
                break
        peak = torch.cuda.max_memory_allocated() / 1e9 if session.on_gpu else 0.0
        found = {"ms": round(statistics.median(times[4:] or times[1:]), 2), "GB": round(peak, 2)}
        session.numbers[name] = found | _profiled(session, name, step)
        print(f"{name:50} {session.numbers[name]}", flush=True)


def _profiled(session: Session, name: str, step: Callable[[], None]) -> dict[str, int]:
    """Launches and waits of the host in one step; the table of its kernels in a file."""
    kinds = [torch.profiler.ProfilerActivity.CPU] + [torch.profiler.ProfilerActivity.CUDA] * session.on_gpu
    with torch.profiler.profile(activities=kinds) as profiler:
        step()
        waits_after = {"cudaStreamSynchronize", "cudaEventSynchronize", "cudaMemcpy"}
        synchronise(session.device)
    rows = profiler.key_averages()
    sort = "self_cuda_time_total" if session.on_gpu else "self_cpu_time_total"
    file = session.out / f"profile-{re.sub('[^a-z0-9]+', '_', name)}.txt"
    file.write_text(rows.table(sort_by=sort, row_limit=40, max_name_column_width=90))
    launches = sum(one.count for one in rows if one.key in LAUNCHES)
    return {"launches": launches, "waits": sum(one.count for one in rows if one.key in waits_after)}


def steps(session: Session) -> None:
    """Training steps of the published sizes: plain, ours, and ours with one thing changed."""
    shapes, points = (2, 64) if session.quick else (32, 4096)
    batch = on(bench_training.random_batch(shapes, points), session.device)
    ours, plain = bench_training.our_loss, bench_training.plain_loss
    narrow = {"decoder_widths": (16, 16)} if session.quick else {}

    def imnet(*, fused: bool = True, compiled: bool = False, **sizes: Any) -> tuple[Any, Any]:
        torch.manual_seed(0)
        model = autoencoder.Autoencoder(autoencoder.Config(**narrow, **sizes)).to(session.device)
        return model, _optimiser(model, fused=fused, compiled=compiled)

    precisions: list[Precision] = ["float32", "tf32", "bfloat16"]
    for precision in precisions:
        if precision != "tf32":
            row(session, f"imnet {precision}, plain", imnet(), batch, plain, precision)
        row(session, f"imnet {precision}", imnet(), batch, ours, precision)
    row(session, "imnet bfloat16, one chunk", imnet(shapes_per_chunk=32), batch, ours, "bfloat16")
    if session.on_gpu:
        row(session, "imnet bfloat16, Adam not fused", imnet(fused=False), batch, ours, "bfloat16")
        row(session, "imnet bfloat16, training.compile", imnet(compiled=True), batch, ours, "bfloat16")

    size, count = (16, 100) if session.quick else (128, 50_000)
    small = {"stages": ((4,), (6, 8)), "decoder_widths": (16,)} if session.quick else {}
    one = on(bench_ifnet_training.batch_of_a_sphere(count, size), session.device)
    inputs, points_BN3, values_BN = one.inputs.repeat(6, 1, 1, 1, 1), one.points_BN3.repeat(6, 1, 1), one.values_BN
    six = Batch(inputs, points_BN3, values_BN.repeat(6, 1), tuple(range(6)))
    ours_of, plain_of = bench_ifnet_training.our_loss, bench_ifnet_training.plain_loss

    def ifnet(*, compiled: bool = False) -> tuple[Any, Any]:
        torch.manual_seed(0)
        model = ifnet_model.IFNet(ifnet_model.Config(resolution=size, **small)).to(session.device)
        return model, _optimiser(model, compiled=compiled)

    for precision in precisions:
        if precision != "tf32":
            row(session, f"ifnet {precision}, plain", ifnet(), one, plain_of, precision)
        row(session, f"ifnet {precision}", ifnet(), one, ours_of, precision)
    row(session, "ifnet bfloat16, six shapes", ifnet(), six, ours_of, "bfloat16")
    if session.on_gpu:
        with _one_shape_at_a_time():
            row(session, "ifnet bfloat16, six shapes, one at a time", ifnet(), six, ours_of, "bfloat16")
        row(session, "ifnet bfloat16, training.compile", ifnet(compiled=True), one, ours_of, "bfloat16")
    _latent_gan(session)
    kept = [
        found["waits"] for name, found in session.numbers.items() if isinstance(found, dict) and "plain" not in name
    ]
    session.numbers["waits of a step"] = max(kept, default=0)


def _latent_gan(session: Session) -> None:
    """A step of the published GAN, both players: launched piece by piece, and played back."""
    sizes: dict[str, Any] = {"critic_widths": [16], "generator_widths": [16]} if session.quick else {}
    codes_BZ, keys_B = torch.rand(50, 256, device=session.device), torch.arange(50, device=session.device)
    batch = Batch(codes_BZ, codes_BZ[:, :0], codes_BZ, tuple(range(50)), keys_B=keys_B, key_1=keys_B[:1])
    for name, played in (("launched", False), ("played back", True)):
        training = TrainingConfig(stages=(TrainingStage(level="codes", epochs=1),), record_steps=played)
        config: Any = SimpleNamespace(model={"type": "imnet_latent_gan", **sizes}, training=training)
        state = initial_state(build_model(config.model, where="first_gpu").to(session.device), config)
        job: Any = SimpleNamespace(config=config, group=Group(0, 1, session.device), tell=print)
        steps = played_steps(state, job, functools.partial(take_turns, state, job))
        step = functools.partial(train_step, state, batch, job, weight=1.0, rate=5e-5, played=steps)
        _measure(session, f"latent gan, {name}", step, "float32")


def _optimiser(model: torch.nn.Module, *, fused: bool = True, compiled: bool = False) -> torch.optim.Optimizer:
    """As training makes it; the parts of the model compiled as `training.compile` does."""
    if compiled:
        for part in model.children():
            part.compile()
    before = optim.FUSED
    optim.FUSED = before if fused else ()  # type: ignore[assignment]
    try:
        return optim.build_optimiser(model.parameters(), OptimConfig())
    finally:
        optim.FUSED = before


@contextmanager
def _one_shape_at_a_time() -> Iterator[None]:
    before = ifnet_model.shapes_at_once
    ifnet_model.shapes_at_once = lambda *_: 1
    try:
        yield
    finally:
        ifnet_model.shapes_at_once = before


def batches(session: Session) -> None:
    """Stages of a preparation, of one shape and of many at once."""
    for count in (1, 2 if session.quick else bench_batches.AT_ONCE):
        for name, work in bench_batches.works(count, session.device, quick=session.quick).items():
            _measure(session, f"{name}, {count} at once", work, "float32")


def commands(session: Session) -> None:
    """Data prepared both ways, runs trained, stopped and resumed, meshes written: by the commands themselves."""
    data = _prepare(session)
    limits = {"demo": 4, "imnet": 4} if session.quick else {"demo": 750, "imnet": 300, "ifnet": 60}
    configs = {
        "demo": "configs/demo.yaml",
        "imnet": "configs/imnet/autoencoder.yaml",
        "ifnet": "configs/ifnet/voxels_128.yaml",
    }
    for name, limit in limits.items():
        run = session.out / "runs" / f"first_{name}"
        settings = [
            f"name=first_{name}",
            f"runs={run.parent}",
            f"data.path={data}",
            f"device={session.device.type}",
            "training.precision=bfloat16",
            f"training.batch_shapes={32 if name == 'imnet' else 6}",
            "training.validation.every=0",
            "training.validation.pictures=0",
            "training.log_every=5" if not session.quick else "training.log_every=1",
        ]
        if session.quick:
            settings += ["model.decoder_widths=[32, 32]", "training.stages=[{level: 64, epochs: 9999, points: 64}]"]
        elif name == "imnet":
            settings.append("training.stages=[{level: 64, epochs: 9999, points: 4096}]")
        train = [sys.executable, "train.py", "--config", configs[name], "--set", *settings]
        session.command(f"train-{name}", [*train, f"training.max_steps={limit}"], limit=90)
        session.command(f"resume-{name}", [*train, f"training.max_steps={2 * limit}", "--resume"], limit=90)
        session.numbers[f"{name}, points/s first and after resuming"] = _points_per_second(run)
        resolution = 32 if session.quick else 256
        generate = ["generate.py", "--run", run, "--split", "test", "--resolution", resolution, "--device"]
        session.command(f"generate-{name}", [sys.executable, *generate, session.device.type], limit=60)
        for file in run.rglob("manifest.json"):
            rows = [one for one in json.loads(file.read_text())["shapes"] if one["status"] == "done"]
            middles = {key: statistics.median(one[key] for one in rows) for key in ("seconds", "evaluations") if rows}
            session.numbers[f"{name}, meshes"] = {"done": len(rows), **middles}


def _prepare(session: Session) -> Path:
    """A data set by the processes of the CPU, twice as kernels are compiled first, and with the GPU."""
    raw, files = session.out / "raw", sorted(Path("examples").glob("*/*.ply"))
    for file in files[:: len(files) // 8] if session.quick else files:
        (raw / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, raw / file.parent.name)
    shapes = len(list(raw.rglob("*.ply")))
    contents = "contents={voxels: 64, levels: true, grids: [128], boundary: {sigmas: [0.1, 0.01], points: 50000}}"
    ways = {"prepare-compile": "cpu", "prepare-cpu": "cpu"} if session.on_gpu else {"prepare-cpu": "cpu"}
    if session.on_gpu:
        ways["prepare-cuda"] = "cuda"
    for name, device in ways.items():
        words = ["-m", "data_processing", "--config", "configs/data/demo.yaml", "--set", contents, f"input={raw}"]
        folder = session.out / f"set-{name}"
        session.command(
            name, [sys.executable, *words, "licences=null", f"output={folder}", f"device={device}"], limit=90
        )
        if (folder / "dataset.json").exists():
            session.numbers[f"{name}, shapes/s"] = round(shapes / session.numbers[f"{name}, s"], 2)
    return session.out / "set-prepare-cpu"


def _points_per_second(run: Path) -> list[int]:
    """The middle of what each call of the training logged."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rates = []
    for file in sorted(run.rglob("events.*")):
        events = EventAccumulator(str(file))
        events.Reload()
        if "points_per_second" in events.Tags()["scalars"]:
            rates.append(round(statistics.median(one.value for one in events.Scalars("points_per_second"))))
    return rates


def suite(session: Session) -> None:
    """Rows of the benchmarks: ratios, shares of the floor, goals."""
    words = [sys.executable, "-m", "tests.benchmarks", "--device", session.device.type, "--out", session.out]
    rows = ["generative"] if session.quick else ROWS
    text = session.command("suite", [*words, *["--quick"] * session.quick, "--only", *rows], limit=150)
    print(text[-6000:], flush=True)


def main(arguments: list[str] | None = None) -> int:
    """All parts that were asked for; the status is 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a folder for all that it writes")
    parser.add_argument("--budget", type=float, default=540, help="seconds (default 540)")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="sizes that a CPU does in a minute")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    session = Session(options.out.resolve(), torch.device(options.device), options.budget, options.quick)
    described = machine(session.device)
    print(json.dumps(described), "CUDA seen:", torch.cuda.is_available(), flush=True)
    parts = dict(zip(PARTS, (ceilings, tests, steps, batches, commands, suite), strict=True))
    for part in options.only:
        with session.alone(part):
            parts[part](session)
    content = {
        "machine": described,
        **compared(session.numbers, applies=session.on_gpu and not session.quick),
        "failed": session.failed,
    }
    (session.out / "numbers.json").write_text(json.dumps(content, indent=1))
    print(json.dumps(content, indent=1))
    print(f"{time.monotonic() - session.began:.0f} s; failed: {session.failed or 'nothing'}")
    return int(bool(session.failed))


if __name__ == "__main__":
    sys.exit(main())
