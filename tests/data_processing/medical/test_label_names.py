"""Names of labels: every place they may come from, and no guessing."""

import json

import nibabel
import numpy as np
import pytest

from data_processing.medical.label_names import find_table, named_table, own_table, read_table
from tests.data_processing.scan_files import save
from tests.golden import FOLDER

VALUES = np.ones((3, 4, 5), np.uint8)
XML = (
    '<?xml version="1.0" encoding="UTF-8"?> <CaretExtension> <VolumeInformation Index="0"> <LabelTable>'
    '<Label Key="0" Red="0"><![CDATA[background]]></Label><Label Key="7" Red="1"><![CDATA[spleen]]></Label>'
    '<Label Key="10" Red="1"><![CDATA[lung_left]]></Label></LabelTable></VolumeInformation></CaretExtension>'
)


def test_the_tables_known_by_name_disagree_where_they_do():
    tables = {name: named_table(name) for name in ("total_v1", "total", "total_v3", "total_mr")}
    assert [len(table.entries) for table in tables.values()] == [104, 117, 117, 50]
    assert tables["total_v1"].ids_of("pancreas") == (10,) and tables["total"].ids_of("pancreas") == (7,)
    assert tables["total"].name_of(26) == "vertebrae_S1" and tables["total_v3"].name_of(26) == "vertebrae_L6"
    assert tables["total"].ids_of("Kidney Right") == (2,)


def test_equal_to_the_published_tables():
    for name, table in json.loads((FOLDER / "totalsegmentator_labels.json").read_text()).items():
        assert {str(ids[0]): entry for entry, ids in named_table(name).entries} == table


def test_the_header_extension_of_the_file(tmp_path):
    path = save(tmp_path / "scan.nii.gz", VALUES, extension=XML)
    table = own_table(path, header=nibabel.load(path).header)
    assert table.entries == (("spleen", (7,)), ("lung_left", (10,)))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("scan.json", '{"7": "spleen", "10": "lung_left"}'),
        ("scan.json", '{"labels": {"background": 0, "spleen": 7, "lung_left": 10}}'),
        ("scan.tsv", "index\tname\tabbreviation\n0\tbackground\tx\n7\tspleen\tS\n10\tlung_left\tL\n"),
        ("dataset.json", '{"name": "x", "labels": {"0": "background", "7": "spleen", "10": "lung_left"}}'),
        ("../dataset.json", '{"labels": {"spleen": 7, "lung_left": 10}}'),
    ],
)
def test_tables_that_come_with_the_scan(tmp_path, file, text):
    path = save(tmp_path / "labelsTr" / "scan.nii.gz", VALUES)
    (path.parent / file).write_text(text)
    assert own_table(path).ids_of("spleen") == (7,) and own_table(path).ids_of("lung left") == (10,)


def test_a_side_car_about_other_things_is_no_table(tmp_path):
    path = save(tmp_path / "scan.nii.gz", VALUES)
    (tmp_path / "scan.json").write_text('{"RepetitionTime": 2, "Manual": true}')
    assert own_table(path) is None
    with pytest.raises(ValueError, match="'Manual'"):
        read_table(tmp_path / "scan.json")


def test_regions_of_several_labels(tmp_path):
    (tmp_path / "t.json").write_text('{"labels": {"whole": [1, 2], "tumour": 2}}')
    assert read_table(tmp_path / "t.json").ids_of("whole") == (1, 2)


def test_sides_in_a_column_make_names_and_a_name_without_its_side_is_ambiguous(tmp_path):
    (tmp_path / "atlas.csv").write_text("id,label,hemisphere\n3,thalamus,L\n4,thalamus,R\n5,brainstem,B\n")
    table = find_table(tmp_path / "below" / "scan.nii.gz", "atlas.csv")  # found in a folder above the scan
    assert table.ids_of("left thalamus") == (3,) and table.ids_of("brainstem") == (5,)
    with pytest.raises(ValueError, match=r"'thalamus'.*'left thalamus' \(3\), 'right thalamus' \(4\)"):
        table.ids_of("thalamus")


def test_one_name_for_two_ids_is_ambiguous(tmp_path):
    (tmp_path / "atlas.csv").write_text("index,name\n3,rib\n4,rib\n")
    with pytest.raises(ValueError, match=r"'rib' \(3\), 'rib' \(4\)"):
        read_table(tmp_path / "atlas.csv").ids_of("rib")


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(ValueError, match=r"'kidny_left'.*kidney_left"):
        named_table("total").ids_of("kidny_left")


def test_tables_that_are_not_there_or_damaged(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'totl'.*\(total_v1, total"):
        find_table(tmp_path / "scan.nii.gz", "totl")
    (tmp_path / "bad.json").write_text('{"labels": {"a": 1')
    with pytest.raises(ValueError, match=r"bad\.json:"):
        read_table(tmp_path / "bad.json")
    (tmp_path / "bad.csv").write_text("id,name\nx,liver\n")
    with pytest.raises(ValueError, match=r"bad\.csv:"):
        read_table(tmp_path / "bad.csv")


def test_a_header_that_could_blow_up_is_refused(tmp_path):
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaa">]><x><Label Key="1">&a;</Label></x>'
    path = save(tmp_path / "scan.nii", VALUES, extension=bomb)
    with pytest.raises(ValueError, match=r"scan\.nii: .*header"):
        own_table(path, header=nibabel.load(path).header)
