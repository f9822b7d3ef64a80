"""Clouds as text: the same points through every dialect that programs write, and a line that is wrong is named."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_processing.formats.point_clouds import read_cloud
from data_processing.formats.text_clouds import is_text_cloud, read_text_cloud
from tests.conftest import ROOT

CASE = ROOT / "tests/data/strangers/text_clouds_with_headers"
MEAN = [5.0062762, 5.97333612, 6.7998186]  # of the 500 points that all files of the case hold


@pytest.mark.parametrize("file", sorted(CASE.glob("*")), ids=lambda file: file.name)
def test_the_same_points_in_every_dialect_of_the_case(file: Path):
    cloud = read_cloud(file)
    assert cloud is not None and cloud.points_N3.shape == (500, 3) and cloud.normals_N3 is None
    np.testing.assert_allclose(cloud.points_N3.mean(axis=0), MEAN, atol=1e-6)
    np.testing.assert_array_equal(cloud.points_N3[0], [5.36354, 7.7286, 8.04281])
    assert is_text_cloud(file)


def read(folder: Path, text: str | bytes, name: str = "a.xyz"):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    cloud = read_cloud(folder / name)
    assert cloud is not None
    return cloud


SEPARATORS = {
    "blank": " ",
    "blanks": "   ",
    "tab": "\t",
    "comma": ",",
    "comma blank": ", ",
    "semicolon": ";",
    "bar": "|",
}
numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 4))
points_lists = st.lists(st.tuples(numbers, numbers, numbers), min_size=2, max_size=12, unique=True)


@st.composite
def dialects(draw):
    """A text, the points it holds, and their normals where the text says that it has them."""
    points = np.array(draw(points_lists))
    named = draw(st.booleans())
    extra = draw(st.sampled_from(["", "colours", "intensity", "normals", "colours normals", "id"]))
    columns, names = list(points.T), ["x", "y", "z"]
    normals = None
    random = np.random.default_rng(draw(st.integers(0, 99)))
    if "colours" in extra:
        columns += list(random.integers(0, 256, (3, len(points))))
        names += ["r", "g", "b"]
    if "normals" in extra:
        normals = random.normal(size=(len(points), 3))
        normals = np.round(normals / np.linalg.norm(normals, axis=1, keepdims=True), 6)
        normals[0] = [0, 0, -1]
        columns += list(normals.T)
        names += ["nx", "ny", "nz"]
    if extra == "intensity":
        columns, names = [*columns, random.integers(0, 4096, len(points))], [*names, "intensity"]
    if extra == "id" and named:
        columns, names = [np.arange(len(points)) * 3, *columns], ["id", *names]
    separator = draw(st.sampled_from(sorted(SEPARATORS)))
    decimal = draw(st.sampled_from([".", ","] if separator in ("tab", "semicolon", "blank", "bar") else ["."]))
    rows = [[np.format_float_positional(value, trim="-") for value in row] for row in zip(*columns, strict=True)]
    if decimal == "," and not any("." in value for row in rows[:1] for value in row):
        decimal = "."  # no comma in the first line tells of itself
    lines = [SEPARATORS[separator].join(row).replace(".", decimal) for row in rows]
    where = draw(st.sampled_from(["first line", "comment", "capitals"]))
    if named:
        title = SEPARATORS[separator].join(names)
        lines.insert(0, {"comment": f"// {title}", "capitals": title.upper()}.get(where, title))
    if draw(st.booleans()):
        lines.insert(0, str(len(points)))
    if draw(st.booleans()):
        lines.insert(0, "# made by somebody")
    lines += [""] * draw(st.integers(0, 2))
    text = draw(st.sampled_from(["\n", "\r\n", "\r"])).join(lines)
    mark = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    return text.encode(mark), points, normals


@settings(max_examples=300, deadline=None)
@given(made=dialects(), suffix=st.sampled_from([".xyz", ".pts", ".csv", ".txt", ".asc"]))
def test_points_and_normals_come_back_from_every_dialect(made, suffix: str, tmp_path_factory):
    text, points, normals = made
    cloud = read(tmp_path_factory.getbasetemp(), text, f"dialect{suffix}")
    np.testing.assert_array_equal(cloud.points_N3, points)
    if normals is None:
        assert cloud.normals_N3 is None
    else:
        np.testing.assert_array_equal(cloud.normals_N3, normals)


def test_columns_are_found_by_their_names(tmp_path):
    cloud = read(
        tmp_path, 'Name,Normals:0,Normals:1,Normals:2,"Points:2","Points:1","Points:0"\na,1,0,0,3,2,1\nb,0,1,0,6,5,4\n'
    )
    assert cloud.points_N3.tolist() == [[1, 2, 3], [4, 5, 6]] and cloud.normals_N3.tolist() == [[1, 0, 0], [0, 1, 0]]
    cloud = read(tmp_path, "//X Y Z R G B Nx Ny Nz\n1 2 3 0 0 255 0 0 -1\n4 5 6 0 0 0 0 1 0\n")
    assert cloud.points_N3.tolist() == [[1, 2, 3], [4, 5, 6]] and cloud.normals_N3.tolist() == [[0, 0, -1], [0, 1, 0]]
    cloud = read(tmp_path, "pos_x [m];pos_y [m];pos_z [m];label\n1;2;3;wall\n4;5;6;\n")
    assert cloud.points_N3.tolist() == [[1, 2, 3], [4, 5, 6]]
    cloud = read(tmp_path, "Northing,Easting,Elevation\n2,1,3\n5,4,6\n")  # in this order they would be mirrored
    assert cloud.points_N3.tolist() == [[1, 2, 3], [4, 5, 6]]
    cloud = read(tmp_path, "Scan of a chair, by somebody in Berlin, 2021\n1,2,3\n4,5,6\n")
    assert cloud.points_N3.tolist() == [[1, 2, 3], [4, 5, 6]]
    cloud = read(tmp_path, "id z_mm y_mm x_mm\n7 3 2 1\n9 6 5 4\n")
    assert cloud.points_N3.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_points_that_are_numbered_keep_their_coordinates(tmp_path):
    points = np.random.default_rng(0).random((20, 3))
    text = "".join(f"{number} {x} {y} {z}\n" for number, (x, y, z) in enumerate(points, start=1))
    np.testing.assert_array_equal(read(tmp_path, text).points_N3, points)


@pytest.mark.parametrize("gap", ["nan", "NaN", "-nan(ind)", "inf", "1.#QNAN", "null", ""])
def test_points_without_numbers_are_left_out_and_counted(tmp_path, gap: str):
    cloud = read(tmp_path, f"x,y,z\n1,2,3\n{gap},2,3\n4,5,6\n{gap},{gap},{gap}\n")
    assert cloud.points_N3.tolist() == [[1, 2, 3], [4, 5, 6]] and cloud.left_out == 2
    assert cloud.note == "2 of 4 points without numbers left out"


def test_clouds_one_behind_the_other_are_one(tmp_path):
    assert len(read(tmp_path, "2\n1 2 3 9\n4 5 6 9\n1\n7 8 9 9\n", "a.pts").points_N3) == 3


def test_colours_are_no_normals(tmp_path):
    assert read(tmp_path, "1 2 3 1 0 0\n4 5 6 0 1 0\n").normals_N3 is None
    assert read(tmp_path, "1 2 3 -1 0 0\n4 5 6 0 1 0\n").normals_N3.tolist() == [[-1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("500\n1 2 3\n4 5 6\n", "declares 500 points, holds 2"),
        ("1 2 3 4\n4 5 6 4\n7 8 9\n", "line 3: expected 4 values as in line 1, got 3: '7 8 9'"),
        ("x,y,z\n1,2,3\n\n4,five,6\n", "line 4: expected numbers x y z, got 'five' in column 2"),
        ("x,y,z,sdf\n1,2,3,0.1\n4,5,6,0.2\n", "column 'sdf'"),
        ("1 2 3 -0.5\n4 5 6 0.5\n", "fourth column on both sides of 0"),
        ("lat,lon,alt,id\n1,2,3,4\n5,6,7,8\n", "columns named x, y, z; got lat, lon, alt, id: these are no lengths"),
        ("lat,lon,alt\n1,2,3\n5,6,7\n", "got lat, lon, alt: these are no lengths along three axes"),
        ("# Latitude Longitude Height\n1 2 3\n5 6 7\n", "latitude, longitude, height: these are no lengths"),
        ("range;azimuth;elevation\n1;2;3\n5;6;7\n", "range, azimuth, elevation: these are no lengths"),
        ("red,green,blue\n1,2,3\n5,6,7\n", "got red, green, blue: rename those that are meant"),
        ("3\nmethane\nC 0 0 0\nH 0 0 1\nH 0 1 0\n", "line 3: expected numbers x y z, got 'C' in column 1"),
        ("0,5, 1,5, 2,5\n1,5, 2,5, 4,5\n", "line 1: expected commas between values or in them, got both"),
        ("To whom it may concern\n", "three numbers x y z, got 'To whom"),
        (b"\x00\x01\x02\x03", "bytes that are no text"),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path, text, said: str):
    with pytest.raises(ValueError, match=rf"a\.xyz: .*{said}"):
        read(tmp_path, text)


def test_other_text_is_not_taken_for_a_cloud(tmp_path):
    for name, text in {
        "a.txt": "Licence: see the web page\n",
        "b.csv": "file,licence\na.ply,CC0\n",
        "c.txt": "",
    }.items():
        (tmp_path / name).write_text(text)
        assert not is_text_cloud(tmp_path / name)


def written(path, columns):
    path.write_text("".join(" ".join(f"{value:.10g}" for value in row) + "\n" for row in np.stack(columns, axis=1)))
    return path


def test_columns_without_names_that_are_no_coordinates(tmp_path):
    random = np.random.default_rng(0)
    points, count = random.normal(size=(50, 3)) * [3, 2, 1] + [10, 20, 30], np.arange(50.0)
    xyz, colours = list(points.T), list(random.integers(0, 256, (3, 50)).astype(float))
    # A column that counts is left out however many follow, times and colours before the points are refused.
    for more in ([], [random.random(50)], colours[:2], colours):
        found, _ = read_text_cloud(written(tmp_path / "numbered.txt", [count, *xyz, *more]))
        np.testing.assert_allclose(found, points, rtol=1e-9)
    found, _ = read_text_cloud(written(tmp_path / "shuffled.txt", [random.permutation(count), *xyz]))
    np.testing.assert_allclose(found, points, rtol=1e-9)
    for clock in (1.6e9 + count / 10, 3.2e8 + count // 7, count / 10, 5 + count):
        with pytest.raises(ValueError, match=r"times\.txt: its first column ascends from .*name the columns"):
            read_text_cloud(written(tmp_path / "times.txt", [clock, *xyz, random.random(50)]))
    with pytest.raises(ValueError, match=r"rgb\.txt: its first three columns look like colours"):
        read_text_cloud(written(tmp_path / "rgb.txt", [*colours, *xyz]))
    with pytest.raises(ValueError, match=r"shares\.txt: its first three columns look like colours from 0 to 1"):
        read_text_cloud(written(tmp_path / "shares.txt", [*random.random((3, 50)), *xyz]))
    # What is none of them stays: points in millimetres of a map, whole numbers with normals or colours, points by x.
    normals = list((points / np.linalg.norm(points, axis=1, keepdims=True)).T)
    whole, ascending = [np.rint(axis * 5) for axis in xyz], points[points[:, 0].argsort()]
    for columns in ([4.3e8 + axis for axis in xyz] + [count], whole + normals, whole + colours, [*ascending.T, count]):
        found, _ = read_text_cloud(written(tmp_path / "kept.txt", columns))
        np.testing.assert_allclose(found, np.stack(columns[:3], axis=1), rtol=1e-9)


def test_decimal_commas_between_commas_are_refused(tmp_path):
    """0.5, -1.05, 2.25 written so are six whole numbers: read as such they would be points, and wrong."""
    (tmp_path / "cut.csv").write_text("0,50,-1,05,2,25\n1,50,1,75,-0,01\n")
    with pytest.raises(ValueError, match=r"cut\.csv: line 1: decimal commas between commas.*'0,50,-1,05,2,25'"):
        read_text_cloud(tmp_path / "cut.csv")
    (tmp_path / "colours.csv").write_text("1,20,-3,250,0,10\n4,50,6,20,30,99\n")  # no number begins with 0
    found, _ = read_text_cloud(tmp_path / "colours.csv")
    np.testing.assert_array_equal(found, [[1, 20, -3], [4, 50, 6]])
