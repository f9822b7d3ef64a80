"""isofield.load, evaluate, occupancy: the bytes of generate.py, the numbers of evaluate.py, errors by name."""

import csv
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
import trimesh
from nibabel.spatialimages import SpatialImage
from PIL import Image

import isofield
from data_processing.formats.mesh_files import write_mesh
from data_processing.geometry.coordinates import transform_points
from data_processing.geometry.triangle_mesh import TriangleMesh
from data_processing.loading.network_inputs import InputConfig
from isofield import registry
from isofield.commands import evaluate, generate
from isofield.run_dir import RunDir
from tests.commands import call
from tests.isofield.generation.test_latent_shapes import gan  # noqa: F401 (a fixture)
from tests.isofield.generation.test_scans import ORGANS, organs  # noqa: F401 (a fixture)
from tests.isofield.generation.test_view_runs import photo
from tests.isofield.ready_runs import Echo, EchoConfig, make_run, octahedron_weights
from tests.isofield.tiny_field import ready_run

FRAME = np.array([[2.0, 0, 0, 5], [0, 2, 0, -7], [0, 0, 2, 1], [0, 0, 0, 1]])  # not that of the cube


class PictureEcho(Echo):
    """Its field is dark where the picture is, all the way through."""

    def encode(self, inputs: torch.Tensor) -> torch.Tensor:
        return (inputs < 0.5).float().expand(-1, inputs.shape[-1], -1, -1)

    def losses(self, batch: object) -> None:
        raise NotImplementedError


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind in (("echo", Echo), ("picture_echo", PictureEcho)):
        monkeypatch.setitem(registry.MODELS, name, (EchoConfig, kind))


@pytest.fixture
def solid(prepared: Path, tmp_path: Path, models: None) -> RunDir:
    """It gives back the cells that it was shown."""
    return ready_run(prepared, tmp_path / "solid", section=InputConfig("solid", 64), model="echo")


@pytest.fixture
def points(prepared: Path, tmp_path: Path, models: None) -> RunDir:
    return ready_run(prepared, tmp_path / "points", section=InputConfig("points", 16, points=300), model="echo")


@pytest.fixture
def pictures(prepared: Path, tmp_path: Path, models: None) -> RunDir:
    return ready_run(prepared, tmp_path / "pictures", section=InputConfig("view", 32), model="picture_echo")


@pytest.fixture(scope="module")
def autoencoder(boxes: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """IM-NET whose codes decode to octahedra."""
    return make_run(boxes, tmp_path_factory.mktemp("octahedra"))


def box_mesh() -> trimesh.Trimesh:
    """Three different edges, off-centre, in a frame of its own."""
    box = trimesh.creation.box(extents=(0.9, 0.5, 0.3))
    return trimesh.Trimesh(transform_points(box.vertices, FRAME), box.faces, process=False)


def box_voxels() -> np.ndarray:
    voxels = np.zeros((24, 16, 12), dtype=bool)
    voxels[3:20, 4:9, 2:11] = True
    return voxels


def written(mesh: trimesh.Trimesh, folder: Path) -> bytes:
    """The bytes of the file that generate.py would write."""
    write_mesh(folder / "written.ply", TriangleMesh(np.asarray(mesh.vertices), np.asarray(mesh.faces)))
    return (folder / "written.ply").read_bytes()


def generated(run: RunDir, out: Path, *arguments: object) -> Path:
    assert call(generate.main, "--run", run.path, "--device", "cpu", "--resolution", 32, "--out", out, *arguments) == 0
    return out


def test_the_bytes_of_generate_for_files_and_for_what_they_hold(solid: RunDir, tmp_path: Path):
    files = [tmp_path / name for name in ("mesh.ply", "grid.npy", "scan.nii.gz")]
    voxels, affine = box_voxels(), np.diag([-2.0, 1.5, 3.0, 1.0])
    write_mesh(files[0], TriangleMesh(np.asarray(box_mesh().vertices), np.asarray(box_mesh().faces)))
    np.save(files[1], voxels)
    image = nibabel.Nifti1Image(voxels.astype(np.int16), affine)
    nibabel.save(image, files[2])
    out = generated(solid, tmp_path / "out", "--input", *files)
    in_memory: list[list[Any]] = [
        [trimesh.load_mesh(files[0], process=False)],
        [voxels, voxels.astype(np.uint8), voxels.astype(np.float32)],
        [image, nibabel.load(files[2])],
    ]
    run = isofield.load(solid.path, device="cpu")
    for file, objects in zip(files, in_memory, strict=True):
        expected = (out / f"{file.name.partition('.')[0]}.ply").read_bytes()
        for given in [file, str(file), *objects]:
            assert written(run.reconstruct(given, resolution=32), tmp_path) == expected, type(given)
    for given in in_memory[2]:
        mask = run.reconstruct(given, resolution=32, as_mask=True)
        expected_mask: Any = nibabel.load(out / "scan_recon.nii.gz")
        np.testing.assert_array_equal(mask.get_fdata(), expected_mask.get_fdata())
        np.testing.assert_array_equal(mask.affine, affine)
        assert 0.9 < (mask.get_fdata().astype(bool) & voxels).sum() / voxels.sum() <= 1


def test_points_are_drawn_by_name(points: RunDir, tmp_path: Path):
    cloud, _ = trimesh.sample.sample_surface(box_mesh(), 5000, seed=1)
    cloud = np.asarray(cloud)
    np.save(tmp_path / "cloud.npy", cloud)
    expected = (generated(points, tmp_path / "out", "--input", tmp_path / "cloud.npy") / "cloud.ply").read_bytes()
    run = isofield.load(points.path, device="cpu")
    assert written(run.reconstruct(tmp_path / "cloud.npy", resolution=32), tmp_path) == expected
    assert written(run.reconstruct(cloud, resolution=32, name="cloud"), tmp_path) == expected
    assert written(run.reconstruct(cloud, resolution=32), tmp_path) != expected  # other points of 5000
    assert len(run.reconstruct(box_mesh(), resolution=32).faces)  # sampled as the training data were


def test_what_generate_notes_is_a_warning(points: RunDir, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    cloud = np.random.default_rng(0).random((400, 3))
    cloud[7] = np.nan
    np.save(tmp_path / "cloud.npy", cloud)
    generated(points, tmp_path / "out", "--input", tmp_path / "cloud.npy")
    note = "cloud: 1 of 400 points without numbers left out"
    assert f"note: {note}" in capsys.readouterr().out
    run = isofield.load(points.path, device="cpu")
    for given in (cloud, tmp_path / "cloud.npy"):
        with pytest.warns(UserWarning, match=note):
            run.encode(given, name="cloud")


def test_pictures(pictures: RunDir, tmp_path: Path):
    file = photo(tmp_path / "photo.png")
    expected = (generated(pictures, tmp_path / "out", "--input", file) / "photo.ply").read_bytes()
    run = isofield.load(pictures.path, device="cpu")
    for given in (file, Image.open(file), Image.open(file).convert("L")):
        assert written(run.reconstruct(given, resolution=32), tmp_path) == expected
    assert len(run.reconstruct(box_mesh(), resolution=32).faces)  # rendered


def test_parts_of_label_volumes(organs: RunDir, tmp_path: Path):  # noqa: F811
    file = tmp_path / "raw" / "one.nii.gz"
    out = generated(organs, tmp_path / "out", "--input", file)
    run, image = isofield.load(organs.path, device="cpu"), nibabel.load(file)
    for pattern, part in zip(ORGANS, ("liver", "kidney/left", "kidney/right"), strict=True):
        expected = (out / f"{pattern.format('one')}.ply").read_bytes()
        mask: Any = nibabel.load(out / f"{pattern.format('one')}_recon.nii.gz")
        for given in (file, image):
            assert written(run.reconstruct(given, part=part, resolution=32), tmp_path) == expected
            ours = run.reconstruct(given, part=part, resolution=32, as_mask=True)
            np.testing.assert_array_equal(ours.get_fdata(), mask.get_fdata())
    for given in (file, image):
        with pytest.raises(ValueError, match="liver, kidney/left, kidney/right"):
            run.reconstruct(given)
        with pytest.raises(ValueError, match="spleen"):
            run.reconstruct(given, part="spleen")


def test_a_shape_is_encoded_once_and_asked_often(solid: RunDir, tmp_path: Path):
    run, mesh = isofield.load(solid.path, device="cpu"), box_mesh()
    code = run.encode(mesh)
    assert written(run.reconstruct(code, resolution=32), tmp_path) == written(
        run.reconstruct(mesh, resolution=32), tmp_path
    )
    asked = transform_points(np.array([[0, 0, 0], [0.4, 0, 0], [0, 0.4, 0], [0, 0, 0.2], [9, 9, 9]]), FRAME)
    for given in (mesh, code):
        values = run.field(asked, given)
        assert (values[:4] > run.iso_level).tolist() == [True, True, False, False] and np.isnan(values[4])
    assert run.field(asked[:0], code).shape == (0,)


def test_walks_and_samples_are_those_of_generate(
    autoencoder: RunDir,
    gan: Path,  # noqa: F811
    tmp_path: Path,
):
    run, ends = isofield.load(autoencoder.path, device="cpu"), [tmp_path / "a.npy", tmp_path / "b.npy"]
    for file, voxels in zip(ends, (box_voxels(), box_voxels().transpose(2, 0, 1)), strict=True):
        np.save(file, voxels)
    out = generated(autoencoder, tmp_path / "walk", "--interpolate", *ends, "--steps", 3)
    expected = [(out / f"step-{number:03d}.ply").read_bytes() for number in range(3)]
    for a, b in (ends, map(np.load, ends), (run.encode(ends[0]), ends[1])):
        assert [written(mesh, tmp_path) for mesh in run.interpolate(a, b, 3, resolution=32)] == expected
    out = generated(RunDir(gan), tmp_path / "samples", "--samples", 2, "--seed", 5)
    meshes = isofield.load(gan, device="cpu").sample(2, 5, resolution=32)
    assert [written(m, tmp_path) for m in meshes] == [(out / f"sample-{n:04d}.ply").read_bytes() for n in range(2)]


def test_the_second_call_costs_the_extraction_alone(boxes: Path, tmp_path: Path, one_thread: None):
    """A network of the demo's size; of a mesh in memory, which takes longer to prepare than to reconstruct."""
    sizes = {"latent": 128, "encoder_channels": [8, 16, 32, 64], "decoder_widths": [512, 512, 256]}
    model = {"type": "imnet_autoencoder", **sizes}
    run = isofield.load(make_run(boxes, tmp_path, model=model).path, checkpoint="last", device="cpu")
    run.model.load_state_dict(octahedron_weights(run.model.state_dict()))
    first, code = run.reconstruct(box_mesh(), resolution=64), run.encode(box_mesh())
    alone: list[float] = []
    again: list[float] = []
    for _ in range(4):
        for given, seconds in ((code, alone), (box_mesh(), again)):
            began = time.process_time()
            mesh = run.reconstruct(given, resolution=64)
            seconds.append(time.process_time() - began)
            assert written(mesh, tmp_path) == written(first, tmp_path)
    assert min(again) < 1.5 * min(alone) + 0.05
    other = box_mesh()
    other.vertices[0] *= 1.5  # the same object with other content is another shape
    assert written(run.reconstruct(other, resolution=64), tmp_path) != written(first, tmp_path)


BAD_INPUTS: dict[str, tuple[Any, str]] = {
    "rank": (np.zeros((2, 4, 4, 4)), r"\(2, 4, 4, 4\)"),
    "columns": (np.zeros((5, 2)), r"\(N, 3\).*\(5, 2\)"),
    "dtype": (np.zeros((4, 4, 4), dtype=complex), "complex128"),
    "words": (np.full((4, 4, 4), "in"), "<U2"),
    "labels": (np.arange(64).reshape(4, 4, 4), r"0 and 1, got 2 in 62 of 64"),
    "NaN voxels": (np.full((4, 4, 4), np.nan), "0 and 1, got nan"),
    "no object": (np.zeros((4, 4, 4), dtype=bool), "the array: no voxel.*1 or True"),
    "NaN vertex": (trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, np.nan, 0]], [[0, 1, 2]], process=False), "NaN"),
    "no faces": (trimesh.Trimesh(), "no triangles"),
    "scene": (trimesh.Scene([trimesh.creation.box()]), r"Scene.*to_mesh\(\)"),
    "tensor": (torch.zeros(4, 4, 4), "got torch.Tensor"),
    "nothing": (None, "NoneType"),
    "points": (np.random.default_rng(0).random((9, 3)), "the array is a point cloud.*solid at 64"),
    "picture": (Image.new("RGB", (99, 99)), "the picture is a picture.*solid at 64"),
    "volumes": (nibabel.Nifti1Image(np.ones((4, 4, 4, 2), np.uint8), np.eye(4)), r"the scan.*\(4, 4, 4, 2\)"),
    "flat": (SpatialImage(np.ones((4, 4, 4), np.uint8), np.diag([1.0, 1, 0, 1])), "the scan.*not invertible"),
    "empty scan": (nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), "the scan.*threshold"),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_what_is_no_shape_is_one_error(solid: RunDir, case: str):
    given, expected = BAD_INPUTS[case]
    with pytest.raises(ValueError, match=expected):
        isofield.load(solid.path, device="cpu").reconstruct(given)


def test_other_wrong_calls(solid: RunDir, points: RunDir, pictures: RunDir, autoencoder: RunDir, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nowhere is not a run.*tiny"):
        isofield.load(solid.path.parent / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"'7'.*best"):
        isofield.load(solid.path, checkpoint=7)
    with pytest.raises(ValueError, match="gpu"):
        isofield.load(solid.path, device="gpu")
    run = isofield.load(solid.path, device="cpu")
    with pytest.raises(FileNotFoundError, match=r"none\.ply"):
        run.reconstruct(tmp_path / "none.ply")
    with pytest.raises(ValueError, match="as_mask"):
        run.reconstruct(box_mesh(), resolution=32, as_mask=True)
    with pytest.raises(ValueError, match=r"name: .*x; got 'y'"):
        run.reconstruct(saved_box(tmp_path / "x.ply"), name="y")
    with pytest.raises(ValueError, match=r"part.*liver"):
        run.reconstruct(saved_box(tmp_path / "x.ply"), part="liver")
    with pytest.raises(ValueError, match="one vector"):
        run.interpolate(box_mesh(), box_mesh(), 3, resolution=32)
    with pytest.raises(ValueError, match="imnet_latent_gan"):
        run.sample(3)
    for wrong in (np.zeros(3), np.zeros((2, 2)), np.full((1, 3), np.nan)):
        with pytest.raises(ValueError, match="points"):
            run.field(wrong, box_mesh())
    cloud = np.full((9, 3), np.nan)
    with pytest.raises(ValueError, match="NaN"):
        isofield.load(points.path, device="cpu").reconstruct(cloud)
    with pytest.raises(ValueError, match=r"nothing stands out.*RGBA"):
        isofield.load(pictures.path, device="cpu").reconstruct(Image.new("RGB", (99, 99), "white"))
    with pytest.raises(ValueError, match=r"path of a run.* 3"):
        isofield.load(3)
    with pytest.raises(ValueError, match=r"resolution: .*'64'"):
        run.reconstruct(box_mesh(), resolution="64")
    with pytest.raises(ValueError, match="steps"):
        isofield.load(autoencoder.path, device="cpu").interpolate(box_voxels(), box_voxels(), 1)
    with pytest.raises(ValueError, match="batch_points"):
        run.reconstruct(box_voxels(), batch_points=0)


def saved_box(file: Path, *, scale: float = 1.0) -> Path:
    write_mesh(file, TriangleMesh(np.asarray(box_mesh().vertices) * scale, np.asarray(box_mesh().faces)))
    return file


def test_the_numbers_of_evaluate(tmp_path: Path):
    for folder, scale in (("pred", 1.01), ("gt", 1.0)):
        (tmp_path / folder).mkdir()
        saved_box(tmp_path / folder / "box.ply", scale=scale)
    words = ("--points", 2000, "--iou-points", 3000, "--seed", 4, "--pictures", 0, "--protocol", "onet", "imnet")
    folders = ("--pred", tmp_path / "pred", "--gt", tmp_path / "gt")
    assert call(evaluate.main, *folders, *words, "--out", tmp_path / "out") == 0
    files = [tmp_path / folder / "box.ply" for folder in ("pred", "gt")]
    meshes = [trimesh.load_mesh(file, process=False) for file in files]
    counts: dict[str, Any] = {"points": 2000, "iou_points": 3000, "seed": 4}
    for protocol in ("onet", "imnet"):
        with open(tmp_path / "out" / f"{protocol}.csv", newline="") as handle:
            (expected,) = [row for row in csv.DictReader(handle) if row["name"] == "box"]
        rows = [
            isofield.evaluate(files[0], files[1], protocol, **counts),
            isofield.evaluate(meshes[0], meshes[1], protocol, name="box", **counts),
        ]
        assert rows[0] == rows[1]
        for metric in ("chamfer", "normal_consistency", "f_score", "iou"):
            assert float(expected[metric]) == pytest.approx(rows[0][metric], rel=1e-9), metric
    assert isofield.evaluate(files[0], files[1], **counts) == isofield.evaluate(files[0], files[1], "onet", **counts)


def test_ground_truths_of_every_kind(tmp_path: Path):
    mesh, counts = box_mesh(), {"points": 500, "iou_points": 500}
    assert isofield.evaluate(mesh, mesh, **counts)["iou"] == 1
    cloud = isofield.evaluate(mesh, np.asarray(mesh.vertices), **counts)
    assert cloud["ground_truth"] == "points" and cloud["iou"] is None
    image = nibabel.Nifti1Image(box_voxels().astype(np.uint8), np.eye(4))
    assert isofield.evaluate(mesh, image, **counts)["ground_truth"] == "voxels"
    assert isofield.evaluate(image, image, "masks")["dice"] == 1
    nibabel.save(image, tmp_path / "mask.nii.gz")
    assert isofield.evaluate(tmp_path / "mask.nii.gz", image, "masks")["hd"] == 0
    with pytest.raises(FileNotFoundError, match=r"ground truth: .*none\.ply"):
        isofield.evaluate(mesh, tmp_path / "none.ply")
    with pytest.raises(ValueError, match=r"prediction: .*ndarray"):
        isofield.evaluate(np.zeros((4, 4, 4)), mesh)
    with pytest.raises(ValueError, match="did you mean 'onet'"):
        isofield.evaluate(mesh, mesh, "onnet")
    with pytest.raises(ValueError, match="set of shapes"):
        isofield.evaluate(mesh, mesh, "generative")
    with pytest.raises(ValueError, match="picture"):
        isofield.evaluate(mesh, Image.new("L", (9, 9)))


def test_occupancy_of_a_box_by_its_formula(tmp_path: Path):
    cells, to_world = isofield.occupancy(box_mesh(), 40)
    assert cells.shape == (40, 40, 40) and cells.dtype == bool
    centres = (np.arange(40) + 0.5) / 40 - 0.5
    cube = np.stack(np.meshgrid(centres, centres, centres, indexing="ij"), -1).reshape(-1, 3)
    own = transform_points(transform_points(cube, to_world), np.linalg.inv(FRAME))
    inside = (np.abs(own) < np.array([0.9, 0.5, 0.3]) / 2).all(axis=1)
    np.testing.assert_array_equal(cells.reshape(-1), inside)
    from_file, _ = isofield.occupancy(saved_box(tmp_path / "box.ply"), 40)
    np.testing.assert_array_equal(from_file, cells)
    with pytest.raises(ValueError, match="resolution"):
        isofield.occupancy(box_mesh(), 1)
    with pytest.raises(ValueError, match="ndarray"):
        isofield.occupancy(np.zeros((3, 3)), 8)


def test_a_run_says_what_it_is(autoencoder: RunDir):
    run = isofield.load(str(autoencoder.path), device="cpu")
    assert "imnet_autoencoder" in repr(run) and "voxels at 64" in repr(run)
    assert isinstance(run, isofield.Run) and run.path == autoencoder.path and run.step == 0
    assert {"load", "evaluate", "occupancy", "Run"} <= set(dir(isofield))
