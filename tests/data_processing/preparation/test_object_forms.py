"""Parts and forms of one object are refused by name, in the layouts in which people share them; other files are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_processing.preparation.object_forms import object_of, refuse_forms
from data_processing.preparation.sources import list_sources
from tests.data_processing.preparation.test_layouts import UIDS, names
from tests.data_processing.preparation.test_sources import touch

PARTS = {
    "partnet": ["{i}/objs/new-0.obj", "{i}/objs/original-1.obj", "{i}/result.json", "{i}/point_sample/pts-10000.txt"],
    "partnet mobility": ["chair/{i}/textured_objs/original-1.obj", "chair/{i}/textured_objs/new-2.obj"],
    "decomposed": ["{i}/coacd_0.obj", "{i}/coacd_1.obj"],
    "parts by name": ["{i}/part_01.stl", "{i}/part_02.stl", "{i}/part_03.stl"],
}
FORMS = {
    "two formats": (["obj/{i}.obj", "stl/{i}.stl"], r"exclude=\['stl/\*'\]"),
    "two states": (["raw/{i}.ply", "simplified/{i}.ply"], r"exclude=\['simplified/\*'\]"),
    "steps of a pipeline": (["0_in/{i}.off", "1_scaled/{i}.off"], r"exclude=\['1_scaled/\*'\]"),
    "shapenetsem": (["models-OBJ/models/{i}.obj", "models-binvox/{i}.binvox"], r"exclude=\['models-binvox/\*'\]"),
    "gltf in kinds": (["{i}/glTF/{i}.gltf", "{i}/glTF-Draco/{i}.gltf"], r"exclude=\['\*/glTF/\*'\]"),
    "levels of detail": (["{i}_lod0.obj", "{i}_lod1.obj"], r"exclude=\['\*_lod1\.obj'\]"),
    "visual and collision": (["{i}/collision.obj", "{i}/visual.obj"], r"exclude=\['visual\.obj'\]"),
    "high and low": (["{i}_high_poly.obj", "{i}_low-poly.obj"], r"exclude=\['\*_low-poly\.obj'\]"),
    "copies": (["chair/{i}.obj", "chair/{i} (1).obj"], r"exclude=\['\* \(1\)\.obj'\]"),
}
ONE_EACH = {
    "google scanned objects": ["{i}/meshes/model.obj", "{i}/materials/textures/texture.png", "{i}/thumbnails/0.jpg"],
    "omniobject3d": ["raw_scans/x/{i}/Scan/Scan.obj", "raw_scans/x/{i}/Scan/Scan.jpg"],
    "pix3d": ["model/bed/{i}/model.obj", "model/bed/{i}/voxel.mat", "model/bed/{i}/3d_keypoints.txt"],
    "pix3d, named": ["model/bed/{i}/malm_{i}_obj0_object.obj", "model/bed/{i}/malm_{i}_obj0_voxel.mat"],
    "abo": ["3dmodels/original/0/{i}.glb"],
    "archives of macOS": ["chair/{i}.obj", "chair/._{i}.obj", "__MACOSX/chair/{i}.obj", "chair/Thumbs.db"],
    "network drives": ["chair/{i}.obj", "chair/@eaDir/{i}.obj"],
}
IDS = ["100026", UIDS[0], "ASICS_GEL_001", "B07DBHWQVT"]


def laid(folder, patterns) -> None:
    touch(folder, *[pattern.format(i=i) for i in IDS for pattern in patterns])


@pytest.mark.parametrize("kind", PARTS)
def test_parts_of_one_object_are_refused_by_name(tmp_path, kind):
    laid(tmp_path, PARTS[kind])
    with pytest.raises(ValueError, match=r"seem to be parts of one object .*Merge the parts .*layout=folders"):
        list_sources(tmp_path)
    shapes = [pattern for pattern in PARTS[kind] if pattern.endswith((".obj", ".stl"))]
    assert len(list_sources(tmp_path, layout="folders").sources) == len(IDS) * len(shapes)


@pytest.mark.parametrize("kind", FORMS)
def test_forms_of_one_object_are_refused_with_what_leaves_one(tmp_path, kind):
    patterns, said = FORMS[kind]
    laid(tmp_path, patterns)
    with pytest.raises(
        ValueError, match=rf"(one object in two forms \({len(IDS)} objects|one name).*({said}|kind=mesh)"
    ) as e:
        list_sources(tmp_path)
    if "exclude=[" in str(e.value):
        pattern = str(e.value).split("exclude=['")[1].split("'")[0]
        assert len(list_sources(tmp_path, exclude=[pattern]).sources) == len(IDS)
    assert len(list_sources(tmp_path, layout="folders").sources) == 2 * len(IDS)


@pytest.mark.parametrize("kind", ONE_EACH)
def test_what_lies_beside_the_mesh_is_no_shape(tmp_path, kind):
    laid(tmp_path, ONE_EACH[kind])
    found = list_sources(tmp_path)
    assert len(names(found)) == len(IDS)
    assert all(sum(i in name for name in names(found)) == 1 for i in IDS)


@pytest.mark.parametrize(
    "files",
    [
        ["chair/a.obj", "table/a.obj"],
        ["chair/0001.ply", "table/0001.ply"],
        ["chair/model_1.obj", "chair/model_2.obj"],
        ["low_table.obj", "high_table.obj"],
        ["3/x.obj", "4/x.obj"],
        ["chair (1).obj", "chair (2).obj", "chair (3).obj"],
        ["s1/liver.stl", "s1/kidney.stl", "s2/liver.stl"],
    ],
)
def test_different_shapes_are_left_alone(files):
    refuse_forms(files)


@pytest.mark.parametrize(
    ("files", "other"), [(["raw_x.obj", "x.obj"], "x.obj"), (["a/x_raw_y.obj", "a/x_y.obj"], "a/x_y.obj")]
)
def test_what_is_said_leaves_the_first_form(files, other):
    with pytest.raises(ValueError, match=rf"exclude=\['{other}'\]"):
        refuse_forms(files)


def test_one_object_in_two_forms_fails_alone(tmp_path):
    """Of many: what is meant by a folder of single shapes is known for the others."""
    touch(tmp_path, "chair/a.obj", "chair/a_raw.obj", "chair/b.obj", "chair/straw.obj", "chair/c_raw.obj")
    listing = list_sources(tmp_path)
    refused = {source.name: source.refusal for source in listing.sources if source.refusal}
    assert set(refused) == {"chair/a", "chair/a_raw"} and len(listing.sources) == 5
    assert all("seem to be one object in two forms" in reason for reason in refused.values())
    assert any("1 objects are there in several forms, and fail: chair/a.obj" in note for note in listing.notes)
    # What the reason says leaves the first form, and every other object.
    pattern = refused["chair/a"].split("exclude=['")[1].split("'")[0]
    left = list_sources(tmp_path, exclude=[pattern])
    assert set(names(left)) == {"chair/a", "chair/b", "chair/straw", "chair/c_raw"}
    assert not any(source.refusal for source in left.sources)


def test_what_is_said_takes_no_longer_name(tmp_path):
    touch(tmp_path, "x/clean.obj", "x/raw.obj", "y/clean.obj", "y/raw.obj", "z/straw.obj")
    with pytest.raises(ValueError, match=r"exclude=\['raw\.obj'\]"):
        list_sources(tmp_path)
    left = list_sources(tmp_path, exclude=["raw.obj"])
    assert set(names(left)) == {"x/clean", "y/clean", "z/straw"}


@given(st.lists(st.sampled_from(["chair", "raw", "obj", "0_in", "x", "7"]), max_size=3), st.sampled_from(["a", "b12"]))
def test_words_of_forms_do_not_name_an_object(folders, stem):
    path = "/".join([*folders, stem])
    same = "/".join([*(folder for folder in folders if folder not in ("raw", "obj", "0_in")), stem])
    assert object_of(f"{path}.ply") == object_of(f"{same}_raw.obj") == same


@pytest.mark.parametrize(
    "files",
    [
        ["a-b.obj", "a_b.obj"],
        ["chair+.obj", "chair-.obj"],
        ["parts/gear.stl", "parts/nut.stl"],
        ["zelda/link1.obj", "zelda/link2.obj"],
    ],
    ids=str,
)
def test_names_that_say_no_form_and_no_part_are_shapes(files: list[str]):
    refuse_forms(files)
