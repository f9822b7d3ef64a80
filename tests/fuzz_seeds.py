"""A real file of every kind that the fuzzer damages, and who reads it."""

import dataclasses
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
import trimesh
from PIL import Image
from scipy.io import savemat

from data_processing.formats.mesh_files import read_mesh
from data_processing.formats.nifti import read_mask
from data_processing.formats.pictures import read_picture
from data_processing.formats.point_clouds import read_cloud
from data_processing.formats.voxel_files import read_voxels
from data_processing.medical.label_names import read_table
from data_processing.medical.label_volumes import label_volume
from data_processing.preparation.contents import RenderingConfig
from data_processing.preparation.renderings import _existing
from data_processing.store.shape_set import open_shapes
from ifnet import published_weights as ifnet_published
from ifnet.published_organs import read_organ_folder
from imnet import published_weights as imnet_published
from isofield import checkpoint
from isofield.config import read_run_config
from isofield.evaluation.pairs import read_manifest
from isofield.generation.manifest import read_line
from isofield.outliers.analysis.journal import line_of_organ, open_journal, rows_of
from isofield.outliers.analysis.rows import new_row
from isofield.outliers.scoring.calibration import Calibration, load_calibration, save_calibration
from isofield.outliers.scoring.scores import scorer_of
from isofield.run_dir import RunDir, manifest_file, preparation_of
from isofield.runtime.config import read_yaml
from isofield.runtime.journal import Journal, journal_file
from isofield.training.frozen_codes import _kept
from isofield.training.imported_weights import read_mapping
from tests.conftest import ROOT
from tests.data_processing.gltf_files import GltfFile
from tests.data_processing.mesh_texts import CORNERS, PLY, STL, TRIANGLES
from tests.ifnet.test_published import narrow, published_checkpoint
from tests.imnet.test_published import published_weights
from tests.small_sets import write_prepared, write_published

Reader = Callable[[Path], object]
Found = dict[str, tuple[Path, Reader]]


def seeds(folder: Path) -> Found:
    """All kinds; what a kind needs beside its file lies in the folder too."""
    return {**shapes(folder), **grids(folder), **texts(folder), **weights(folder), **sets(folder), **results(folder)}


def shapes(folder: Path) -> Found:
    mesh = trimesh.load_mesh(next((ROOT / "examples" / "chair").glob("*.ply")))
    mesh = trimesh.Trimesh(mesh.vertices, mesh.faces[:200])
    found: Found = {}
    for suffix in ("ply", "obj", "stl", "off", "glb"):
        mesh.export(folder / f"mesh.{suffix}")
        found[suffix] = (folder / f"mesh.{suffix}", read_mesh)
    for name, content in (("ply_text", PLY["ascii_texcoords"]), ("ply_mixed", PLY["binary_texcoords_mixed"])):
        (folder / f"{name}.ply").write_bytes(content)
        found[name] = (folder / f"{name}.ply", read_mesh)
    (folder / "text.stl").write_bytes(STL["ascii_two_solids"])
    (folder / "parts.glb").write_bytes(glb_of_all_parts())
    found |= {"stl_text": (folder / "text.stl", read_mesh), "glb_parts": (folder / "parts.glb", read_mesh)}
    (folder / "gltf").mkdir()
    for name, content in trimesh.Scene(mesh).export(file_type="gltf").items():
        (folder / "gltf" / name).write_bytes(content)
    found["gltf"] = (folder / "gltf" / "model.gltf", read_mesh)
    points = np.asarray(mesh.vertices)[:100]
    np.savetxt(folder / "cloud.xyz", points)
    np.savez(folder / "cloud.npz", points=points, normals=points)
    fields = "VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 100\nHEIGHT 1\nPOINTS 100\n"
    (folder / "cloud.pcd").write_bytes(fields.encode() + b"DATA binary\n" + points.astype("<f4").tobytes())
    trimesh.PointCloud(points).export(folder / "cloud.ply")
    for name, suffix in (("xyz", "xyz"), ("pcd", "pcd"), ("cloud", "ply"), ("cloud_npz", "npz")):
        found[name] = (folder / f"cloud.{suffix}", read_cloud)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    for suffix in ("png", "jpg", "bmp", "webp", "tif", "gif"):
        Image.fromarray(pixels).save(folder / f"photo.{suffix}")
        found[suffix] = (folder / f"photo.{suffix}", read_picture)
    (folder / "views" / "a" / "rendering").mkdir(parents=True)
    file = folder / "views" / "a" / "rendering" / "00.png"
    Image.fromarray(pixels[:24, :24]).save(file)
    settings = RenderingConfig(views=1, size=24, folder=folder / "views")
    found["renderings"] = (file, lambda _: _existing(folder / "views", settings, "x/a"))
    return found


def glb_of_all_parts() -> bytes:
    """A box with a skin, a morph target and instances, of accessors that are normalised, sparse and with gaps."""
    file = GltfFile()
    positions = file.accessor(np.array(CORNERS) * 40, "i1", stride=4, normalized=True)
    rows, values = file.view(bytes([6])), file.view(bytes([40, 80, 126]))
    where = {"bufferView": rows, "componentType": 5121}
    file.accessors[positions]["sparse"] = {"count": 1, "indices": where, "values": {"bufferView": values}}
    indices, move = file.accessor(np.array(TRIANGLES).ravel(), "u2"), file.accessor(np.array(CORNERS), "f4")
    attributes = {"POSITION": positions, "JOINTS_0": file.accessor(np.zeros((8, 4)), "u1")}
    attributes["WEIGHTS_0"] = file.accessor(np.tile([255, 0, 0, 0], (8, 1)), "u1", normalized=True)
    places = {"TRANSLATION": file.accessor([[0, 0, 0], [5, 0, 0]], "f4")}
    skin = {"joints": [1], "inverseBindMatrices": file.accessor([np.eye(4).ravel()], "f4")}
    primitives = [{"attributes": attributes, "indices": indices, "targets": [{"POSITION": move}]}]
    strips = [{"attributes": {"POSITION": positions}, "indices": indices, "mode": 5}]
    instancing = {"EXT_mesh_gpu_instancing": {"attributes": places}, "KHR_node_visibility": {"visible": True}}
    nodes = [{"mesh": 0, "skin": 0, "children": [1, 2], "weights": [0.5]}, {"rotation": [0, 0, 0.6, 0.8]}]
    nodes.append({"mesh": 1, "scale": [-1, 1, 1], "extensions": instancing})
    return file.glb(nodes=nodes, skins=[skin], meshes=[{"primitives": primitives}, {"primitives": strips}])


def grids(folder: Path) -> Found:
    box = np.zeros((24, 24, 24), dtype=np.uint8)
    box[4:12, 6:20, 3:9] = 1
    np.save(folder / "grid.npy", box)
    np.savez_compressed(folder / "grid.npz", occupancy=box)
    runs = bytes([0, 200, 1, 100] * 46 + [0, 24])
    (folder / "grid.binvox").write_bytes(b"#binvox 1\ndim 24 24 24\ntranslate 0 0 0\nscale 1\ndata\n" + runs)
    blocks = {"b": np.ones((8, 16, 16, 16), np.uint8), "bi": np.arange(4096).reshape(16, 16, 16) % 9}
    savemat(folder / "grid.mat", blocks)
    savemat(folder / "packed.mat", blocks, do_compression=True)
    found: Found = {suffix: (folder / f"grid.{suffix}", read_voxels) for suffix in ("npy", "npz", "binvox", "mat")}
    found["mat_packed"] = (folder / "packed.mat", read_voxels)
    for suffix in ("nii", "nii.gz"):
        nib.save(nib.Nifti1Image(box, np.diag([1.0, 1.5, 2.0, 1.0])), folder / f"mask.{suffix}")
        found[suffix] = (folder / f"mask.{suffix}", read_mask)
    nib.save(nib.Nifti2Image(box, np.eye(4)), folder / "second.nii")
    found["nii2"] = (folder / "second.nii", label_volume)
    # Written by hand: the library would leave threads behind in the process that is forked.
    head = "NRRD0004\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\nsizes: 24 24 24\nencoding: gzip\n"
    head += "space directions: (1,0,0) (0,1,0) (0,0,2)\nkinds: domain domain domain\nspace origin: (0,0,0)\n"
    head += "Segment0_ID:=a\nSegment0_Name:=liver\nSegment0_LabelValue:=1\nSegment0_Layer:=0\n\n"
    (folder / "mask.seg.nrrd").write_bytes(head.encode() + gzip.compress(box.tobytes()))
    head = "NDims = 3\nDimSize = 24 24 24\nElementType = MET_UCHAR\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n"
    head += "ElementSpacing = 1 1 2\nElementDataFile = LOCAL\n"
    (folder / "mask.mha").write_bytes(head.encode() + box.tobytes())
    found |= {"nrrd": (folder / "mask.seg.nrrd", label_volume), "mha": (folder / "mask.mha", label_volume)}
    return found


def texts(folder: Path) -> Found:
    shutil.copy(ROOT / "configs" / "imnet" / "small.yaml", folder / "config.yaml")
    shutil.copy(ROOT / "configs" / "imnet" / "small.yaml", folder / "run.yaml")
    (folder / "labels.json").write_text(json.dumps({"labels": {"background": 0, "kidney_left": 2}}))
    (folder / "labels.tsv").write_text("index\tname\themisphere\n1\thippocampus\tL\n2\thippocampus\tR\n")
    (folder / "labels.csv").write_text("id,name\n1,liver\n2,spleen\n")
    (folder / "labels.ctbl").write_text("# Color table file\n1 liver 1 2 3 255\n2 left_kidney 4 5 6 255\n")
    found: Found = {kind: (folder / f"labels.{kind}", read_table) for kind in ("json", "tsv", "csv", "ctbl")}
    return found | {
        "yaml": (folder / "config.yaml", read_yaml),
        "config": (folder / "run.yaml", read_run_config),
    }


def weights(folder: Path) -> Found:
    checkpoint.save(folder / "last.pt", {"model": {"a": torch.rand(4, 4)}, "step": 3})
    torch.save(published_weights()[1], folder / "imnet.pth")
    torch.save(published_checkpoint(), folder / "ifnet.tar")
    organ = folder / "5"
    (organ / "checkpoints").mkdir(parents=True)
    (organ / "checkpoints" / "checkpoint_3.tar").touch()
    np.save(organ / "outlier_threshold.npy", np.array([0.5, 0.25]))
    np.savez(folder / "codes.npz", codes=np.zeros((3, 8), np.float32), names=np.array(["a", "b"]), key=np.array("k"))

    def imnet(file: Path) -> object:
        return imnet_published.convert(read_mapping(file, expected="a state_dict"), where=str(file))

    def ifnet(file: Path) -> object:
        state, _ = ifnet_published.state_dict_of(file)
        choices = dataclasses.replace(narrow("voxels_32"), align_corners=True)
        return ifnet_published.convert(state, choices, setup="voxels_32", where=str(file))

    return {
        "pt": (folder / "last.pt", checkpoint.load),
        "pth": (folder / "imnet.pth", imnet),
        "tar": (folder / "ifnet.tar", ifnet),
        "organs": (organ / "outlier_threshold.npy", lambda file: read_organ_folder(file.parent)),
        "codes": (folder / "codes.npz", lambda file: _kept(file, "k")),
    }


def sets(folder: Path) -> Found:
    (folder / "published").mkdir()
    (folder / "prepared").mkdir()
    prepared = write_prepared(folder / "prepared", shapes=2)
    return {
        "hdf5": (write_published(folder / "published", train=1, test=1), _first_row),
        "shard": (next((prepared / "shards").glob("*.h5")), lambda file: _first_row(file.parent.parent)),
        "dataset": (prepared / "dataset.json", lambda file: _first_row(file.parent)),
    }


def results(folder: Path) -> Found:
    run, out = RunDir(folder / "run"), folder / "out"
    scores = np.linspace(0, 1, 30)
    judge = {"names": np.array([], dtype="U1"), "frame": np.array([4.0, 2]), "components/mean": np.zeros(8)}
    judge |= {"components/modes": np.zeros((1, 8)), "components/spread": np.ones(1)}
    group = {"mean": np.zeros(0), "spread": np.zeros(0), "inverse": np.zeros((0, 0)), "tail": np.array([0.0, 1.0])}
    judge |= {f"groups/itself/{key}": values for key, values in group.items()}
    save_calibration(run, Calibration(scores, scores, "abc", "data"), judge)
    run.preparation_file.write_text(json.dumps({"name": "x", "input": ".", "carve": True}))
    manifest = manifest_file(run.meshes("test"))
    manifest.parent.mkdir(parents=True)
    entries = [{"name": f"{n}", "status": "done", "file": f"{n}.ply"} for n in range(3)]
    manifest.write_text(json.dumps({"resolution": 64, "shapes": entries}))
    lines = [{"name": e["name"], "made_from": "x", "row": e, "start": n} for n, e in enumerate(entries[:2])]
    lines.append({**entries[2], "settings": {}, "start": 2})  # of the version before
    journal_file(folder, 0).write_text("".join(json.dumps(line) + "\n" for line in lines))
    out.mkdir()
    row = new_row("a", "a.nii", "liver", "OK", "fine", p=0.5, picture="pictures/a/liver.png")
    told: list[dict[str, object]] = [{"made_with": "x", "row": row, "at": 1}]  # of the version before
    told += [{"name": line_of_organ("a", "liver"), "made_from": "x", "row": row, "start": 2}]
    told += [{"name": "a", "made_from": "x", "row": {"liver": "x"}, "start": 2}]
    journal_file(out, 0).write_text("".join(json.dumps(line) + "\n" for line in told))

    def judged(_: Path) -> object:
        calibration, arrays = load_calibration(run, model_hash="abc")
        return calibration, scorer_of(arrays)

    return {
        "calibration": (run.calibration_file, judged),
        "judge": (run.judge_file, judged),
        "preparation": (run.preparation_file, lambda _: preparation_of(run)),
        "manifest": (manifest, lambda _: read_manifest(run, "test")),
        "generated": (journal_file(folder, 0), lambda file: Journal(file.parent, read=read_line).lines),
        "analysed": (journal_file(out, 0), lambda file: rows_of(open_journal(file.parent), "a")),
    }


def _first_row(path: Path) -> object:
    return open_shapes(path).packed_row(0)
