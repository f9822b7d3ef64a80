"""Views of shapes in a data set: rendered of boxes and real chairs, or read from folders as 3D-R2N2's are."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_processing.formats.mesh_files import read_mesh, write_mesh
from data_processing.geometry.coordinates import normalising_to_world
from data_processing.geometry.rendering import (
    BACKGROUND,
    MARGIN,
    Camera,
    ViewBall,
    camera_positions,
    photographs,
    render,
)
from data_processing.geometry.triangle_mesh import TriangleMesh, sample_surface
from data_processing.preparation.config import DataConfig, content_settings
from data_processing.preparation.contents import Contents, RenderingConfig
from data_processing.preparation.cube_shape import CubeShape
from data_processing.preparation.job import prepare_folder
from data_processing.preparation.renderings import drawn_cameras, rendering_row
from data_processing.preparation.shape import attempt, read_shape
from data_processing.preparation.sources import Source
from data_processing.preparation.surface_points import visible_from
from data_processing.store.shape_set import open_shapes
from isofield.runtime.commandline import DONE, SOME_FAILED
from isofield.runtime.config import build, to_plain
from isofield.runtime.seeds import numpy_generator
from tests.data_processing.box_folders import contents, write_boxes
from tests.data_processing.geometry.test_rendering import box

SETTINGS = RenderingConfig(views=5, size=48)
ONLY_VIEWS = Contents(voxels=0, levels=False, rendering=SETTINGS)


def config_for(raw: Path, output: Path, **options: object) -> DataConfig:
    settings = {"name": "seen", "input": raw, "output": output, "workers": 1, "shard_size": 2, "contents": ONLY_VIEWS}
    return DataConfig(**(settings | options))


def one(file: Path, **options: object) -> DataConfig:
    return config_for(file.parent, file.parent, **options)


def in_cube(file: Path, *, by: str = "longest_edge", length: float = 0.9) -> TriangleMesh:
    mesh = read_mesh(file)
    return mesh.transform(np.linalg.inv(normalising_to_world(*mesh.bounds(), by=by, length=length)))


def of_surface(mesh: TriangleMesh) -> CubeShape:
    """Rendering needs no more of a shape."""
    return CubeShape(None, np.eye(4), "", "ok", lambda: mesh, None)


def rendered(file: Path, settings: RenderingConfig = SETTINGS, **normalisation: object):
    return rendering_row(of_surface(in_cube(file, **normalisation)), settings, seed=0, name="a/b")


@pytest.fixture(scope="module")
def chair(examples: Path) -> Path:
    return sorted(examples.glob("chair/*.ply"))[0]


# Photographs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("azimuth", [35.0, 200.0])
def test_a_photograph_is_the_mean_of_many_rays(chair: Path, azimuth: float):
    """Against 64 rays in every pixel, as reports cast them: the few rays that are cast leave little to see."""
    mesh = in_cube(chair)
    camera, distance = Camera(azimuth, 27.0, 49.1), 2.0
    few = photographs(mesh, [camera], [distance], size=100)[0].astype(float)
    view_ball = ViewBall(np.zeros(3), distance * np.sin(np.radians(camera.field_of_view / 2)) / (1 + MARGIN))
    difference = few - render(mesh, [camera], size=100, view_ball=view_ball, supersampling=8)[0]
    assert np.sqrt((difference**2).mean()) < 2 and (np.abs(difference) > 30).mean() < 1e-3
    assert abs(difference.mean()) < 0.1


def test_a_pixel_is_as_grey_as_it_is_covered():
    """A square plate seen head-on covers the middle of a picture, its border pixels by known shares."""
    edge, distance, view = 0.5, 2.0, 60.0
    plate = box([-edge / 2, -edge / 2, -1e-4], [edge / 2, edge / 2, 0.0])
    picture = photographs(plate, [Camera(0, 0, view)], [distance], size=31)[0].astype(float)
    half = edge / 2 / distance / np.tan(np.radians(view / 2)) * 31 / 2  # in pixels from the middle
    inner = picture[15, 15]
    share = (half - 0.5) % 1
    outermost = 15 + int(np.ceil(half - 0.5))
    expected = share * inner + (1 - share) * BACKGROUND
    assert picture[15, outermost] == pytest.approx(expected, abs=(BACKGROUND - inner) / 4)
    assert picture[15, outermost + 1] == BACKGROUND and picture[15, outermost - 1] == inner


@pytest.mark.parametrize(("azimuth", "up"), [(0.0, "y"), (90.0, "y"), (215.0, "y"), (130.0, "z")])
def test_a_camera_sees_points_where_its_numbers_say(azimuth: float, up: str):
    """A small box off the middle: its place in the picture by a projection of its own."""
    middle = np.array([0.25, -0.1, 0.15])
    marker = box(middle - 0.02, middle + 0.02)
    size, view, distance = 101, 40.0, 2.5
    picture = photographs(marker, [Camera(azimuth, 30.0, view)], [distance], size=size, up=up)[0]
    turn = np.eye(3) if up == "y" else np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # the file's frame to y up
    angle, lift = np.radians([azimuth, 30.0])
    eye = distance * np.array([np.sin(angle) * np.cos(lift), np.sin(lift), np.cos(angle) * np.cos(lift)])
    forward = -eye / distance
    right = np.cross(forward, [0, 1, 0])
    right /= np.linalg.norm(right)
    way = turn @ middle - eye
    across = np.array([way @ right, way @ np.cross(right, forward)]) / (way @ forward) / np.tan(np.radians(view / 2))
    rows, columns = np.nonzero(picture < 200)
    assert columns.mean() + 0.5 == pytest.approx(size / 2 * (1 + across[0]), abs=1)
    assert rows.mean() + 0.5 == pytest.approx(size / 2 * (1 - across[1]), abs=1)


def test_rods_thinner_than_a_pixel_are_there():
    """A third of a pixel wide, wherever it lies between the rays: all along, with about the same ink."""
    ink = []
    for place in np.linspace(0, 0.02, 7):
        rod = box([-0.3, -0.0035, place - 0.0035], [0.3, 0.0035, place + 0.0035])
        for azimuth, across in ((0, 0), (90, 1)):
            pixels = photographs(rod, [Camera(azimuth, 90, 50)], [1.5], size=64)[0]
            assert (pixels < BACKGROUND).any(axis=across)[20:44].all()
            ink.append(float((BACKGROUND - pixels.astype(float)).sum()))
    assert np.ptp(ink) < 0.35 * np.mean(ink)


def test_finer_rods_are_followed_along():
    """A sixth of a pixel: the first rays of a row may all miss it; what some hit, the rays beside them hit too."""
    found = []
    for place in np.linspace(0, 0.02, 7):
        rod = box([-0.3, -0.0018, place - 0.0018], [0.3, 0.0018, place + 0.0018])
        pixels = photographs(rod, [Camera(0, 90, 50)], [1.5], size=64)[0]
        found.append((pixels < BACKGROUND).any(axis=0)[20:44].mean())
    assert np.mean(found) > 0.65


def test_what_is_not_in_the_picture():
    away = photographs(box([5.0, 5, 5], [6, 6, 6]), [Camera(0, 0, 30)], [1.5], size=64)[0]
    assert (away == BACKGROUND).all()


# Cameras --------------------------------------------------------------------------------------------------------------


def test_cameras_are_on_a_ring_and_stored_as_they_stood(chair: Path):
    row = rendered(chair)
    assert row["pixels"].shape == (5, 48, 48) and row["pixels"].dtype == np.uint8
    azimuth, elevation, distance = row["cameras"].T
    assert np.allclose(np.diff(azimuth) % 360, 72, atol=1e-3)
    assert ((elevation >= 25) & (elevation <= 30)).all() and np.ptp(elevation) > 0.5
    mesh = in_cube(chair)
    radius = np.linalg.norm(np.ptp(np.stack(mesh.bounds()), axis=0)) / 2
    assert ((distance >= 2.6 * radius) & (distance <= 3.3 * radius)).all()
    again = photographs(mesh, [Camera(a, e, 49.1) for a, e, _ in row["cameras"].tolist()], distance.tolist(), size=48)
    assert np.array_equal(again, row["pixels"])


def test_draws_belong_to_seed_and_name(chair: Path):
    cameras = drawn_cameras(SETTINGS, radius=1.0, seed=0, name="a/b")
    assert np.array_equal(cameras, drawn_cameras(SETTINGS, radius=1.0, seed=0, name="a/b"))
    for seed, name in ((1, "a/b"), (0, "a/c")):
        assert not np.array_equal(cameras, drawn_cameras(SETTINGS, radius=1.0, seed=seed, name=name))
    fixed = RenderingConfig(views=4, azimuth=10.0, elevation=(20.0, 20.0), distance=(3.0, 3.0))
    expected = [[10, 20, 6], [100, 20, 6], [190, 20, 6], [280, 20, 6]]
    assert drawn_cameras(fixed, radius=2.0, seed=3, name="x").tolist() == expected


def test_pictures_do_not_depend_on_the_normalisation(chair: Path):
    one_way = rendered(chair)["pixels"].astype(int)
    other = rendered(chair, by="diagonal", length=0.6)["pixels"].astype(int)
    assert (np.abs(one_way - other) > 3).mean() < 2e-3


def test_nothing_is_cut_off_and_shapes_fill_as_much_as_settings_say(examples: Path):
    """Real chairs and tables; in the 128 of 137 pixels that a network is shown."""
    settings, fills = RenderingConfig(views=4), []
    for file in sorted(examples.glob("*/*.ply"))[::12]:
        for picture in rendered(file, settings)["pixels"]:
            rows, columns = np.nonzero(picture < 250)
            assert min(rows.min(), columns.min()) > 4 and max(rows.max(), columns.max()) < 132
            fills.append((max(np.ptp(rows), np.ptp(columns)) + 1) / 137)
    assert np.median(fills) == pytest.approx(settings.fill, abs=0.07)


def test_cameras_see_what_visibility_says(chair: Path):
    """What visibility.py calls seen from a camera's place is there in its picture: two ways to the same view."""
    mesh = in_cube(chair)
    points, normals = sample_surface(mesh, 300, numpy_generator("points"))
    camera, distance, size = Camera(40.0, 25.0, 49.1), 2.2, 400
    picture = photographs(mesh, [camera], [distance], size=size)[0]
    eye = camera_positions([camera], distance=distance)
    seen = visible_from(mesh, points, normals, eye)[:, 0]
    forward = -eye[0] / distance
    right = np.cross(forward, [0, 1, 0]) / np.linalg.norm(np.cross(forward, [0, 1, 0]))
    way = points - eye[0]
    scale = size / 2 / np.tan(np.radians(camera.field_of_view / 2)) / (way @ forward)
    column, row = size / 2 + way @ right * scale, size / 2 - way @ np.cross(right, forward) * scale
    assert (picture[row.astype(int), column.astype(int)][seen] < BACKGROUND).all() and seen.sum() > 50


# Data sets ------------------------------------------------------------------------------------------------------------


def test_a_job_with_views_is_the_same_bytes_whatever_the_workers(tmp_path: Path):
    raw = write_boxes(tmp_path / "raw", chairs=2, tables=1)
    for workers in (1, 2):
        assert prepare_folder(config_for(raw, tmp_path / str(workers), workers=workers)) == DONE
    first, second = contents(tmp_path / "1"), contents(tmp_path / "2")
    assert {k: v for k, v in first.items() if k.endswith(".h5")} == {k: v for k, v in second.items() if ".h5" in k}
    times = list(csv.DictReader((tmp_path / "1" / "timings.csv").read_text().splitlines()))
    assert len(times) == 3 and all(float(row["rendering_wall"]) > 0 for row in times)
    shapes = open_shapes(tmp_path / "1")
    row = shapes.packed_row(0)
    assert list(row) == ["pixels", "cameras"] and row["pixels"].shape == (5, 48, 48)
    assert len({picture.tobytes() for picture in row["pixels"]}) == 5


def test_voxels_are_rendered_by_their_surface(tmp_path: Path):
    """A mesh of a box, and voxels of the same box, look alike."""
    voxels = np.zeros((40, 40, 40), np.uint8)
    voxels[5:35, 12:22, 10:30] = 1
    np.save(tmp_path / "part.npy", voxels)
    corners = np.array([[5, 12, 10], [35, 22, 30]]) / 40 - 0.5
    write_mesh(tmp_path / "part.ply", box(*corners))
    of_voxels = rendering_row(
        read_shape(tmp_path / "part.npy", one(tmp_path / "part.npy")), SETTINGS, seed=0, name="a/b"
    )
    two = [row["pixels"].astype(int) for row in (of_voxels, rendered(tmp_path / "part.ply"))]
    assert np.abs(two[0] - two[1]).mean() < 3


def write_renderings(folder: Path, *, views: int = 5, size: int = 48, shade: int = 0) -> np.ndarray:
    """Pictures as 3D-R2N2's: 00.png, ..., colours with alpha; returns them in grey on white."""
    folder.mkdir(parents=True)
    expected = []
    for view in range(views):
        rgba = np.zeros((size, size, 4), np.uint8)
        rgba[view : view + 10, 5:25] = (40 + shade, 80, 10 * view, 200)
        Image.fromarray(rgba).save(folder / f"{view:02d}.png")
        alpha = rgba[..., 3] / 255
        expected.append(np.rint(np.rint(rgba[..., :3] @ [0.299, 0.587, 0.114]) * alpha + 255 * (1 - alpha)))
    return np.stack(expected)


@pytest.mark.parametrize("layout", ["{shape}", "chair/{shape}"])
def test_renderings_that_are_there_are_taken(tmp_path: Path, layout: str):
    raw = write_boxes(tmp_path / "raw", chairs=2, tables=0)
    names = sorted(file.stem for file in raw.glob("chair/*"))
    expected = {
        f"chair/{name}": write_renderings(tmp_path / "seen" / layout.format(shape=name) / "rendering", shade=9 * number)
        for number, name in enumerate(names)
    }
    rendering = RenderingConfig(views=5, size=48, folder=tmp_path / "seen")
    config = config_for(raw, tmp_path / "set", contents=Contents(voxels=0, levels=False, rendering=rendering))
    assert prepare_folder(config) == DONE
    shapes = open_shapes(config.folder)
    assert list(shapes.packed_row(0)) == ["pixels"]
    for index, name in enumerate(shapes.names):
        assert np.array_equal(shapes.packed_row(index)["pixels"], expected[name])


def test_renderings_of_shapenets_deeper_folders(tmp_path: Path):
    settings = RenderingConfig(views=5, size=48, folder=tmp_path / "seen")
    expected = write_renderings(tmp_path / "seen" / "02691156" / "1a04" / "rendering")
    row = rendering_row(None, settings, seed=0, name="02691156/1a04/models/model_normalized")
    assert np.array_equal(row["pixels"], expected)


def test_missing_and_odd_pictures_are_rows_that_say_so_and_are_tried_again(tmp_path: Path):
    raw = write_boxes(tmp_path / "raw", chairs=4, tables=0)
    names = sorted(file.stem for file in raw.glob("chair/*"))
    seen = tmp_path / "seen"
    for name in names[1:]:
        write_renderings(seen / name / "rendering", size=32 if name == names[2] else 48)
    (seen / names[1] / "rendering" / "03.png").unlink()
    (seen / names[3] / "rendering" / "01.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    rendering = RenderingConfig(views=5, size=48, folder=seen)
    config = config_for(raw, tmp_path / "set", contents=Contents(voxels=0, levels=False, rendering=rendering))
    with pytest.raises(ValueError, match=r"\b4 shapes"):
        prepare_folder(config)
    reasons = {row["name"]: row["reason"] for row in json.loads((config.folder / "report.json").read_text())["shapes"]}
    assert f"no renderings of chair/{names[0]}: searched" in reasons[f"chair/{names[0]}"]
    assert "1 of 5 pictures are missing, the first: 03.png" in reasons[f"chair/{names[1]}"]
    assert "00.png: 32x32 pixels, expected 48x48" in reasons[f"chair/{names[2]}"]
    assert "01.png: expected a picture" in reasons[f"chair/{names[3]}"]
    Image.new("RGB", (48, 48)).save(seen / names[1] / "rendering" / "03.png")
    Image.new("RGB", (48, 48)).save(seen / names[3] / "rendering" / "01.png")
    assert prepare_folder(config) == SOME_FAILED
    assert open_shapes(config.folder).names == [f"chair/{names[1]}", f"chair/{names[3]}"]


def test_older_sets_go_on_and_settings_round_trip(tmp_path: Path):
    """A key that came later leaves the settings of data sets made before as they were."""
    assert "contents" not in content_settings(to_plain(config_for(tmp_path, tmp_path, contents=Contents())))
    grids = content_settings(to_plain(config_for(tmp_path, tmp_path, contents=Contents(grids=(32,)))))
    assert "rendering" not in grids["contents"] and "photo" not in grids
    with_views = content_settings(to_plain(config_for(tmp_path, tmp_path)))
    assert with_views["contents"]["rendering"]["views"] == 5
    assert build(Contents, with_views["contents"], where="test") == ONLY_VIEWS


def test_a_set_says_who_drew_its_pictures_and_does_not_mix_them(tmp_path: Path):
    raw = write_boxes(tmp_path / "raw", chairs=2, tables=0)
    drawn, taken = content_settings(to_plain(config_for(raw, tmp_path / "set"))), replace(SETTINGS, folder=tmp_path)
    assert drawn["contents"]["rendering"]["drawn_by"] == "isofield"
    taken_settings = content_settings(to_plain(config_for(raw, raw, contents=replace(ONLY_VIEWS, rendering=taken))))
    assert "drawn_by" not in taken_settings["contents"]["rendering"]  # nothing is drawn: older sets go on
    assert prepare_folder(config_for(raw, tmp_path / "set")) == DONE
    # As it was written when embree drew.
    job = json.loads((tmp_path / "set/job.json").read_text())
    del job["settings"]["contents"]["rendering"]["drawn_by"]
    (tmp_path / "set/job.json").write_text(json.dumps(job))
    with pytest.raises(ValueError, match=r"drawn_by: None there, 'isofield' now.*output=FOLDER"):
        prepare_folder(config_for(raw, tmp_path / "set"))
    assert open_shapes(tmp_path / "set").names  # it is still trained on


def test_a_shape_without_surface_is_a_row(tmp_path: Path):
    np.save(tmp_path / "none.npy", np.zeros((8, 8, 8), np.uint8))
    rows, record = attempt(Source("a/none", "a", "none.npy", "voxels"), one(tmp_path / "none.npy"))
    assert rows == [] and record.status == "failed" and record.reason


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"views": 0}, "views"),
        ({"size": 8}, "pixels"),
        ({"elevation": (30, 20)}, "elevation"),
        ({"elevation": (0, 91)}, "elevation"),
        ({"distance": (0.9, 2)}, "distance: "),
        ({"distance": (3, 2)}, "distance: "),
        ({"field_of_view": 180}, "field_of_view"),
        ({"azimuth": float("nan")}, "azimuth"),
    ],
)
def test_settings_that_make_no_sense(wrong: dict, message: str):
    with pytest.raises(ValueError, match=message):
        RenderingConfig(**wrong)
