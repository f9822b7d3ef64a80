"""Whole evaluations of shapes whose answer is known, from files to JSON."""

import csv
import json

import numpy as np
import pytest
import trimesh

from data_processing.formats.mesh_files import read_mesh, write_mesh
from data_processing.formats.point_clouds import PointCloud, write_cloud
from data_processing.geometry.triangle_mesh import TriangleMesh, is_watertight
from isofield.evaluation.ground_truth import MeshTruth
from isofield.evaluation.pairs import FileTruth, Pair, pairs_of_folders
from isofield.evaluation.protocols import METRICS, PROTOCOLS, find_protocol, find_protocols
from isofield.evaluation.rows import SampleCounts, compare, evaluate_pair
from isofield.evaluation.tables import summarise, table, write_csv, write_json
from isofield.reports.pairs import write_report
from tests.plain_ways import evaluate_pairs

FEW = SampleCounts(seed=3, points=4000, iou_points=20_000)
EDGES = np.array([1.0, 0.6, 0.3])
pytestmark = pytest.mark.usefixtures("one_thread")


def box(shift=(0.0, 0.0, 0.0), *, scale=1.0, flipped=False) -> TriangleMesh:
    """An off-centre box with three different sides; the longest is `scale`."""
    corner = np.array([2.0, -1.0, 5.0]) + shift
    solid = trimesh.creation.box(bounds=np.stack([corner, corner + EDGES]) * scale)
    faces = np.asarray(solid.faces, dtype=np.int64)
    return TriangleMesh(np.asarray(solid.vertices), faces[:, ::-1] if flipped else faces)


def sphere(radius: float) -> TriangleMesh:
    ball = trimesh.creation.icosphere(subdivisions=5, radius=radius)
    return TriangleMesh(np.asarray(ball.vertices) + np.array([1, 2, 3]), np.asarray(ball.faces, dtype=np.int64))


def measured(
    prediction: TriangleMesh, truth: TriangleMesh, protocol: str, draws: SampleCounts = FEW
) -> dict[str, float]:
    return compare(
        prediction, MeshTruth(truth), find_protocol(protocol), draws, name="shape", watertight=is_watertight(prediction)
    )


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("onet", 10 * 0.1 / 2),  # gap 0.1 in a truth whose longest edge 2 becomes 1; the half sum of equal halves
        ("imnet", 1000 * 2 * (0.1 / (2 * np.sqrt(3))) ** 2),
        ("ifnet", (0.1 / 2) ** 2),
        ("deepsdf", 2 * 0.1**2),
        ("3dshape2vecset", 2 * 0.1),
    ],
)
def test_concentric_spheres_under_every_protocol(protocol, expected):
    values = measured(sphere(0.9), sphere(1.0), protocol, SampleCounts(points=30_000, iou_points=1000))
    # Never below; above by the distance between neighbouring samples (4 / 30,000 of a squared 0.01 at most).
    assert expected <= values["chamfer"] < 1.02 * expected


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "deepsdf"])
def test_the_unit_of_the_files_does_not_matter(protocol):
    small, large = (measured(box([0, 0, 0.05], scale=s), box(scale=s), protocol) for s in (1.0, 1000.0))
    for key in METRICS:
        assert small[key] == pytest.approx(large[key], rel=1e-6), key


@pytest.mark.parametrize("protocol", ["onet", "ifnet"])
def test_shifted_boxes_have_the_iou_of_their_volumes(protocol):
    draws = SampleCounts(points=100, iou_points=200_000)
    values = measured(box([0, 0, 0.1]), box(), protocol, draws)  # a third of the third side
    assert values["iou"] == pytest.approx(0.2 / 0.4, abs=0.01)


def test_iou_counts_what_lies_outside_of_the_box_of_the_truth():
    """A prediction twice as long as the truth has an IoU of a half, not of one."""
    longer = TriangleMesh(np.where(box().vertices == 3.0, 4.0, box().vertices), box().faces)
    assert measured(longer, box(), "ifnet")["iou"] == pytest.approx(0.5, abs=0.02)


def test_flipped_faces_show_in_the_signed_agreement_alone():
    values = measured(box(flipped=True), box(), "onet")
    assert values["signed_normal_agreement"] < -0.95
    assert values["normal_consistency"] > 0.95
    assert values["iou"] == 1


def test_a_perfect_prediction_is_as_good_as_the_draw():
    values = measured(box(), box(), "onet", SampleCounts(points=20_000, iou_points=1000))
    assert 0 < values["chamfer"] / 10 < 0.01  # two draws of the same surface: not zero
    assert values["iou"] == 1


def test_the_seed_and_the_name_make_the_draw():
    first, again = measured(box(), box([0, 0.1, 0]), "onet"), measured(box(), box([0, 0.1, 0]), "onet")
    other = measured(box(), box([0, 0.1, 0]), "onet", SampleCounts(seed=4, points=4000, iou_points=20_000))
    assert first == again
    assert first["chamfer"] != other["chamfer"]


@pytest.fixture
def folders(tmp_path):
    """Seven shapes of two categories, of which three can be evaluated."""
    for name in ("chair/a", "chair/b", "table/c", "table/missing", "table/empty", "table/nan", "sofa/bad_truth"):
        write_mesh(tmp_path / "gt" / f"{name}.ply", box())
        write_mesh(tmp_path / "pred" / f"{name}.obj", box([0, 0, 0.05 if name == "chair/b" else 0.0]))
    (tmp_path / "pred/table/missing.obj").unlink()
    (tmp_path / "pred/table/empty.obj").write_text("v 0 0 0\n")
    broken = (tmp_path / "pred/table/nan.obj").read_text().replace("v ", "v nan ")
    (tmp_path / "pred/table/nan.obj").write_text(broken)
    (tmp_path / "gt/sofa/bad_truth.ply").write_bytes(b"ply\nnonsense")
    return tmp_path


def evaluated(folders, *names: str, workers: int = 1):
    pairs = pairs_of_folders(folders / "pred", folders / "gt")
    protocols = find_protocols(names)
    rows = evaluate_pairs(pairs, protocols, FEW, workers=workers, progress=False)
    return [summarise(rows[p.name], p, FEW, split="test", about={"run": "x"}) for p in protocols]


def test_failed_shapes_are_rows_with_reasons_beside_the_mean(folders):
    (result,) = evaluated(folders, "onet")
    assert (result["n"], result["failed_count"], len(result["per_shape"])) == (3, 4, 7)
    reasons = {failure["name"]: failure["reason"] for failure in result["failed"]}
    assert "no prediction" in reasons["table/missing"]
    assert "prediction: " in reasons["table/empty"]
    assert "prediction: " in reasons["table/nan"]
    assert "ground truth: " in reasons["sofa/bad_truth"]
    done = [row["chamfer"] for row in result["per_shape"] if row["status"] == "done"]
    assert result["mean"]["chamfer"] == pytest.approx(np.mean(done))
    nothing = {"median": dict.fromkeys(METRICS), "infinite": {}}
    expected = {"n": 0, "failed_count": 1} | dict.fromkeys([*METRICS, "watertight"]) | nothing
    assert result["per_category"]["sofa"] == expected
    chairs, tables = result["per_category"]["chair"], result["per_category"]["table"]
    assert (chairs["n"], tables["n"], tables["failed_count"]) == (2, 1, 3)
    assert result["mean_per_category"]["chamfer"] == pytest.approx((chairs["chamfer"] + tables["chamfer"]) / 2)
    assert result["mean"]["watertight"] == 1


def test_the_json_keeps_the_contract(folders):
    results = evaluated(folders, "imnet", "onet")
    for result in results:
        write_json(folders / "out.json", result)
        read = json.loads((folders / "out.json").read_text())
        assert {"protocol", "split", "n", "failed", "mean", "per_category", "per_shape", "settings"} <= set(read)
        assert {"points", "seed", "scale", "units"} <= set(read["settings"])
        assert set(METRICS) <= set(read["mean"])
        assert set(METRICS) <= set(read["settings"]["units"])
        assert read["settings"]["points"] == 4000
        assert read["settings"]["seed"] == 3
    assert [result["protocol"] for result in results] == ["imnet", "onet"]


def test_every_line_of_the_csv_says_protocol_points_seed_and_unit(folders):
    (result,) = evaluated(folders, "onet")
    write_csv(folders / "out.csv", result)
    with open(folders / "out.csv", encoding="utf-8", newline="") as handle:
        lines = list(csv.DictReader(handle))
    assert len(lines) == 7
    assert {(line["protocol"], line["points"], line["seed"], line["split"]) for line in lines} == {
        ("onet", "4000", "3", "test")
    }
    assert all("longest edge" in line["chamfer_unit"] for line in lines)
    assert [line["reason"] != "" for line in lines] == [line["status"] == "failed" for line in lines]


def test_any_number_of_processes_gives_the_same_rows(folders):
    assert evaluated(folders, "imnet", workers=1) == evaluated(folders, "imnet", workers=2)


def test_the_table_names_what_failed(folders):
    (result,) = evaluated(folders, "onet")
    text = table(result)
    assert "failed: table/missing: no prediction" in text
    assert "4,000 points, seed 3" in text


def test_a_cloud_has_no_iou_and_that_is_counted(tmp_path):
    points = np.random.default_rng(0).normal(size=(500, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    (tmp_path / "gt").mkdir()
    np.savez(tmp_path / "gt/ball.npz", points=points, normals=points)
    ball = trimesh.creation.icosphere(subdivisions=4)
    write_mesh(
        tmp_path / "pred/ball.ply", TriangleMesh(np.asarray(ball.vertices), np.asarray(ball.faces, dtype=np.int64))
    )
    (result,) = evaluated(tmp_path, "onet")
    assert result["mean"]["iou"] is None
    assert result["undefined"] == {"iou": 1}
    assert result["mean"]["normal_consistency"] > 0.95
    assert "-" in table(result)


def test_a_pair_without_a_side_is_a_failed_row():
    rows = evaluate_pair(Pair("a", "all", None, None, "no prediction: nothing"), find_protocols(["onet", "imnet"]), FEW)
    assert [row["status"] for row in rows] == ["failed", "failed"]
    assert rows[0]["reason"] == "no prediction: nothing"


def test_draws_refuse_a_count_below_one():
    with pytest.raises(ValueError, match=r"\b1, .*\b0\b"):
        SampleCounts(points=0)


def test_light_field_distances_of_pairs(examples, tmp_path):
    """Numbers of the published program between two chairs; of a cloud nobody can tell, by points one can."""
    first, second = (examples / "chair" / f"BlendSwap_CC_0_{name}.ply" for name in ("93_Chair", "114_Chair"))
    write_cloud(tmp_path / "cloud.ply", PointCloud(read_mesh(first).vertices, None))
    truths = (second, first, tmp_path / "cloud.ply")
    pairs = [Pair(str(number), "chair", first, FileTruth(path)) for number, path in enumerate(truths)]
    protocols = find_protocols(["lfd", "imnet"])
    draws = SampleCounts(points=200, iou_points=50)
    rows = evaluate_pairs(pairs, protocols, draws, light_fields=tmp_path / "kept", progress=False)
    assert rows["lfd"][0]["lfd"] == pytest.approx(6924, abs=3)
    assert rows["lfd"][1]["lfd"] == 0
    assert "no silhouettes" in rows["lfd"][2]["reason"]
    assert [row["status"] for row in rows["imnet"]] == ["done"] * 3
    assert len(list((tmp_path / "kept").iterdir())) == 2
    evaluation = summarise(rows["lfd"], protocols[0], draws, split=None, about={})
    assert (evaluation["n"], evaluation["failed_count"]) == (2, 1)
    assert evaluation["mean"]["lfd"] == rows["lfd"][0]["lfd"] / 2
    assert "lfd: each mesh by itself" in table(evaluation)
    write_csv(tmp_path / "lfd.csv", evaluation)
    assert [row["lfd"] for row in csv.DictReader((tmp_path / "lfd.csv").open())][1:] == ["0.0", ""]
    write_report(tmp_path / "report.html", [evaluation], pairs, title="chairs", pictures=1)
    assert "mean LFD" in (tmp_path / "report.html").read_text()


def sheets_wound_at_random() -> TriangleMesh:
    """Quads that enclose nothing and point anywhere: nobody can say what is inside."""
    generator = np.random.default_rng(0)
    corners = generator.uniform(-1, 1, (60, 3, 3))
    return TriangleMesh(corners.reshape(-1, 3), np.arange(180).reshape(-1, 3))


def test_suspect_sides_are_named_in_rows_tables_and_page(tmp_path):
    for side in ("predicted", "true"):
        write_mesh(tmp_path / side / "sound.ply", box())
        write_mesh(tmp_path / side / "doubtful.ply", sheets_wound_at_random() if side == "true" else box())
    pairs, protocols = pairs_of_folders(tmp_path / "predicted", tmp_path / "true"), find_protocols(["imnet"])
    pairs.append(Pair("stored", "all", pairs[1].prediction, pairs[1].truth, doubt="only known to preparation"))
    draws = SampleCounts(points=500, iou_points=500)
    rows = evaluate_pairs(pairs, protocols, draws)["imnet"]
    evaluation = summarise(rows, protocols[0], draws, split=None, about={})
    assert [row["name"] for row in rows] == ["doubtful", "sound", "stored"]
    assert rows[0]["suspect"].startswith("ground truth: ") and rows[1]["suspect"] == ""
    assert [shape["name"] for shape in evaluation["suspect"]][:1] == ["doubtful"]
    assert f"suspect: doubtful: {rows[0]['suspect']}" in table(evaluation)
    write_csv(tmp_path / "rows.csv", evaluation)
    with open(tmp_path / "rows.csv", newline="") as handle:
        assert [line["suspect"] for line in csv.DictReader(handle)][:2] == [rows[0]["suspect"], ""]
    write_report(tmp_path / "report.html", [evaluation], pairs[:2], title="t")
    page = (tmp_path / "report.html").read_text()
    assert "Suspect shapes" in page and page.count("suspect: ground truth") == 1


def test_what_preparation_says_of_a_shape_stands_in_its_row(tmp_path):
    write_mesh(tmp_path / "a.ply", box())

    truth = FileTruth(tmp_path / "a.ply")
    pair = Pair("a", "all", tmp_path / "a.ply", truth, doubt="sheets wound at random")
    lfd = evaluate_pair(pair, find_protocols(["lfd"]), SampleCounts())
    assert lfd[0]["suspect"] == "ground truth: sheets wound at random"


def test_a_median_and_the_count_of_infinite_values_stand_beside_every_mean(tmp_path):
    protocol, draws = find_protocol("imnet"), SampleCounts(points=500)
    other = dict.fromkeys(protocol.metrics, 1.0) | {"watertight": True, "status": "done", "reason": "", "note": ""}
    values = {"a/0": 1.0, "a/1": 2.0, "a/2": 30.0, "b/0": 4.0, "b/1": float("inf")}
    rows = [other | {"name": name, "category": name[0], "chamfer": value} for name, value in values.items()]
    evaluation = summarise(rows, protocol, draws, split=None, about={})
    assert evaluation["per_category"]["a"]["median"]["chamfer"] == 2
    assert evaluation["per_category"]["b"]["infinite"] == {"chamfer": 1} and evaluation["infinite"] == {"chamfer": 1}
    assert evaluation["median"]["chamfer"] == 4
    lines = [line.split() for line in table(evaluation).splitlines()]
    assert [line[0] for line in lines[1:]].count("median") == 4 and lines[6][:4] == ["infinite", "1", "0", "0"]
    write_report(tmp_path / "page.html", [evaluation], [], title="t")
    page = (tmp_path / "page.html").read_text()
    assert page.count(">median</th>") == 2 and page.count(">infinite</th>") == 1
    assert "median over categories" in page and "infinite over shapes" in page


@pytest.mark.parametrize("moved", [False, True])
def test_a_prediction_in_the_frame_before_normalisation_is_suspect(tmp_path, moved):
    """`loc` and `scale` of Occupancy Networks lead from the points to the mesh they were made from."""
    place, size = np.array([3.0, -2.0, 1.0]), 4.0
    mesh = box()
    points = trimesh.sample.sample_surface(trimesh.Trimesh(mesh.vertices, mesh.faces), 2000, seed=0)[0]
    np.savez(tmp_path / "pointcloud.npz", points=points.astype(np.float32), loc=place, scale=np.array(size))
    write_mesh(tmp_path / "a.ply", TriangleMesh(mesh.vertices * size + place if moved else mesh.vertices, mesh.faces))
    pair = Pair("a", "all", tmp_path / "a.ply", FileTruth(tmp_path / "pointcloud.npz"))
    (row,) = evaluate_pair(pair, find_protocols(["onet"]), SampleCounts(points=500))
    assert ("loc and scale" in row["suspect"]) is moved
    np.savez(tmp_path / "pointcloud.npz", points=points, loc=place[:2], scale=np.array(size))
    (row,) = evaluate_pair(pair, find_protocols(["onet"]), SampleCounts(points=500))
    assert "pointcloud.npz: expected loc of 3 numbers" in row["reason"]
