"""Sets of real meshes judged: a set against itself, sizes, copies, shapes that cannot be read, workers."""

import csv
import json
import re
import shutil

import numpy as np
import pytest

from data_processing.formats.mesh_files import read_mesh, write_mesh
from data_processing.formats.point_clouds import PointCloud, write_cloud
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.evaluation import set_tables
from isofield.evaluation.protocols import protocols_of_sets
from isofield.evaluation.set_rows import Machine, evaluate_sets
from isofield.evaluation.sets import folders_to_judge
from isofield.evaluation.tables import write_json
from isofield.metrics.set_scores import nearness
from isofield.metrics.sets import GenerativeConfig
from isofield.reports.sets import histogram, write_sets_report

FEW = GenerativeConfig(points=512, emd_points=256, normalisation="diagonal", distances=("chamfer", "emd"))
BOTH = ("generative", "lfd")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(examples, tmp_path_factory):
    """6 real chairs, 4 real tables, and copies of three of the chairs: moved and scaled, under other names."""
    folder = tmp_path_factory.mktemp("sets")
    for name, source, count in (("chairs", "chair", 6), ("tables", "table", 4)):
        for path in sorted((examples / source).glob("*.ply"), key=lambda path: path.stat().st_size)[2 : 2 + count]:
            (folder / name).mkdir(exist_ok=True)
            shutil.copy(path, folder / name)
    for number, path in enumerate(sorted((folder / "chairs").iterdir())[:3]):
        mesh = read_mesh(path)
        write_mesh(folder / "copies" / f"copy{number}.ply", TriangleMesh(mesh.vertices * 4 + [16, -8, 4], mesh.faces))
    return folder


def judged(samples, references, *, protocols=BOTH, machine=None, training=None, settings=FEW):
    sets = folders_to_judge(samples, references, training=training)
    machine = machine or Machine(light_fields=samples.parent / "light-fields", progress=False)
    return evaluate_sets(sets, protocols, settings, machine)


def test_a_set_against_itself(folder):
    """Light fields are exact; points are drawn of each side anew, so their distances are small, not 0."""
    generative, lfd = judged(folder / "chairs", folder / "chairs", training=folder / "chairs")
    assert lfd["mean"] == {"cov_lfd": 1, "mmd_lfd": 0, "1nna_lfd": 0}
    assert {generative["mean"][key] for key in ("cov_chamfer", "cov_emd")} == {1}
    assert generative["mean"]["1nna_chamfer"] == generative["mean"]["1nna_emd"] == 0
    assert 0 < generative["mean"]["mmd_chamfer"] < 2e-3
    assert 0 < generative["mean"]["mmd_emd"] < 0.1
    assert 0 < generative["mean"]["jsd"] < 0.5
    for row in generative["per_shape"]:
        assert row["name"] == row["training_chamfer"] == row.get("reference_emd", row["name"])
    assert {row["training_lfd_distance"] for row in lfd["per_shape"]} == {0}
    assert lfd["nearness_to_training"]["lfd"]["nearer"] == 0.5


def test_sets_of_other_kinds_and_sizes(folder):
    generative, lfd = judged(folder / "tables", folder / "chairs")
    own = [row | {"kind": key} for e in (generative, lfd) for key, row in e["scores"].items()]
    assert [row["kind"] for row in own] == ["chamfer", "emd", "lfd"]
    for row in own:
        assert row["cov"] <= 4 / 6
        assert row["1nna_size"] == 4
        assert row["1nna"] >= 0.75
    assert (generative["n"], generative["sets"]["references"]["n"]) == (4, 6)
    assert lfd["mean"]["mmd_lfd"] > 3000
    assert generative["nearness_to_training"] == {}


def test_copies_are_found_whatever_their_place_and_size(folder):
    generative, lfd = judged(folder / "copies", folder / "tables", training=folder / "chairs")
    chairs = sorted(path.stem for path in (folder / "chairs").iterdir())
    for evaluation, kind in ((generative, "chamfer"), (lfd, "lfd")):
        rows = [row for row in evaluation["per_shape"] if row["set"] == "samples"]
        assert [row[f"training_{kind}"] for row in rows] == chairs[:3]
        near = evaluation["nearness_to_training"][kind]
        assert near["nearer"] == 1
        assert near["below_all_references"] == 3
        assert near["median_of_samples"] < near["median_of_references"] / 10
    assert lfd["nearness_to_training"]["lfd"]["median_of_samples"] < 20  # corners on the next step of the lattice


def test_nearness_counts_pairs():
    row = nearness(np.array([1.0, 3.0]), np.array([2.0, 3.0, 4.0]))
    assert row["nearer"] == (3 + 1.5) / 6
    assert (row["median_of_samples"], row["median_of_references"], row["below_all_references"]) == (2, 3, 1)


def test_as_is_keeps_place_and_size(folder):
    settings = GenerativeConfig(points=256, normalisation="as_is")
    (as_is,) = judged(folder / "copies", folder / "chairs", protocols=("generative",), settings=settings)
    (scaled,) = judged(folder / "copies", folder / "chairs", protocols=("generative",))
    assert as_is["mean"]["mmd_chamfer"] > 1e3 * scaled["mean"]["mmd_chamfer"]
    assert (as_is["settings"]["normalisation"], scaled["settings"]["normalisation"]) == ("as_is", "diagonal")


@pytest.fixture
def spoilt(folder, tmp_path):
    """Two chairs, a broken file, and a cloud: which has points and no silhouette."""
    samples = tmp_path / "samples"
    samples.mkdir()
    for path in sorted((folder / "chairs").iterdir())[:2]:
        shutil.copy(path, samples)
    (samples / "broken.obj").write_bytes(b"no mesh")
    generator = np.random.default_rng(0)
    write_cloud(samples / "cloud.ply", PointCloud(generator.random((600, 3)), None))
    return samples


def test_what_cannot_be_judged_is_counted_for_each_protocol(folder, spoilt, tmp_path):
    generative, lfd = judged(spoilt, folder / "chairs")
    assert generative["sets"]["samples"] == {"n": 3, "failed_count": 1}
    assert lfd["sets"]["samples"] == {"n": 2, "failed_count": 2}
    assert [row["name"] for row in lfd["failed"]] == ["broken", "cloud"]
    assert "no silhouettes" in lfd["failed"][1]["reason"]
    assert {row["set"] for row in lfd["failed"]} == {"samples"}
    assert "failed: samples: broken: " in set_tables.table(generative)
    assert "samples 2 (2 failed), references 6" in set_tables.table(lfd)
    set_tables.write_csv(tmp_path / "lfd.csv", lfd)
    rows = list(csv.DictReader((tmp_path / "lfd.csv").open()))
    assert [(row["set"], row["status"]) for row in rows[:4]] == [("samples", "done")] * 2 + [("samples", "failed")] * 2
    assert len(rows) == 4 + 6
    assert all(row["reference_lfd"] for row in rows[:2])
    write_json(tmp_path / "lfd.json", lfd)
    assert json.loads((tmp_path / "lfd.json").read_text())["settings"]["units"]["mmd_lfd"]


def test_a_set_of_one_shape_has_no_1nna(folder, tmp_path):
    (tmp_path / "one").mkdir()
    shutil.copy(sorted((folder / "chairs").iterdir())[0], tmp_path / "one")
    for evaluation in judged(tmp_path / "one", folder / "chairs"):
        for key, value in evaluation["mean"].items():
            assert (value is None) == key.startswith("1nna")
            if key.startswith("cov"):
                assert value == 1 / 6
    assert " - " in set_tables.table(evaluation) + " "


def test_nothing_to_judge_is_an_error_with_a_reason(folder, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.obj").write_bytes(b"no mesh")
    with pytest.raises(ValueError, match=r"protocol lfd:.*1 samples.*x:"):
        judged(tmp_path / "bad", folder / "chairs", protocols=("lfd",))
    with pytest.raises(ValueError, match=r"generative: .*1 references"):
        judged(folder / "chairs", tmp_path / "bad", protocols=("generative",))


def test_workers_change_no_number_and_descriptors_are_kept(folder, tmp_path):
    one = judged(folder / "copies", folder / "tables", training=folder / "chairs")
    machine = Machine(workers=2, light_fields=tmp_path / "kept", progress=False)
    two = judged(folder / "copies", folder / "tables", training=folder / "chairs", machine=machine)
    assert one == two
    assert len(list((tmp_path / "kept").iterdir())) == 3 + 4 + 6


def test_settings_of_both_protocols_say_everything(folder):
    for evaluation in judged(folder / "copies", folder / "tables"):
        settings = evaluation["settings"]
        assert {
            "seed",
            "scale",
            "units",
            "means",
            "samples",
            "references",
            "training",
            "1nna_shapes",
        } <= settings.keys()
        assert settings["units"].keys() == evaluation["mean"].keys()
    generative = judged(folder / "copies", folder / "tables", protocols=("generative",))[0]["settings"]
    assert (generative["points"], generative["emd_points"]) == (512, 256)
    assert "auction" in generative["emd_solver"]
    assert "0.01" in generative["emd_solver"]


def test_the_report_shows_samples_beside_training_shapes(folder, spoilt, tmp_path):
    nasty = spoilt / "<script>&'.ply"
    shutil.copy(sorted((folder / "chairs").iterdir())[3], nasty)
    sets = folders_to_judge(spoilt, folder / "tables", training=folder / "chairs")
    evaluations = evaluate_sets(sets, BOTH, FEW, Machine(light_fields=folder / "light-fields", progress=False))
    write_sets_report(tmp_path / "report.html", evaluations, sets)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "http" not in page
    assert page.count("<script>") == 1
    assert "&lt;script&gt;&amp;" in page
    assert page.count("<figure") == 4  # the broken one is in the list of failures
    assert page.count('alt="sample"') == 4
    assert page.count('alt="nearest, ') == 2 * 3 + 1  # the cloud has no light field
    assert page.count("<svg") == 2
    assert "Samples (left) and their nearest training shapes" in page
    assert "samples: <b>broken</b>" in page
    order = [float(key) for key in re.findall(r'data-badness="([^"]+)"', page)]
    assert order == sorted(order, reverse=True)  # nearest first
    write_sets_report(tmp_path / "none.html", evaluations, sets, pictures=0)
    assert "<figure" not in (tmp_path / "none.html").read_text()


def test_without_training_shapes_references_are_shown(folder, tmp_path):
    sets = folders_to_judge(folder / "copies", folder / "chairs")
    evaluations = evaluate_sets(sets, ("lfd",), FEW, Machine(light_fields=folder / "light-fields", progress=False))
    write_sets_report(tmp_path / "report.html", evaluations, sets, pictures=2)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "nearest references (no training shapes were given)" in page
    assert page.count("<figure") == 2
    assert "<svg" not in page


def test_the_histogram_counts_shares():
    chart = histogram(np.array([0.0, 0.0, 0.0, 24.0]), np.array([12.5]), kind="emd", row={})
    assert len(chart.bars) == len(chart.line) == 24
    assert chart.bars[0] == pytest.approx(3 * chart.bars[-1])
    assert sum(height > 0 for height in chart.bars) == 2
    assert max(chart.line) == chart.height - 12 == sum(chart.line)  # all references in one bin, the highest of all
    assert chart.medians["samples"] == 0 and chart.medians["references"] == pytest.approx(chart.width * 12.5 / 24)
    same = histogram(np.zeros(2), np.zeros(3), kind="emd", row={})
    assert np.isfinite([*same.bars, *same.line, *same.medians.values()]).all()


def test_unknown_protocols_name_the_nearest():
    assert protocols_of_sets(["lfd", "generative", "lfd"]) == ["lfd", "generative"]
    with pytest.raises(ValueError, match="'generative'"):
        protocols_of_sets(["generativ"])
