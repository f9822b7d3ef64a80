"""Real files of every kind, damaged at random: each reader answers with a value or a typed error, in time and memory.

    python -m tests.fuzz [--cases 200] [--seed 0] [--only ply nii ...]

Cases of one kind run in a process of their own with limits on memory and on the seconds of a case; a case that ends
the process (a crash, too much memory, a hang) is reported with its number, and made again by the same seed. A damaged
file may not touch anything outside its folder: the folder above is compared before and after.
"""

import argparse
import gzip
import json
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import nibabel as nib
import numpy as np
import torch
import trimesh
from PIL import Image
from scipy.io import savemat

from data_processing.config import read_yaml
from data_processing.labels import read_table
from data_processing.meshes import read_mesh
from data_processing.nifti import read_mask
from data_processing.pictures import read_picture
from data_processing.point_clouds import read_cloud
from data_processing.storage import open_shapes
from data_processing.voxels import read_voxels
from engine import checkpoint
from tests.conftest import ROOT
from tests.small_sets import write_prepared, write_published

MEMORY = 6 << 30  # bytes of address space beyond what imports take
SECONDS = 20  # of one case
TYPED = (ValueError, OSError)  # OSError: FileNotFoundError, PermissionError and the like

Reader = Callable[[Path], object]
NUMBERS = (
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
    struct.pack("<d", float("nan")),
)
WORDS = (
    b"nan",
    b"1e999",
    b"-1",
    b"99999999999",
    b"0",
    b"../../x",
    b"\x00",
    b"!!python/object/apply:os.system ['x']",
    b"&a [*a,*a]",
)


class TooSlow(Exception):
    """A case took longer than its seconds."""


def damaged(content: bytes, moments: random.Random) -> bytes:
    """One to four damages: cut, flipped, overwritten with large or odd numbers and words, doubled, zeroed, shuffled."""
    data = bytearray(content)
    for _ in range(moments.randint(1, 4)):
        if not data:
            break
        # Headers decide what is allocated: half of all damages hit the first bytes.
        span = min(len(data), 400) if moments.random() < 0.5 else len(data)
        place, how = moments.randrange(span), moments.randrange(7)
        if how == 0:
            del data[place:]
        elif how == 1:
            data[place] ^= 1 << moments.randrange(8)
        elif how in (2, 3):
            word = moments.choice(NUMBERS if how == 2 else WORDS)
            data[place : place + len(word)] = word
        elif how == 4:
            data[place:place] = data[place : place + moments.randrange(1, 64)]
        elif how == 5:
            length = moments.randrange(1, 64)
            data[place : place + length] = bytes(length)
        else:
            del data[place : place + moments.randrange(1, 64)]
    return bytes(data)


def seeds(folder: Path) -> dict[str, tuple[Path, Reader]]:
    """A real file of each kind in the folder, and who reads it."""
    mesh = trimesh.load_mesh(next((ROOT / "examples" / "chair").glob("*.ply")))
    mesh = trimesh.Trimesh(mesh.vertices, mesh.faces[:200])
    found: dict[str, tuple[Path, Reader]] = {}
    for suffix in ("ply", "obj", "stl", "off", "glb"):
        mesh.export(folder / f"mesh.{suffix}")
        found[suffix] = (folder / f"mesh.{suffix}", read_mesh)
    box = np.zeros((24, 24, 24), dtype=np.uint8)
    box[4:12, 6:20, 3:9] = 1
    np.save(folder / "grid.npy", box)
    np.savez_compressed(folder / "grid.npz", occupancy=box)
    (folder / "grid.binvox").write_bytes(
        b"#binvox 1\ndim 24 24 24\ntranslate 0 0 0\nscale 1\ndata\n" + bytes([0, 200, 1, 100] * 46 + [0, 24])
    )
    savemat(
        folder / "grid.mat", {"b": np.ones((8, 16, 16, 16), np.uint8), "bi": np.arange(4096).reshape(16, 16, 16) % 9}
    )
    for suffix in ("npy", "npz", "binvox", "mat"):
        found[suffix] = (folder / f"grid.{suffix}", read_voxels)
    for suffix in ("nii", "nii.gz"):
        nib.save(nib.Nifti1Image(box, np.diag([1.0, 1.5, 2.0, 1.0])), folder / f"mask.{suffix}")
        found[suffix] = (folder / f"mask.{suffix}", read_mask)
    points = np.asarray(mesh.vertices)[:100]
    np.savetxt(folder / "cloud.xyz", points)
    fields = "VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 100\nHEIGHT 1\nPOINTS 100\n"
    (folder / "cloud.pcd").write_bytes(fields.encode() + b"DATA binary\n" + points.astype("<f4").tobytes())
    trimesh.PointCloud(points).export(folder / "cloud.ply")
    for name, suffix in (("xyz", "xyz"), ("pcd", "pcd"), ("cloud", "ply")):
        found[name] = (folder / f"cloud.{suffix}", read_cloud)
    for suffix in ("png", "jpg", "bmp", "webp", "tif"):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)).save(
            folder / f"photo.{suffix}"
        )
        found[suffix] = (folder / f"photo.{suffix}", read_picture)
    shutil.copy(ROOT / "configs" / "imnet" / "small.yaml", folder / "config.yaml")
    found["yaml"] = (folder / "config.yaml", read_yaml)
    (folder / "labels.json").write_text(json.dumps({"labels": {"background": 0, "kidney_left": 2}}))
    found["json"] = (folder / "labels.json", read_table)
    checkpoint.save(folder / "last.pt", {"model": {"a": torch.rand(4, 4)}, "step": 3})
    found["pt"] = (folder / "last.pt", checkpoint.load)
    (folder / "published").mkdir()
    (folder / "prepared").mkdir()
    found["hdf5"] = (write_published(folder / "published", train=1, test=1), _first_row)
    prepared = write_prepared(folder / "prepared", shapes=2)
    found["shard"] = (next((prepared / "shards").glob("*.h5")), lambda file: _first_row(file.parent.parent))
    found["dataset"] = (prepared / "dataset.json", lambda file: _first_row(file.parent))
    return found


def _first_row(path: Path) -> object:
    return open_shapes(path).packed(0)


def _limit_of_time(number: int, frame: FrameType | None) -> None:
    raise TooSlow


def attack(kind: str, file: Path, reader: Reader, *, cases: int, seed: int) -> Counter[str]:
    """Damage one file again and again, in this process, under its limits. Prints a line before each case."""
    whole, around = file.read_bytes(), file.parent.parent
    before = sorted(path.name for path in around.iterdir())
    reader(file)  # the undamaged one is read
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    signal.signal(signal.SIGALRM, _limit_of_time)
    outcomes: Counter[str] = Counter()
    for case in range(cases):
        print(f"case {case}", flush=True)
        content = gzip.decompress(whole) if kind == "nii.gz" and case % 2 else whole
        content = damaged(content, random.Random(f"{seed} {kind} {case}"))
        file.write_bytes(gzip.compress(content) if kind == "nii.gz" and case % 2 else content)
        signal.alarm(SECONDS)
        try:
            reader(file)
            outcomes["read"] += 1
        except TYPED as error:
            outcomes[type(error).__name__] += 1
            if not str(error).strip():
                raise AssertionError(f"{kind} case {case}: an error without a word: {error!r}") from error
        finally:
            signal.alarm(0)
    after = sorted(path.name for path in around.iterdir())
    assert before == after, f"{kind}: files outside the folder: {set(after) ^ set(before)}"
    return outcomes


def fuzz(kinds: list[str], *, cases: int, seed: int) -> list[str]:
    """Attack each kind in a process forked for it; returns a line for each that failed."""
    failed = []
    with tempfile.TemporaryDirectory() as outer:
        folder = Path(outer) / "inside"
        folder.mkdir()
        found = seeds(folder)
        for kind in kinds:
            log = Path(outer) / f"{kind}.log"
            log.touch()
            status = _forked(kind, *found[kind], cases=cases, seed=seed, log=log)
            lines = log.read_text(errors="replace").splitlines()
            if status:
                last = next((line for line in reversed(lines) if line.startswith("case")), "before the first case")
                failed.append(f"{kind}: {last}, status {status}: {lines[-1:]}")
            print(f"{kind:10} {failed[-1] if status else lines[-1]}", flush=True)
    return failed


def _forked(kind: str, file: Path, reader: Reader, *, cases: int, seed: int, log: Path) -> int:
    """The exit status of `attack` in a child; its output goes to a file, whatever ends it."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    status = 1
    try:
        with open(log, "w") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
            sys.stdout = sys.stderr = os.fdopen(1, "w")
            outcomes = attack(kind, file, reader, cases=cases, seed=seed)
            print(", ".join(f"{name} {count}" for name, count in sorted(outcomes.items())), flush=True)
            status = 0
    finally:
        if status:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(status)


KINDS = [
    *("ply", "obj", "stl", "off", "glb", "npy", "npz", "binvox", "mat", "nii", "nii.gz", "xyz", "pcd", "cloud"),
    *("png", "jpg", "bmp", "webp", "tif", "yaml", "json", "pt", "hdf5", "shard", "dataset"),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=KINDS, choices=KINDS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # nothing but this thread may be alive when a child is made
    return bool(fuzz(arguments.only, cases=arguments.cases, seed=arguments.seed))


if __name__ == "__main__":
    sys.exit(main())
