"""Folders of scans as other people have them, analysed: images beside labels, other formats, no orientation."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from data_processing.formats.images import open_image
from data_processing.medical.crops import mask_crop
from data_processing.medical.label_volumes import label_volume
from isofield.outliers.analysis.rows import NO_ORIENTATION
from tests.data_processing.formats.test_images import write_image
from tests.data_processing.scan_files import save, turned
from tests.isofield.outliers.analysed import IDS, brain_values, make_prior, rows_in, run_analysis

SIDES = ("hippocampus_left", "hippocampus_right")


@pytest.fixture(scope="module")
def analysed(echo: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scan, as a raw data set of nnU-Net, as NRRD and MetaImage in other orders, and without orientation."""
    folder = tmp_path_factory.mktemp("strangers")
    values, affine = brain_values()
    scans = folder / "in"
    save(scans / "raw" / "labelsTr" / "a.nii.gz", values, affine)
    noise = np.random.default_rng(0).integers(0, 200, values.shape, dtype=np.uint8)
    save(scans / "raw" / "imagesTr" / "a_0000.nii.gz", noise, affine)
    (scans / "raw" / "dataset.json").write_text(json.dumps({"labels": {"background": 0, **IDS}}))
    other = scans / "other"
    other.mkdir()
    write_image(other / "b.nrrd", *turned(values, affine, (2, 0, 1), (1, 0, 1)))
    write_image(other / "c.mha", *turned(values, affine, (0, 2, 1), (0, 1, 0)))
    image = nibabel.Nifti1Image(values, None)
    image.header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    image.header["sform_code"], image.header["qform_code"] = 0, 0
    nibabel.save(image, other / "d.nii.gz")
    for name in "bcd":
        (other / f"{name}.json").write_text(json.dumps({"labels": IDS}))
    return folder


@pytest.fixture(scope="module")
def results(analysed: Path, tmp_path_factory: pytest.TempPathFactory):
    """The exit status, what the terminal showed, and the rows."""
    import contextlib
    import io

    run, shown = make_prior(tmp_path_factory.mktemp("runs")), io.StringIO()
    with contextlib.redirect_stdout(shown):
        status = run_analysis(run, analysed / "in", analysed / "out", "--no-pictures")
    return status, shown.getvalue(), rows_in(analysed / "out")


def test_images_beside_labels_have_no_row_and_a_line(results):
    _, shown, rows = results
    assert {scan for scan, _ in rows} == {"raw/labelsTr/a", "other/b", "other/c", "other/d"} and len(rows) == 8
    assert "1 images beside labels left out (raw/imagesTr/a_0000.nii.gz; --pattern takes" in shown


def test_every_format_and_order_has_the_same_row_and_p(results):
    rows = results[2]
    for side in SIDES:
        nifti = rows["raw/labelsTr/a", side]
        assert nifti["status"] in ("OK", "OUTLIER") and nifti["p"] is not None
        for scan in ("other/b", "other/c"):
            row = rows[scan, side]
            assert (row["status"], row["p"]) == (nifti["status"], nifti["p"])
            for key in ("dice", "asd", "hd95", "hd", "nsd", "volume_ml", "components"):
                assert row[key] == pytest.approx(nifti[key], rel=1e-4, abs=1e-6)


def test_without_orientation_a_warning_and_nothing_mirrored(results):
    status, shown, rows = results
    assert rows["other/d", "hippocampus_right"]["status"] == "ERROR" and status == 2
    assert "cannot be mirrored" in rows["other/d", "hippocampus_right"]["reason"]
    left = rows["other/d", "hippocampus_left"]
    assert left["orientation"] == NO_ORIENTATION and "left and right cannot be told" in left["reason"]
    assert "warning: left and right cannot be told in 1 scans: other/d" in shown


def test_maps_have_names_and_colours_on_the_grid_of_the_scan(analysed, results):
    row = results[2]["other/b", SIDES[0]]
    file = analysed / "out" / row["agreement"]
    header, segments = file.read_bytes().partition(b"\n\n")[0].decode(), open_image(file).header.segments
    assert [(one.name, one.label) for one in segments] == [
        (f"{SIDES[0]}: {name}", label) for label, name in enumerate(("both", "extra", "missing"), start=1)
    ]
    assert "Segment1_Color:=0.86 0.16 0.16" in header and "space: left-posterior-superior" in header
    volume = label_volume(file)
    assert volume.grid.shape == label_volume(analysed / "in" / row["file"]).grid.shape
    rebuilt = mask_crop(analysed / "out" / row["reconstruction"])
    both_and_missing, _ = volume.mask([label for label in (1, 3) if label in volume.boxes])
    assert both_and_missing.sum() == rebuilt.occupancy.sum()
