#!/bin/sh
# What version 0.1 left on disk, made by its own commands. In an empty folder: sh make.sh CHECKOUT_OF_0_1 PYTHON
# The checkout is the commit before `engine/` and `outliers/` became `isofield/`: f3cb61a. Takes a minute.
# Each command that is killed here stands in the tests as one that goes on; `full` is where 0.1 itself went on.
set -eu
old=$1 python=$2
export PYTHONPATH=$old OMP_NUM_THREADS=1 TQDM_DISABLE=1 TZ=UTC

# A command of the old checkout, killed with -9 before it opens or renames the COUNT-th file that matches PATTERN.
cat > stopped.py <<'END'
import fnmatch, os, runpy, signal, sys
script, pattern, count, *words = sys.argv[1:]
left = int(count)
def heard(event, details):
    global left
    if event in ("open", "os.rename") and fnmatch.fnmatch(str(details[event == "os.rename"]), pattern):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.argv = [script, *words]
sys.addaudithook(heard)
runpy.run_path(script, run_name="__main__")
END

"$python" - <<'END'
import os, pathlib, shutil
from tests.outliers.analysed import brain_values, write_scan
from tests.small_sets import write_boxes
write_boxes(pathlib.Path("."), 5)
for name, donor in (("a", 3), ("b", 4)):
    values, affine = brain_values(donor)
    write_scan(pathlib.Path("scans", f"{name}.nii.gz"), values, affine)
END
mkdir brain && cp "$old"/examples/brain/*.nii.gz "$old"/examples/brain/atlas-desikankilliany.csv brain

cat > boxes.yaml <<'END'
name: boxes
input: raw
workers: 1
shard_size: 3
contents: {voxels: 64, levels: false, grids: [], boundary: {sigmas: [0.1, 0.01], points: 200}}
splits: {rule: ratios, ratios: {train: 0.6, val: 0.0, test: 0.4}}
END
cat > organs.yaml <<'END'
name: organs
input: brain
kind: labels
workers: 1
labels:
  table: brain/atlas-desikankilliany.csv
  structures:
    - {name: hippocampus, labels: [left hippocampus], side: left}
    - {name: hippocampus, labels: [right hippocampus], side: right, mirror: right}
normalisation: {by: fixed, length: 80}
contents: {voxels: 0, levels: false, grids: [32], boundary: {sigmas: [0.1, 0.03], points: 200}}
splits: {rule: ratios, ratios: {train: 0.66, val: 0.17, test: 0.17}, subject: 'donor_\d+'}
END
cat > autoencoder.yaml <<'END'
name: autoencoder
device: cpu
model:
  type: imnet_autoencoder
  latent: 4
  encoder_channels: [2, 2, 2, 4]
  decoder_widths: [16, 16, 8]
  initialisation: kaiming
data: {path: datasets/boxes}
training:
  batch_shapes: 2
  stages: [{level: boundary, epochs: 40, points: 200}]
  checkpoint_every: 20
  log_every: 10
  optim: {learning_rate: 5.0e-3, ema_decay: 0.9}
  validation: {every: 20, shapes: 3, pictures: 0}
END
cat > gan.yaml <<'END'
name: gan
device: cpu
model: {type: imnet_latent_gan, init_from: runs/autoencoder, generator_widths: [16], critic_widths: [16], noise: 4}
data: {path: datasets/boxes}
training:
  batch_shapes: 2
  stages: [{level: codes, epochs: 20}]
  checkpoint_every: 10
  log_every: 10
  validation: {every: 20, shapes: 3, pictures: 0}
END
cat > hippocampus.yaml <<'END'
name: hippocampus
device: cpu
model: {type: ifnet, resolution: 32, stages: [[2], [4, 4]], decoder_widths: [16], convolution_padding: replicate}
data: {path: datasets/organs, input: {kind: solid, resolution: 32}}
training:
  batch_shapes: 2
  stages: [{level: boundary, epochs: 75, points: 200}]
  checkpoint_every: 300
  log_every: 100
  optim: {learning_rate: 5.0e-3}
  validation: {every: 300, shapes: 4, pictures: 0}
END

stopped() { "$python" stopped.py "$@" || true; }
"$python" -m data_processing --config boxes.yaml
"$python" -m data_processing --config organs.yaml
"$python" "$old/train.py" --config hippocampus.yaml
"$python" "$old/evaluate.py" --run runs/hippocampus --calibrate
stopped "$old/train.py" '*/last.pt' 3 --config autoencoder.yaml
stopped "$old/train.py" '*/last.pt' 3 --config gan.yaml
generate="--resolution 16 --device cpu"
evaluate="--run runs/autoencoder --split test --against voxels --protocol imnet --points 500 --iou-points 500 --workers 1"
analyse="--models runs/hippocampus --input scans --out analysis --device cpu --no-pictures --fpr 0.4"
"$python" "$old/generate.py" --run runs/autoencoder --split test $generate
stopped "$old/generate.py" '*/boxes/box[0-9].ply' 2 --run runs/autoencoder --split train $generate
find . -exec touch -h -d @1790000000 {} +  # an evaluation notes when its files were changed; a checkout does not
stopped "$old/evaluate.py" '*/test/boxes/box[0-9].ply' 2 $evaluate
stopped "$old/analyse.py" '*/b/*' 1 $analyse

mkdir full && cp -a *.yaml brain datasets raw runs scans analysis full && cd full
"$python" "$old/evaluate.py" $evaluate
"$python" "$old/analyse.py" $analyse --resume || true
"$python" "$old/generate.py" --run runs/autoencoder --split train $generate
"$python" "$old/train.py" --config gan.yaml --resume
"$python" "$old/generate.py" --run runs/gan --checkpoint last --samples 2 --seed 0 $generate
"$python" "$old/train.py" --config autoencoder.yaml --resume
"$python" - <<'END'
import json
from pathlib import Path
from data_processing.meshes import read_mesh
from engine.registry import load_run
from engine.run_dir import RunDir
def weights(name):
    loaded = load_run(RunDir(Path("runs", name)), which="last")
    state = loaded.model.state_dict()
    return {"step": loaded.step, "weights": {key: [float(v.double().sum()), float(v.double().norm())] for key, v in state.items()}}
def meshes(folder):
    meshes = {file.stem: read_mesh(file) for file in sorted(Path(folder).rglob("*.ply"))}
    return {n: {"faces": len(m.faces), "mean": m.vertices.astype(float).mean(0).tolist()} for n, m in meshes.items()}
(evaluation,) = Path("runs/autoencoder/evaluation").glob("*imnet*.json")
expected = {
    "training": {name: weights(name) for name in ("autoencoder", "gan")},
    "meshes": {f"{run}/{what}": meshes(f"runs/{run}/meshes/{what}") for run, what in (("autoencoder", "test"), ("autoencoder", "train"), ("gan", "samples"))},
    "evaluation": json.loads(evaluation.read_text()),
    "analysis": json.loads(Path("analysis/results.json").read_text())["rows"],
}
Path("../expected.json").write_text(json.dumps(expected, indent=1) + "\n")
END
cd ..
rm -r full brain stopped.py runs/*/logs runs/*/checkpoints/previous.pt runs/hippocampus/checkpoints/last.pt datasets/*/timings.csv
find . -name ".lock*" -delete -o -name ".partial*" -delete
mv expected.json .. && tar cJf ../left.tar.xz --owner=0 --group=0 --sort=name .
