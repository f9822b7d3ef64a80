"""NRRD and MetaImage: the same scan as NIfTI in every orientation, segments and layers, and hostile headers."""

import gzip
import sys

import numpy as np
import pytest
import SimpleITK

from data_processing.formats.images import open_image
from data_processing.formats.scans import described, described_file, open_any_scan, scan_stem
from data_processing.formats.voxel_files import read_voxels
from data_processing.medical.crops import mask_crop
from data_processing.medical.label_names import find_table
from data_processing.medical.label_volumes import label_volume
from tests.conftest import ROOT
from tests.data_processing.scan_files import random_affine, save

SHAPE = (7, 5, 6)
SUFFIXES = (".nrrd", ".seg.nrrd", ".mha", ".mhd")


def blob(dtype=np.uint8):
    values = np.zeros(SHAPE, dtype)
    values[1:4, 1:3, 2:5], values[4:6, 3, 1] = 3, 7
    return values


def write_image(path, values, affine):
    """By the library: its frame is LPS, its arrays run (z, y, x)."""
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    image = SimpleITK.GetImageFromArray(values.T)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    SimpleITK.WriteImage(image, str(path), useCompression=path.suffix != ".mhd")
    return path


def nrrd(path, values, *, layers=0, space="left-posterior-superior", more="", encoding="raw"):
    sizes = " ".join(map(str, values.shape))
    none, kinds = ("none ", "list ") if layers else ("", "")
    of_space = f"space: {space}" if space else "space dimension: 3"
    path.write_bytes(
        f"NRRD0004\ntype: unsigned char\ndimension: {values.ndim}\n{of_space}\n"
        f"sizes: {sizes}\nspace directions: {none}(1,0,0) (0,2,0) (0,0,3)\nkinds: {kinds}domain domain domain\n"
        f"encoding: {encoding}\nspace origin: (1,2,3)\n{more}\n".encode()
        + values.tobytes(order="F")
    )
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("seed", range(4))
def test_the_same_as_nifti_in_every_orientation(tmp_path, suffix, seed):
    affine = random_affine(np.random.default_rng(seed), (0.7, 1.3, 2.9), mirrored=bool(seed % 2))
    affine[:3, 3] = [40.5, -17.25, 9]
    image = write_image(tmp_path / f"scan{suffix}", blob(np.int16 if seed == 2 else np.uint8), affine)
    like = save(tmp_path / "scan.nii.gz", blob(), affine)
    found, expected = open_any_scan(image).grid, open_any_scan(like).grid
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-5)
    assert found.shape == expected.shape and not found.doubt
    for label in (3, 7):
        crops = [label_volume(path).mask([label]) for path in (image, like)]
        np.testing.assert_array_equal(crops[0][0], crops[1][0])
        assert crops[0][1] == crops[1][1]
    assert read_voxels(image).occupancy.sum() == (blob() > 0).sum()
    assert scan_stem(image.name) == "scan"


def test_segments_of_slicer_name_their_labels(tmp_path):
    more = "Segment0_ID:=S1\nSegment0_Name:=left kidney\nSegment0_LabelValue:=3\nSegment0_Layer:=0\n"
    more += "Segment1_ID:=S2\nSegment1_Name:=Tumour\nSegment1_LabelValue:=7\nSegment1_Layer:=0\n"
    volume = label_volume(file := nrrd(tmp_path / "a.seg.nrrd", blob(), more=more))
    assert find_table(file, None, header=volume.header).entries == (("left kidney", (3,)), ("Tumour", (7,)))
    expected = [[-1, 0, 0, -1], [0, -2, 0, -2], [0, 0, 3, 3], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.grid.affine, expected)


def test_overlapping_segments_lie_in_layers(tmp_path):
    """Both are label 1 of their layer; they overlap, and neither loses a voxel."""
    layers = np.zeros((2, *SHAPE), np.uint8)
    layers[0, 1:4, 1:3, 1:5], layers[1, 2:6, 1:4, 2:4] = 1, 1
    more = "".join(
        f"Segment{n}_ID:=S{n}\nSegment{n}_Name:={name}\nSegment{n}_LabelValue:=1\nSegment{n}_Layer:={n}\n"
        for n, name in enumerate(("organ", "tumour"))
    )
    volume = label_volume(file := nrrd(tmp_path / "a.seg.nrrd", layers, layers=2, more=more))
    ids = find_table(file, None, header=volume.header)
    for number, name in enumerate(("organ", "tumour")):
        mask, box = volume.mask(ids.ids_of(name))
        np.testing.assert_array_equal(mask, layers[number][box] > 0)
        assert mask.sum() == layers[number].sum()
    both, box = volume.mask([1, 2])
    np.testing.assert_array_equal(both, (layers.max(axis=0) > 0)[box])
    assert both.sum() == (layers.max(axis=0) > 0).sum()


@pytest.mark.parametrize(
    ("space", "more", "said"),
    [
        (None, "", "no orientation"),
        ("3D-right-handed", "", "no orientation"),
        ("right-anterior-superior", "", ""),
    ],
)
def test_spaces_that_do_not_say_where_left_is(tmp_path, space, more, said):
    grid = open_image(nrrd(tmp_path / "a.nrrd", blob(), space=space, more=more)).grid
    assert (said in grid.doubt) and bool(said) == bool(grid.doubt)


def test_units_of_the_header(tmp_path):
    more = 'space units: "um" "um" "um"\n'
    edges = np.linalg.norm(open_image(nrrd(tmp_path / "a.nrrd", blob(), more=more)).grid.affine[:3, :3], axis=0)
    np.testing.assert_allclose(edges, [1e-3, 2e-3, 3e-3])
    with pytest.raises(ValueError, match=r"b\.nrrd: space units: expected one unit of length.*lightyear"):
        open_image(nrrd(tmp_path / "b.nrrd", blob(), more='space units: "lightyear" "lightyear" "lightyear"\n'))


def header(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    return tmp_path / name


MHA = "NDims = 3\nDimSize = {size}\nElementType = {kind}\nElementSpacing = 1 1 1\nElementDataFile = {data}\n"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.mha", MHA.format(size="1000 1000 1000", kind="MET_UCHAR", data="LOCAL"), "declares 1,000,000,000 bytes"),
        ("a.mha", MHA.format(size="9 9 9 4", kind="MET_UCHAR", data="LOCAL"), "expected one 3D volume"),
        ("a.mha", MHA.format(size="4 4 4", kind="MET_OTHER", data="LOCAL"), "met_other|MET_OTHER"),
        ("a.mhd", MHA.format(size="4 4 4", kind="MET_UCHAR", data="../secret.raw"), "expected one file beside it"),
        ("a.mhd", MHA.format(size="4 4 4", kind="MET_UCHAR", data="/etc/passwd"), "expected one file beside it"),
        ("a.mhd", MHA.format(size="4 4 4", kind="MET_UCHAR", data="a%02d.raw 1 9 1"), "expected one file beside it"),
        ("a.mhd", MHA.format(size="4 4 4", kind="MET_UCHAR", data="lost.raw"), r"lost\.raw, which is not beside it"),
        ("a.nrrd", "NRRD0004\ntype: block\ndimension: 3\nsizes: 4 4 4\nencoding: raw\n\n", "type 'block'"),
        (
            "a.nrrd",
            "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2000 2000 2000\nencoding: gzip\n\n",
            "8,000,000,000 voxels",
        ),
        ("a.nrrd", "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 64 64 64\nencoding: raw\n\nshort", "262,144 bytes"),
        ("a.nrrd", "NRRD0004\ntype: uint8\ndimension: 4\nsizes: 9 4 4 4\nencoding: raw\n\n", "expected one 3D volume"),
        ("a.nrrd", "NRRD0004\ntype: uint8\nsizes: 4 4 4\nencoding: raw\ndata file: ../x.raw\n\n", "one file beside it"),
        ("a.nrrd", "no image", "expected a NRRD image"),
        ("a.mha", "no image", "expected lines"),
    ],
)
def test_hostile_headers_are_refused_before_memory_is_asked_for(tmp_path, name, text, said):
    with pytest.raises(ValueError, match=rf"{name}.*({said})"):
        label_volume(header(tmp_path, name, text))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_without_the_extra_one_line_names_it(tmp_path, monkeypatch, suffix):
    path = write_image(tmp_path / f"scan{suffix}", blob(), np.eye(4))
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(ValueError, match=r"scan.*SimpleITK, which is not installed: pip install 'isofield\[images\]'"):
        mask_crop(path)


def test_what_other_files_are_is_said_in_one_line(tmp_path):
    folder = ROOT / "tests" / "data" / "strangers" / "folders_of_other_formats"
    files = [*(folder / "dicom").iterdir(), *(folder / "pair").iterdir()]
    assert described(files) == (
        "3 without suffix, 3 .dcm: DICOM; convert it, for example with dcm2niix (segmentations and contours with 3D "
        "Slicer); 1 .hdr, 1 .img: a NIfTI or Analyze pair; write it as .nii.gz (Analyze does not say where left is)"
    ) or described(files).startswith("3 .dcm, 3 without suffix: DICOM")
    assert "3D Slicer" in described_file(tmp_path / "brain.mgz") and described_file(tmp_path / "notes.txt") == ""
    (tmp_path / "brain.mgz").write_bytes(gzip.compress(b"FreeSurfer"))
    with pytest.raises(ValueError, match=r"brain\.mgz: it is another format of scans; write it as \.nii\.gz"):
        open_any_scan(tmp_path / "brain.mgz")
