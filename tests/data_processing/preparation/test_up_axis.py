"""Which axis points up: formats and layouts say it, a preparation that contradicts them is told, nothing is turned."""

import re
from pathlib import Path

import pytest

from data_processing.medical.structures import LabelConfig, StructureConfig
from data_processing.preparation.config import DataConfig
from data_processing.preparation.contents import Contents, RenderingConfig, SurfaceConfig
from data_processing.preparation.up_axis import describe_up, up_of_data, up_of_files

MODELNET = ["chair/train/chair_0001.off", "chair/test/chair_0002.off"]
SHAPENET = [f"03001627/{name}/models/model_normalized.obj" for name in ("1a", "2b")]
GLTF = ["one.glb", "two.GLTF"]
PLAIN = ["a/one.ply", "a/two.ply"]
BARE = Contents(levels=False, voxels=64)
DRAWN = Contents(levels=False, rendering=RenderingConfig(views=1, size=32))
SEEN = Contents(levels=False, surface=SurfaceConfig(points=64, views=8, up="z"))


def config(contents: Contents = BARE, **more: object) -> DataConfig:
    return DataConfig(name="set", input=Path("shapes"), contents=contents, **more)


@pytest.mark.parametrize(
    ("files", "more", "axis"),
    [
        (MODELNET, {}, "z"),
        (SHAPENET, {}, "y"),
        (GLTF, {}, "y"),
        ([f"000-{n:03}/{n:032x}.glb" for n in range(2)], {}, "y"),
        ([*GLTF, "three.ply"], {}, None),
        (PLAIN, {}, None),
        (PLAIN, {"layout": "shapenet"}, "y"),
        (PLAIN, {"layout": "modelnet"}, None),  # folders of splits alone say nothing: ModelNet's own files are .off
        ([name.replace(".off", ".ply") for name in MODELNET], {}, None),
        ([], {}, None),
    ],
)
def test_what_files_say(files: list[str], more: dict, axis: str | None):
    known = up_of_files(files, config(**more), root="shapes")
    assert (known and known.axis) == axis and (known is None or known.why)


def test_scans_say_it_by_themselves():
    labels = LabelConfig(structures=(StructureConfig("kidney", (1,)),))
    known = up_of_files(["one.nii.gz"], config(kind="labels", labels=labels))
    assert known and known.axis == "z" and "head" in known.why


@pytest.mark.parametrize(
    ("contents", "files", "line"),
    [
        (DRAWN, MODELNET, "up: y by contents.rendering.up, but .* z up: cameras see them lie; .*rendering.up=z"),
        (SEEN, SHAPENET, "up: z by contents.surface.up, but .* y up: .*--set contents.surface.up=y"),
        (SEEN, MODELNET, "up: z by contents.surface.up; shapes of ModelNet have z up"),
        (DRAWN, PLAIN, "up: y by contents.rendering.up; the files do not say.*--set contents.rendering.up=y or z"),
    ],
)
def test_a_preparation_with_cameras_says_what_is_up(contents: Contents, files: list[str], line: str):
    (said,) = describe_up(config(contents), files)
    assert re.fullmatch(line, said), said


def test_without_cameras_nothing_need_be_said():
    assert describe_up(config(), MODELNET) == ()
    assert describe_up(config(Contents(levels=False, surface=SurfaceConfig(points=64))), MODELNET) == ()


def test_of_prepared_data_cameras_decide_before_files():
    known = up_of_data(config(SEEN), SHAPENET)
    assert known and known.axis == "z" and known.why == "contents.surface.up of the data set is z"
    known = up_of_data(config(), SHAPENET)
    assert known and known.axis == "y" and up_of_data(config(), PLAIN) is None
