"""Organs are found by name: the same number is another organ in another table, and nothing is guessed."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from data_processing.medical.label_names import LabelTable, named_table
from data_processing.medical.structures import StructureConfig
from data_processing.medical.totalsegmentator import NAMED_TABLES
from isofield.outliers.analysis.organs import Naming, OrganMatch, cut_organ, known_names, wanted_of
from isofield.outliers.analysis.priors import Prior, load_priors, organs_of
from isofield.outliers.analysis.scans import find_scans
from tests.data_processing.scan_files import body, save
from tests.isofield.outliers.analysed import make_prior

OWN = Naming()  # the scan's own names


@pytest.fixture(scope="module")
def any_prior(echo: None, tmp_path_factory: pytest.TempPathFactory) -> Prior:
    run = make_prior(tmp_path_factory.mktemp("wanted"), count=0)
    return load_priors([run.path], device=torch.device("cpu"))[0]


def knowing(prior: Prior, *structures: StructureConfig) -> Prior:
    """The same run as if it had learnt other organs."""
    labels = dataclasses.replace(prior.labels, structures=structures, table=None)
    return dataclasses.replace(prior, labels=labels, structures=structures)


def found_in(folder: Path, prior: Prior, naming: Naming = OWN) -> dict[str, OrganMatch]:
    (scan,) = find_scans(folder, known_names([prior], None))
    return {one.organ: one for one in wanted_of(scan, [prior], naming)}


def boxes(*labels: int) -> np.ndarray:
    values = np.zeros((40, 40, 40), np.uint8)
    for number, label in enumerate(labels):
        values[4 + 10 * (number % 3) : 12 + 10 * (number % 3), 5:15, 5 : 15 + number] = label
    return values


@pytest.mark.parametrize("table", ["total_v1", "total", "total_v3", "total_mr"])
def test_each_table_has_its_own_number_for_an_organ(table: str, any_prior: Prior, tmp_path: Path):
    organ = "pancreas"
    label = NAMED_TABLES[table][organ]
    assert (label == 10) == (table == "total_v1")
    save(tmp_path / "a.nii.gz", boxes(label, 10 if label != 10 else 7))
    prior = knowing(any_prior, StructureConfig(organ, (organ,)))
    rows = found_in(tmp_path, prior, Naming(table))
    assert rows[organ].status == ""
    (other,) = (row for name, row in rows.items() if name != organ)
    assert other.status == "NO_MODEL" and other.organ == named_table(table).name_of(10 if label != 10 else 7)


def test_the_header_speaks_for_itself_and_is_not_contradicted(any_prior: Prior, tmp_path: Path):
    table = '<LabelTable><Label Key="10">pancreas</Label></LabelTable>'
    xml = f"<CaretExtension><VolumeInformation>{table}</VolumeInformation></CaretExtension>"
    save(tmp_path / "a.nii.gz", boxes(10), extension=xml)
    prior = knowing(any_prior, StructureConfig("pancreas", ("pancreas",)))
    assert found_in(tmp_path, prior)["pancreas"].status == ""
    with pytest.raises(ValueError, match="10"):
        found_in(tmp_path, prior, Naming("total"))  # there it is 7


def test_a_run_that_learnt_by_number_is_found_by_its_name_alone(any_prior: Prior, tmp_path: Path):
    save(tmp_path / "a.nii.gz", boxes(3, 9))
    (tmp_path / "a.json").write_text(json.dumps({"labels": {"spleen": 3, "liver": 9}}))
    rows = found_in(tmp_path, knowing(any_prior, StructureConfig("liver", (3,))))
    assert rows["liver"].structure.labels == ("liver",) and rows["spleen"].status == "NO_MODEL"
    assert found_in(tmp_path, knowing(any_prior, StructureConfig("organ", (3,))))["organ"].status == "EMPTY"


@pytest.mark.parametrize("components", [None, 2])
def test_several_numbers_learnt_as_one_are_not_judged_by_the_name_of_one(
    any_prior: Prior, tmp_path: Path, components: int | None
):
    save(tmp_path / "a.nii.gz", boxes(1, 2))
    (tmp_path / "a.json").write_text(json.dumps({"labels": {"kidney": 1, "tumor": 2}}))
    learnt = StructureConfig("kidney", (1, 2), components=components)
    rows = found_in(tmp_path, knowing(any_prior, learnt))
    judged = {name: row for name, row in rows.items() if "kidney" in name}
    assert judged and {row.status for row in judged.values()} == {"ERROR"}
    assert all("labels 1, 2" in row.reason and "a.json" in row.reason for row in judged.values())
    # One name for as many labels says it all, and so do the names themselves.
    (tmp_path / "a.json").write_text(json.dumps({"labels": {"kidney": [1, 2]}}))
    rows = found_in(tmp_path, knowing(any_prior, learnt))
    assert {row.status for name, row in rows.items() if "kidney" in name} == {""}


def test_two_kidneys_under_one_label_or_two_are_a_row_each(any_prior: Prior, tmp_path: Path):
    values, affine = body()
    merged = StructureConfig("kidney", ("kidney",), components=2, mirror="right")
    prior = knowing(any_prior, merged)
    assert organs_of(prior) == ["kidney_left", "kidney_right"]
    x = (np.arange(values.shape[0]) * affine[0, 0] + affine[0, 3])[:, None, None] > 0
    apart = np.where((values == 2) & x, 3, values).astype(np.uint8)
    tables = {"one": (values, {"kidney": 2}), "two": (apart, {"kidney_left": 2, "kidney_right": 3})}
    sizes = []
    for name, (volume, names) in tables.items():
        save(tmp_path / name / "a.nii.gz", volume, affine)
        (tmp_path / name / "a.json").write_text(json.dumps({"labels": names}))
        (scan,) = find_scans(tmp_path / name, known_names([prior], None))
        rows = {one.organ: one for one in wanted_of(scan, [prior], Naming()) if one.prior}
        assert set(rows) == {"kidney_left", "kidney_right"}
        masks = {organ: cut_organ(one, scan, Naming())[1] for organ, one in rows.items()}
        assert masks["kidney_right"].mirrored and not masks["kidney_left"].mirrored
        assert masks["kidney_right"].world_box()[0][0] > 0 > masks["kidney_left"].world_box()[1][0]
        sizes.append([int(mask.occupancy.sum()) for mask in masks.values()])
    assert sizes[0] == sizes[1]
    sided = tuple(StructureConfig("kidney", (f"kidney_{side}",), side=side) for side in ("left", "right"))
    rows = found_in(tmp_path / "one", knowing(any_prior, *sided))
    assert {name for name, row in rows.items() if row.prior} == {"kidney_left", "kidney_right"}


def test_an_ambiguous_name_is_an_error_that_names_the_candidates(any_prior: Prior, tmp_path: Path):
    save(tmp_path / "a.nii.gz", boxes(1, 2))
    (tmp_path / "a.json").write_text(json.dumps({"labels": {"thalamus left": 1, "thalamus right": 2}}))
    row = found_in(tmp_path, knowing(any_prior, StructureConfig("thalamus", ("thalamus",))))["thalamus"]
    assert row.status == "ERROR" and "'thalamus left' (1)" in row.reason and "'thalamus right' (2)" in row.reason


def test_files_of_organs_need_no_table(any_prior: Prior, tmp_path: Path):
    prior = knowing(any_prior, StructureConfig("liver", ("liver",)), StructureConfig("spleen", ("spleen",)))
    for name in ("liver", "pancreas", "ct"):
        save(tmp_path / "s1" / f"{name}.nii.gz", boxes(1))
    rows = found_in(tmp_path, prior)
    kinds = {name: row.status for name, row in rows.items()}
    assert kinds == {"liver": "", "spleen": "EMPTY", "pancreas": "NO_MODEL", "ct": "NO_MODEL"}


def test_an_organ_in_one_file_of_two_labels_is_refused_when_it_is_cut(any_prior: Prior, tmp_path: Path):
    save(tmp_path / "s1" / "liver.nii.gz", boxes(1, 2))
    prior = knowing(any_prior, StructureConfig("liver", ("liver",)))
    (scan,) = find_scans(tmp_path, ["liver"])
    with pytest.raises(ValueError, match=r"liver\.nii\.gz: .* 1, 2"):
        cut_organ(wanted_of(scan, [prior], Naming())[0], scan, Naming())


def test_names_of_every_table_are_known():
    names = known_names([], LabelTable((("odd one", (3,)),), "here"))
    assert {"odd one", "vertebrae_L6", "pancreas", "urinary_bladder"} <= set(names)
