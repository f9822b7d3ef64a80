"""analyse.py on a label file of 512 x 512 x 1000 voxels: seconds of each stage for an organ, and memory of the whole.

Run: python -m tests.benchmarks.bench_analysis [uint8|int16]. The prior has the published size (2.55 million parameters)
and weights set by hand: it gives back what it is shown. Memory: peak of the whole command in a process of its own, over
its imports and its model, beside the stored volume.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from data_processing.loading.batches import LoadingConfig
from data_processing.loading.network_inputs import InputConfig
from data_processing.medical.label_volumes import label_volume
from data_processing.preparation.config import DataConfig
from ifnet.model import Config
from isofield.config import RunConfig, TrainingConfig, TrainingStage
from isofield.ops.feature_sampling import published_columns
from isofield.outliers.analysis.organ_rows import AnalysisConfig, ScoredOrgan, row_of
from isofield.outliers.analysis.organs import Naming, cut_organ, wanted_of
from isofield.outliers.analysis.priors import load_priors
from isofield.outliers.analysis.scans import Scan
from isofield.outliers.analysis.shape_files import write_shape
from isofield.outliers.comparison.maps import write_map
from isofield.outliers.comparison.on_scan import compare_on_scan, largest_disagreement
from isofield.outliers.comparison.pictures import Shown, picture_of
from isofield.outliers.comparison.surface_rendering import view_of
from isofield.outliers.scoring.calibrate import fit_judge
from isofield.outliers.scoring.calibration import Calibration, save_calibration
from isofield.outliers.scoring.cube_masks import GRID, CubeMask, cube_mask
from isofield.outliers.scoring.detector import MaskPrior
from isofield.outliers.scoring.scores import scorer_arrays
from isofield.registry import build_model, load_run, resolve
from isofield.run_dir import RunDir, create_run
from isofield.runtime.commandline import say
from isofield.runtime.config import build, to_plain, to_yaml
from isofield.runtime.distributed import Group
from isofield.training.state import initial_state, save
from tests.benchmarks.bench_scan_masks import SHAPE, write_body

PREPARATION = {
    "name": "kidney",
    "input": ".",
    "kind": "labels",
    "labels": {"structures": [{"name": "kidney", "labels": ["kidney"], "components": 2, "mirror": "right"}]},
    "normalisation": {"by": "fixed", "length": 192.0},
    "contents": {"voxels": 0, "levels": False, "grids": [128], "boundary": {}},
}


def write_prior(folder: Path) -> RunDir:
    """The published network whose logit says whether the input holds the point; calibrated with made-up scores."""
    model = {"type": "ifnet", **to_plain(Config(convolution_padding="replicate"))}
    section = LoadingConfig(path=Path("unused"), input=InputConfig(kind="deformed", resolution=128))
    training = TrainingConfig(stages=(TrainingStage(level="boundary", epochs=1),))
    config = resolve(RunConfig(name="kidney", model=model, data=section, training=training, runs=folder), where="bench")
    preparation = build(DataConfig, PREPARATION, where="bench")
    run = RunDir(config.run_path)
    create_run(run, config=to_yaml(config), preparation=to_plain(preparation), resume=False)
    torch.manual_seed(0)
    state = initial_state(build_model(config.model, where="bench"), config)
    weights = {name: value * (not name.startswith("decoder")) for name, value in state.model.state_dict().items()}
    here = (published_columns(Config().channels) == 0).nonzero()[0]  # the input at the point itself
    weights["decoder.layers.0.weight"][0, here] = 1
    for layer in (1, 2, 3):
        weights[f"decoder.layers.{layer}.weight"][0, 0] = 20 if layer == 3 else 1
    weights["decoder.layers.3.bias"][0] = -10
    state.model.load_state_dict(weights)
    save(state, config, run, which="best", group=Group(0, 1, torch.device("cpu")))
    loaded = load_run(run)
    training_masks = [ellipsoid(0.16 + 0.012 * number) for number in range(8)]
    scorer = fit_judge(MaskPrior(loaded, preparation), training_masks)
    scores = np.linspace(0, 3, 40)
    save_calibration(run, Calibration(scores, scores, loaded.model_hash, "", ""), scorer_arrays(scorer))
    return run


def ellipsoid(radius: float) -> CubeMask:
    axis = (np.arange(GRID) + 0.5) / GRID - 0.5
    x, y, z = np.meshgrid(axis / 1.2, axis, axis / 0.9, indexing="ij")
    return CubeMask(x**2 + y**2 + z**2 < radius**2, np.diag([192.0, 192, 192, 1]))


def stages(run: RunDir, folder: Path, out: Path) -> None:
    """Seconds of what analyse.py does for one organ, one thing after the other; two organs in the batch."""
    (prior,) = load_priors([run.path], device=torch.device("cpu"))
    scan, naming, taken = Scan("body", folder / "body.nii.gz"), Naming(str(folder / "names.json")), {}
    clock, cpu = time.perf_counter(), time.process_time()

    def stage(name: str) -> None:
        nonlocal clock, cpu
        taken[name] = time.perf_counter() - clock, time.process_time() - cpu
        clock, cpu = time.perf_counter(), time.process_time()

    label_volume(scan.file)
    stage("read the volume (once)")
    wanted = [one for one in wanted_of(scan, [prior], naming) if one.prior is not None]
    cuts = [cut_organ(one, scan, naming) for one in wanted]
    stage("cut two organs")
    cubes = [cube_mask(mask, prior.preparation) for _, mask in cuts]
    stage("into the cube, two")
    judgements = prior.judge_masks(cubes, fpr=0.05)
    stage("judge, two")
    rebuilt = judgements[0].reconstruction
    assert rebuilt is not None
    compared = compare_on_scan(cuts[0][0], rebuilt, tolerance=1.0)
    stage("on the scan's grid, with distances")
    largest = largest_disagreement(cubes[0], rebuilt)
    stage("where it disagrees most")
    write_map(out / "recon.nii.gz", compared.rebuilt_XYZ, compared.mask)
    write_map(out / "signed.nii.gz", compared.disagreement_XYZ, compared.mask, slope=0.01)
    write_map(out / "repaired.nii.gz", compared.repaired_XYZ, compared.mask)
    stage("three maps on the scan's grid")
    scores = np.linspace(0, 3, 40)
    view = view_of(cubes[0], rebuilt, towards=None if largest is None else largest.world)
    stage("surfaces")
    picture_of(Shown("a", "b", compared, view, largest, scores, 1.0, 2.0))
    stage("picture")
    write_shape(out, "scan", "organ", view, compared)
    stage("surfaces and slices for pages")
    row = row_of(
        ScoredOrgan(scan, wanted[0], *cuts[0], cubes[0], judgements[0], 0.0),
        file="x",
        out=out,
        settings=AnalysisConfig(),
    )
    stage("the five before, as in the command")
    assert row["dice"] > 0.95, row
    for name, (wall, cpu) in taken.items():
        say(f"{name:40} {wall:8.2f} s wall {cpu:8.2f} s CPU")
    pair = ("cut two organs", "into the cube, two", "judge, two")
    own = [sum(taken[name][k] for name in pair) / 2 + taken["the five before, as in the command"][k] for k in (0, 1)]
    say(f"{'an organ, without reading':40} {own[0]:8.2f} s wall {own[1]:8.2f} s CPU")


def whole(run: RunDir, folder: Path, out: Path, dtype: str) -> None:
    """The command itself in a process of its own: seconds and memory."""
    words = ["--models", str(run.path), "--input", str(folder), "--out", str(out), "--device", "cpu"]
    words += ["--labels", str(folder / "names.json")]
    program = (
        "import sys; import isofield.registry, isofield.outliers.analysis.folder\n"
        "from isofield.commands import analyse\n"
        "from isofield.outliers.analysis.priors import load_priors; import torch; from pathlib import Path\n"
        "load_priors([Path(sys.argv[2])], device=torch.device('cpu'))\n"
        "def kept(key):\n"
        "    return next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith(key))\n"
        "before = kept('VmRSS')\n"
        "analyse.main()\n"
        "print('gained', kept('VmHWM') - before)"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    gained = int(done.stdout.rpartition("gained")[2]) * 1024
    stored = int(np.prod(SHAPE)) * np.dtype(dtype).itemsize
    say(f"{'analyse.py, one scan, two organs':40} {seconds:8.2f} s")
    beyond, volume = (gained - stored) / 2**30, stored / 2**30
    say(f"{'peak memory beyond the stored volume':40} {beyond:8.2f} GiB (volume {volume:.2f})")


def main() -> None:
    dtype = sys.argv[1] if len(sys.argv) > 1 else "uint8"
    say(f"{SHAPE} {dtype}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "scans"
        folder.mkdir()
        write_body(folder / "body.nii.gz", dtype)
        (folder / "names.json").write_text('{"labels": {"kidney": 3}}')
        run = write_prior(Path(name) / "runs")
        stages(run, folder, Path(name) / "stages")
        whole(run, folder, Path(name) / "out", dtype)


if __name__ == "__main__":
    main()
