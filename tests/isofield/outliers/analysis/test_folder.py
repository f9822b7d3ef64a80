"""A folder is analysed: a row for everything in it, whatever it holds, and only what is missing when it goes on."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
import pytest

from ifnet.model import IFNet
from isofield.run_dir import RunDir
from isofield.runtime.atomic_files import write_text
from tests.data_processing.scan_files import save
from tests.isofield.outliers.analysed import (
    IDS,
    PLAIN,
    brain_values,
    fingerprint,
    make_network,
    make_prior,
    passes_of,
    rows_in,
    run_analysis,
    started,
    statuses,
    write_scan,
)
from tests.isofield.outliers.conftest import mark_unfinished

LEFT, RIGHT = "hippocampus_left", "hippocampus_right"


@pytest.fixture(scope="module")
def prior(echo: None, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return make_prior(tmp_path_factory.mktemp("prior"))


def with_blob(values: np.ndarray) -> np.ndarray:
    """The left hippocampus with a ball of 28 mm on it."""
    places = np.argwhere(values == IDS["left hippocampus"])
    grid = np.stack(np.meshgrid(*map(np.arange, values.shape), indexing="ij"), axis=-1)
    ball = ((grid - places[len(places) // 2]) ** 2).sum(axis=-1) < 14**2
    return np.where(ball, IDS["left hippocampus"], values).astype(values.dtype)


def test_a_folder_of_everything_has_a_row_for_everything(
    prior: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder, out = tmp_path / "scans", tmp_path / "out"
    values, affine = brain_values()
    clean = write_scan(folder / "clean.nii.gz", values, affine)
    write_scan(folder / "blob.nii.gz", with_blob(values), affine)
    write_scan(folder / "empty.nii.gz", np.zeros_like(values), affine)
    write_scan(folder / "floats.nii.gz", values.astype(np.float32) + np.float32(2e-4), affine)
    write_scan(folder / "fractions.nii.gz", values * np.float32(0.5), affine)
    write_scan(
        folder / "more.nii.gz", np.where(values == 0, values, values + 1), affine, names={**IDS, "x": 41, "y": 82}
    )
    write_scan(folder / "one_side.nii.gz", np.where(values == IDS["right hippocampus"], values, 0), affine)
    first = int(np.argwhere(values == IDS["left hippocampus"])[:, 1].min())
    write_scan(
        folder / "cut.nii.gz", values[:, first + 3 :], affine + np.outer(affine[:, 1] * (first + 3), [0, 0, 0, 1])
    )
    write_scan(folder / "movie.nii.gz", np.stack([values, values], axis=-1), affine)
    write_scan(folder / "trailing.nii.gz", values[..., None], affine)
    write_scan(folder / "undefined.nii.gz", np.where(values == 0, np.nan, values).astype(np.float32), affine)
    write_scan(folder / "negative.nii.gz", values.astype(np.int16) - 1, affine)
    write_scan(folder / "truncated.nii.gz", values, affine)
    (folder / "truncated.nii.gz").write_bytes(clean.read_bytes()[:-4000])
    (folder / "nothing.nii.gz").touch()
    thick = np.zeros((values.shape[0], values.shape[1] // 12, values.shape[2]), np.uint8)
    thick[:] = values[:, 6 : 6 + 12 * thick.shape[1] : 12][:, : thick.shape[1]]
    write_scan(folder / "thick.nii.gz", thick, affine @ np.diag([1, 12, 1, 1]))
    before = fingerprint(folder)

    assert run_analysis(prior, folder, out) == 2
    rows = rows_in(out)
    found = {key: row["status"] for key, row in rows.items()}
    assert found[("clean", LEFT)] == "OK" and found[("clean", RIGHT)] == "OK"
    assert found[("blob", LEFT)] == "OUTLIER" and found[("blob", RIGHT)] == "OK"
    assert found[("empty", LEFT)] == found[("empty", RIGHT)] == "EMPTY"
    assert found[("floats", LEFT)] == "OK"
    assert found[("more", "x")] == found[("more", "y")] == "NO_MODEL" and found[("more", LEFT)] == "EMPTY"
    assert found[("one_side", LEFT)] == "EMPTY" and found[("one_side", RIGHT)] == "OK"
    assert found[("cut", LEFT)] == "PARTIAL"
    assert found[("trailing", LEFT)] == "OK"
    assert found[("thick", LEFT)] == "UNSURE" and "slices of 12 mm" in rows[("thick", LEFT)]["reason"]
    broken = {
        "fractions": "threshold",
        "movie": "one 3D mask",
        "undefined": "NaN",
        "negative": "-1",
        "truncated": "",
        "nothing": "",
    }
    for name, reason in broken.items():
        assert found[(name, "")] == "ERROR" and reason in rows[(name, "")]["reason"], name
        assert [key for key in found if key[0] == name] == [(name, "")]

    blob, clean_row = rows[("blob", LEFT)], rows[("clean", LEFT)]
    assert blob["flagged"] and blob["p"] == pytest.approx(1 / 41, rel=1e-5) and not clean_row["flagged"]
    assert clean_row["dice"] > 0.9 and clean_row["hd95"] < 2 and clean_row["spacing_mm"] == [1, 1, 1]
    assert clean_row["orientation"] == "LIP" and clean_row["model_hash"] and clean_row["calibration_n"] == 40
    assert 0 < clean_row["drawing_p"] <= 1
    assert clean_row["file"] == "clean.nii.gz" and clean_row["seconds"] > 0
    assert rows[("cut", LEFT)]["touched"] == ["superior"] and "touches superior" in rows[("cut", LEFT)]["reason"]
    assert all(value != "nan" and value == value for row in rows.values() for value in row.values())
    said = capsys.readouterr().out
    assert "6 ERROR" in said and "pictures/blob/hippocampus_left.png" in said
    end = f"done: some could not be read or judged (exit status 2); next: open the report: {out / 'report.html'}"
    assert said.splitlines()[-1] == end
    assert fingerprint(folder) == before


@pytest.mark.parametrize("mirrored", [False, True])
def test_maps_lie_on_the_grid_of_the_scan_whatever_its_axes(mirrored: bool, prior: RunDir, tmp_path: Path):
    """Oblique, anisotropic, mirrored: shape, affine and codes are copied; it lies where the mask lies."""
    values, affine = brain_values()
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]]
    stored = np.repeat(values, 2, axis=0)[:, ::-1] if mirrored else np.repeat(values, 2, axis=0)
    scaled = turn @ affine @ np.diag([0.5, 1, 1, 1])
    if mirrored:
        scaled = scaled @ np.array([[1, 0, 0, 0], [0, -1, 0, values.shape[1] - 1], [0, 0, 1, 0], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(np.ascontiguousarray(stored.transpose(1, 2, 0)), scaled[:, [1, 2, 0, 3]])
    image.header.set_sform(image.affine, code=3)
    image.header.set_qform(image.affine, code=1)
    folder, out = tmp_path / "scans", tmp_path / "out"
    folder.mkdir()
    nibabel.save(image, folder / "case.nii.gz")
    (folder / "case.json").write_text(json.dumps({"labels": IDS}))
    assert run_analysis(prior, folder, out, "--no-pictures") in (0, 1)
    original: Any = nibabel.load(folder / "case.nii.gz")
    for organ, name in ((LEFT, "left hippocampus"), (RIGHT, "right hippocampus")):
        files = [out / "masks" / "case" / f"{organ}_{made}.nii.gz" for made in ("recon", "disagreement", "repaired")]
        made, signed, repaired = maps = [cast(Any, nibabel.load(file)) for file in files]
        mask = np.asanyarray(image.dataobj) == IDS[name]
        for one in maps:
            assert one.shape == image.shape and np.array_equal(one.affine, original.affine)
            assert int(one.header["sform_code"]) == 3 and int(one.header["qform_code"]) == 1
        rebuilt = np.asanyarray(made.dataobj) > 0
        assert 2 * (rebuilt & mask).sum() / (rebuilt.sum() + mask.sum()) > 0.93
        values_of = signed.get_fdata()
        assert values_of.min() >= -1 and values_of.max() <= 1
        assert ((values_of > 0.5) == (mask & ~rebuilt)).mean() > 0.9999
        assert ((values_of < -0.5) == (rebuilt & ~mask)).mean() > 0.9999
        assert np.array_equal(repaired.get_fdata() > 0, mask ^ (np.abs(values_of) > 0.801))
        row = rows_in(out)[("case", organ)]
        assert row["repaired"] == f"masks/case/{organ}_repaired.nii.gz"
        assert row["reconstruction_ml"] == pytest.approx(row["volume_ml"], rel=0.05)  # nothing is dilated


def test_a_prior_that_makes_nothing_of_a_mask_is_an_outlier_without_nan(echo: None, tmp_path: Path):
    nothing = make_prior(tmp_path / "runs", scale=0.0)
    write_scan(tmp_path / "scans" / "a.nii.gz", *brain_values())
    assert run_analysis(nothing, tmp_path / "scans", tmp_path / "out") == 1
    row = rows_in(tmp_path / "out")[("a", LEFT)]
    assert (row["status"], row["dice"], row["hd95"], row["score"]) == ("OUTLIER", 0, "inf", "inf")
    assert row["disagreement_sign"] == "extra"


@pytest.mark.parametrize(("count", "status"), [(PLAIN, "OUTLIER"), (0, "UNSURE")])
def test_a_prior_that_draws_nothing_yet_says_how_far_it_was_trained(
    echo: None, tmp_path: Path, count: int, status: str
):
    nothing = make_prior(tmp_path / "runs", scale=0.0, count=count)
    mark_unfinished(nothing, step=12, planned=300)
    write_scan(tmp_path / "scans" / "a.nii.gz", *brain_values())
    run_analysis(nothing, tmp_path / "scans", tmp_path / "out", "--no-pictures")
    row = rows_in(tmp_path / "out")[("a", LEFT)]
    assert row["status"] == status and "nothing of this mask yet" in row["reason"]
    assert "12 of 300 steps" in row["reason"]


def test_few_calibration_masks_are_unsure_and_say_how_many_are_missing(
    prior: RunDir, echo: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    few = make_prior(tmp_path / "few", count=6)
    none = make_prior(tmp_path / "none", count=0)
    values, affine = brain_values()
    write_scan(tmp_path / "scans" / "a.nii.gz", with_blob(values), affine)
    for run, missing in ((few, 13), (none, 19)):
        out = tmp_path / f"out-{missing}"
        assert run_analysis(run, tmp_path / "scans", out, "--no-pictures") == 0
        assert set(statuses(out).values()) == {"UNSURE"}
        assert f"{missing} more are needed" in capsys.readouterr().out
    row = rows_in(tmp_path / "out-19")[("a", LEFT)]
    assert row["p"] is None and row["score"] is None and row["dice"] > 0.9 and "no calibration" in row["reason"]
    # A limit of the user's own needs no calibration.
    assert run_analysis(none, tmp_path / "scans", tmp_path / "x", "--limit", "dice<0.999", "--fpr", 0.2) == 1
    assert "dice" in rows_in(tmp_path / "x")[("a", LEFT)]["reason"]
    assert run_analysis(few, tmp_path / "scans", tmp_path / "y", "--fpr", 0.2) == 1  # 1 / 7 <= 0.2


def test_exit_status_says_outliers_and_errors(prior: RunDir, tmp_path: Path):
    values, affine = brain_values()
    folder = tmp_path / "scans"
    write_scan(folder / "a.nii.gz", values, affine)
    assert run_analysis(prior, folder, tmp_path / "0", "--no-pictures", "--no-masks") == 0
    assert not (tmp_path / "0" / "masks").exists() and not (tmp_path / "0" / "pictures").exists()
    write_scan(folder / "b.nii.gz", with_blob(values), affine)
    assert run_analysis(prior, folder, tmp_path / "1") == 1
    (folder / "c.nii").write_bytes(b"no scan")
    assert run_analysis(prior, folder, tmp_path / "2") == 2
    assert run_analysis(prior, folder, tmp_path / "3", "--fpr", 2) == 2
    assert run_analysis(prior, tmp_path / "absent", tmp_path / "4") == 2
    assert run_analysis(prior, folder, tmp_path / "5", "--limit", "dice>0.8") == 2


def test_results_are_never_written_into_the_input(prior: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "scans"
    write_scan(folder / "a.nii.gz", *brain_values())
    (tmp_path / "link").symlink_to(folder)
    before = fingerprint(tmp_path)
    for out in (folder, folder / "out", folder / ".." / "scans" / "out", tmp_path / "link" / "out", tmp_path):
        assert run_analysis(prior, folder, out) == 2
        assert "nothing is written into the input" in capsys.readouterr().err
    assert fingerprint(tmp_path) == before


def test_a_resumed_analysis_does_only_what_is_missing(prior: RunDir, tmp_path: Path):
    folder, out = tmp_path / "scans", tmp_path / "out"
    values, affine = brain_values()
    values[values == IDS["right hippocampus"]] = 0
    for name in ("a", "b", "c"):
        write_scan(folder / f"{name}.nii.gz", values, affine)
    (folder / "broken.nii.gz").write_bytes(gzip.compress(b"x" * 400))
    assert run_analysis(prior, folder, out) == 2
    first, pictures = (out / "results.json").read_text(), fingerprint(out / "pictures")
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}

    assert run_analysis(prior, folder, out, "--resume") == 2
    assert rows_in(out) == {(row["scan"], row["organ"]): row for row in json.loads(first)["rows"]}
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")} == times

    (out / "pictures" / "a" / f"{LEFT}.png").unlink()  # lost
    write_scan(folder / "b.nii.gz", with_blob(values), affine)  # another file
    write_scan(folder / "broken.nii.gz", values, affine)  # repaired
    write_scan(folder / "d.nii.gz", values, affine)  # new
    (folder / "c.nii.gz").unlink()
    assert run_analysis(prior, folder, out, "--resume") == 1
    assert set(statuses(out)) == {(scan, organ) for scan in ("a", "b", "broken", "d") for organ in (LEFT, RIGHT)}
    assert (
        statuses(out)[("b", LEFT)] == "OUTLIER"
        and fingerprint(out / "pictures")[f"a/{LEFT}.png"] == pictures[f"a/{LEFT}.png"]
    )
    again = {path for path in times if path.is_file() and path.stat().st_mtime_ns != times[path]}
    made_again = {path.relative_to(out / "masks").as_posix().rpartition("_")[0] for path in again}
    assert made_again == {f"a/{LEFT}", f"b/{LEFT}"}

    settings = run_analysis(prior, folder, out, "--resume", "--tolerance", 3, "--no-pictures")
    assert settings == 1 and rows_in(out)[("a", LEFT)]["nsd"] == 1
    assert run_analysis(prior, folder, out) == 1  # anew
    assert not list((out / "masks" / "c").glob("*")), "what a new start forgets does not lie about"


def test_an_organ_made_again_is_judged_in_the_company_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run, folder, out = make_network(tmp_path / "runs"), tmp_path / "scans", tmp_path / "out"
    write_scan(folder / "a.nii.gz", *brain_values())
    passes = passes_of(monkeypatch, IFNet)
    assert run_analysis(run, folder, out) == 0
    first = {**fingerprint(out / "masks"), **fingerprint(out / "pictures")}
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}
    (out / "pictures" / "a" / f"{RIGHT}.png").unlink()
    assert run_analysis(run, folder, out, "--resume") == 0
    assert passes == [2, 2]
    again = {path.name.rpartition("_")[0] for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert again == {RIGHT}
    assert {**fingerprint(out / "masks"), **fingerprint(out / "pictures")} == first


def test_a_cut_journal_and_another_calibration_are_noticed(echo: None, tmp_path: Path):
    run = make_prior(tmp_path / "runs")
    folder, out = tmp_path / "scans", tmp_path / "out"
    write_scan(folder / "a.nii.gz", *brain_values())
    assert run_analysis(run, folder, out) == 0
    assert not list(out.rglob(".*"))  # no lock, no journal
    journal = out / "record.jsonl"
    journal.write_bytes(journal.read_bytes()[:-30])  # a kill
    assert run_analysis(run, folder, out, "--resume") == 0
    assert len(statuses(out)) == 2
    content = json.loads(run.calibration_file.read_text())
    content["scores"] = content["visible_scores"] = [score - 100 for score in content["scores"]]
    write_text(run.calibration_file, json.dumps(content))
    assert run_analysis(run, folder, out, "--resume") == 1
    content["model_hash"] = "0123456789abcdef"
    write_text(run.calibration_file, json.dumps(content))
    assert run_analysis(run, folder, out, "--resume") == 2  # stale: refused


@pytest.mark.slow
def test_two_processes_make_the_rows_of_one(tmp_path: Path):
    run = make_network(tmp_path / "runs")
    folder = tmp_path / "scans"
    values, affine = brain_values()
    for name in "abc":
        write_scan(folder / f"{name}.nii.gz", values, affine)
    words = ["--models", str(run.path), "--input", str(folder), "--device", "cpu"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--", "analyse.py"]
    both = started([*torchrun, *words, "--out", str(tmp_path / "two")])
    assert both.returncode == 0, both.stderr
    assert run_analysis(run, folder, tmp_path / "one") == 0
    one, two = (
        {key: {**row, "seconds": None} for key, row in rows_in(tmp_path / name).items()} for name in ("one", "two")
    )
    assert one == two and len(one) == 6
    assert not list((tmp_path / "two").rglob(".*"))
    assert fingerprint(tmp_path / "one" / "masks") == fingerprint(tmp_path / "two" / "masks")


def test_a_table_without_names_stops_before_any_work(prior: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    values, affine = brain_values()
    write_scan(tmp_path / "scans" / "a.nii.gz", values, affine, names=None)
    assert run_analysis(prior, tmp_path / "scans", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "total_v1 (40 vertebrae_C2, 81 " in said and "total (40 " in said and "--labels" in said
    assert not (tmp_path / "out").exists()
    # One nameless scan among others is one row.
    write_scan(tmp_path / "scans" / "b.nii.gz", values, affine)
    assert run_analysis(prior, tmp_path / "scans", tmp_path / "out") == 2
    assert statuses(tmp_path / "out") == {("a", ""): "ERROR", ("b", LEFT): "OK", ("b", RIGHT): "OK"}
    names = save(tmp_path / "x.nii.gz", values, affine).with_name("names.json")
    names.write_text(json.dumps({"labels": IDS}))
    assert run_analysis(prior, tmp_path / "scans", tmp_path / "out", "--labels", names) == 0


def test_an_interrupted_analysis_goes_on(tmp_path: Path):
    """Ctrl-C in the third scan: status 130, no half file, and --resume does the rest alone."""
    run, folder, out = make_network(tmp_path / "runs"), tmp_path / "scans", tmp_path / "out"
    values, affine = brain_values()
    for name in "abcdef":
        write_scan(folder / f"{name}.nii.gz", values, affine)
    words = ["--models", str(run.path), "--input", str(folder), "--out", str(out), "--device", "cpu"]
    ended = started([sys.executable, "-m", "tests.signalled", "SIGINT", "*/masks/c/*", "1", "analyse.py", *words])
    assert ended.returncode == 130 and "again with --resume" in ended.stderr
    assert not (out / "results.json").exists() and not list(out.rglob(".partial-*"))
    finished = {path: path.stat().st_mtime_ns for path in (out / "masks" / "a").iterdir()}
    assert run_analysis(run, folder, out, "--resume") == 0
    assert len(statuses(out)) == 12 and {path: path.stat().st_mtime_ns for path in finished} == finished
