"""A folder of files that are not read: one line that says what is there and what to do, the same in all commands."""

from pathlib import Path

import pytest

from data_processing.loading.network_inputs import InputConfig
from data_processing.preparation.config import DataConfig
from data_processing.preparation.shape import read_shape
from data_processing.preparation.sources import list_sources
from isofield.evaluation.mask_pairs import masks_below
from isofield.evaluation.pairs import files_by_name, pairs_of_folders
from isofield.generation.input_files import FolderRules, named_files
from isofield.outliers.analysis.scans import find_scans
from tests.conftest import ROOT

FORMATS = ROOT / "tests" / "data" / "strangers" / "folders_of_other_formats"
CONFIG = DataConfig(name="x", input=Path("x"))
LOOKS = {
    "prepare": lambda folder: list_sources(folder),
    "prepare, kind mesh": lambda folder: list_sources(folder, kind="mesh"),
    "generate": lambda folder: named_files([folder], InputConfig("solid", 32), CONFIG, FolderRules()),
    "generate, points": lambda folder: named_files(
        [folder], InputConfig("points", 32, points=500), CONFIG, FolderRules()
    ),
    "evaluate": lambda folder: files_by_name(folder, (".ply", ".nii.gz")),
    "evaluate, two folders": lambda folder: pairs_of_folders(folder, folder),
    "evaluate, masks": lambda folder: masks_below(folder),
    "analyse": lambda folder: find_scans(folder, ("liver",)),
}


@pytest.mark.parametrize("command", LOOKS)
@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("dicom", r"it has 3 without suffix, 3 \.dcm: DICOM; convert it, for example with dcm2niix"),
        ("pair", r"it has 1 \.hdr, 1 \.img: a NIfTI or Analyze pair; write it as \.nii\.gz"),
    ],
)
def test_one_line_in_all_commands(command, folder, said):
    with pytest.raises(FileNotFoundError, match=rf"{folder} (holds|has) no .*{said}") as told:
        LOOKS[command](FORMATS / folder)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("command", LOOKS)
@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a.dae", "b.FBX", "c.usdz", "d.3mf"], r"meshes and scenes; export it as \.glb"),
        (["a.step", "b.igs"], "a CAD model.*mesh it"),
        (["a.las", "b.e57", "c.PTX"], r"another format of point clouds; write it as \.ply or \.pcd"),
        (["a.zip", "b.obj.gz", "c.tar.bz2"], "an archive, or a packed file; unpack it"),
    ],
)
def test_scenes_cad_models_and_archives_have_a_way_out_too(command, names, said, tmp_path):
    for name in names:
        (tmp_path / name).write_bytes(b"PK\3\4")
    with pytest.raises(FileNotFoundError, match=rf"(holds|has) no .*it has .*{said}") as told:
        LOOKS[command](tmp_path)
    assert "scans" not in str(told.value).split("it has")[1]
    with pytest.raises(ValueError, match=rf"{names[0]}: it is .*{said}"):
        read_shape(tmp_path / names[0], CONFIG)
