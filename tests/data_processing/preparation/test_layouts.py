"""Known layouts: one shape for each object whatever stands beside it, splits that folders and lists say."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_processing.preparation.layouts import arrange
from data_processing.preparation.sources import list_sources
from data_processing.store.split_lists import SPLIT_WORDS, read_table
from data_processing.store.splits import SplitConfig, SplitLists, split_names
from tests.conftest import ROOT
from tests.data_processing.preparation.test_sources import touch

UIDS = ["".join(random.Random(n).choices("0123456789abcdef", k=32)) for n in range(6)]
HASHES = ["".join(random.Random(n).choices("0123456789abcdef", k=24)) for n in range(6)]


def names(listing) -> list[str]:
    return [source.name for source in listing.sources]


def test_shapenet_v2_is_one_shape_for_each_id():
    found = list_sources(ROOT / "tests/data/strangers/shapenet_v2_folders/input")
    assert names(found) == [
        f"02691156/{i}" for i in ("1a04e3ea", "1b3c6b2f", "1c685bba", "2a1c8d3e", "3f9e0b2c", "4d0e9f11")
    ]
    assert {source.file.rpartition("/")[2] for source in found.sources} == {"model_normalized.obj"}
    assert {source.category for source in found.sources} == {"02691156"}
    assert found.notes[0] == "layout: shapenet"
    assert "6 objects have several files: model_normalized.obj taken" in found.notes[1]
    voxels = list_sources(ROOT / "tests/data/strangers/shapenet_v2_folders/input", kind="voxels")
    assert names(voxels) == names(found) and all(s.file.endswith(".solid.binvox") for s in voxels.sources)


SHAPENETS = {
    "v1": ["03001627/{id}/model.obj", "03001627/{id}/model.mtl", "03001627/{id}/images/texture0.jpg"],
    "v1 and r2n2's voxels": ["03001627/{id}/model.obj", "03001627/{id}/model.binvox"],
    "below its own name": ["ShapeNetCore.v2/03001627/{id}/models/model_normalized.obj"],
    "onet": ["03001627/{id}/model.binvox", "03001627/{id}/points.npz", "03001627/{id}/pointcloud.npz"],
    "if-net": ["03001627/{id}/model.obj", "03001627/{id}/isosurf.off", "03001627/{id}/voxelization_32.npy"],
    "names instead of synsets": ["03001627/{id}/model.obj", "03001627/{id}/model.solid.binvox"],
    "flat": ["03001627/{id}.off"],
}


@pytest.mark.parametrize("kind", SHAPENETS)
def test_shapenet_in_its_kinds_is_one_shape_for_each_id(tmp_path, kind):
    ids = ["1a6f615e8b1b5ae4dbbc9440457e303e", "1a74a83fa6d24b3cacd67ce2c72c02e", "u0b3d"]
    category = "chair" if kind == "names instead of synsets" else "03001627"
    files = [pattern.format(id=i).replace("03001627", category) for i in ids for pattern in SHAPENETS[kind]]
    touch(tmp_path, *files)
    assert names(list_sources(tmp_path)) == [f"{category}/{i}" for i in sorted(ids)]


def test_objects_with_hollow_voxels_alone_are_left_out_and_named(tmp_path):
    touch(tmp_path, "03001627/a/models/model_normalized.obj", "03001627/b/models/model_normalized.surface.binvox")
    found = list_sources(tmp_path)
    assert names(found) == ["03001627/a"]
    assert found.notes[-1] == "1 objects are left out, they have hollow voxels alone: 03001627/b"


def test_one_category_folder_of_shapenet_alone(tmp_path):
    touch(tmp_path / "03001627", *[f"{i}/models/model_normalized.{s}" for i in "ab" for s in ("obj", "solid.binvox")])
    assert names(list_sources(tmp_path / "03001627")) == ["03001627/a", "03001627/b"]


def test_shapes_beside_the_folders_of_splits_are_named(tmp_path):
    touch(tmp_path, *[f"bed/{split}/{n:02}.off" for split in ("train", "test") for n in range(10)], "bed/extra.off")
    found = list_sources(tmp_path)
    assert found.splits is not None and len(found.splits) == 20
    assert found.notes[-1] == "1 shapes lie in no folder of a split, and so in no split: bed/extra"


@pytest.mark.parametrize(
    "pattern", ["{c}/{s}/{c}_{n:04}.off", "ModelNet10/{c}/{s}/{c}_{n:04}.off", "{s}/{c}/{c}_{n:04}.off"]
)
def test_folders_of_modelnet_are_the_split(tmp_path, pattern):
    made = [(c, s, n) for c in ("bed", "chair") for s, count in (("train", 3), ("test", 2)) for n in range(count)]
    touch(tmp_path, *[pattern.format(c=c, s=s, n=n) for c, s, n in made])
    found = list_sources(tmp_path)
    assert len(found.sources) == len(made) and {s.category for s in found.sources} == {"bed", "chair"}
    splits = split_names(names(found), [s.category for s in found.sources], SplitConfig(), given=found.splits)
    for split in ("train", "test"):
        assert {names(found)[i] for i in splits[split]} == {
            pattern.format(c=c, s=s, n=n).removesuffix(".off") for c, s, n in made if s == split
        }
    ratios = split_names(names(found), ["x"] * len(made), SplitConfig(rule="ratios"), given=found.splits)
    assert len(ratios["test"]) == 2  # of all, by the rule that was asked for


def test_abc_is_one_category_with_a_test_split(tmp_path):
    files = [f"{n:08}/{n:08}_{HASHES[n]}_trimesh_000.obj" for n in range(6)]
    touch(tmp_path, *[f"abc_0000_obj_v00/{file}" for file in files])
    touch(tmp_path, *[f"abc_0000_stl2_v00/{file.replace('.obj', '.stl')}" for file in files])
    touch(
        tmp_path,
        *[f"abc_0000_feat_v00/{file.replace('trimesh', 'features').replace('.obj', '.yml')}" for file in files],
    )
    found = list_sources(tmp_path)
    assert names(found) == [f"abc/{n:08}" for n in range(6)] and {s.file[-4:] for s in found.sources} == {".obj"}
    splits = split_names(names(found), [s.category for s in found.sources], SplitConfig(), given=found.splits)
    assert (len(splits["train"]), len(splits["test"])) == (4, 2)


@pytest.mark.parametrize("above", ["", "glbs/", "hf-objaverse-v1/glbs/"])
def test_objaverse_is_one_category(tmp_path, above):
    touch(tmp_path, *[f"{above}000-{n:03}/{uid}.glb" for n, uid in enumerate(UIDS)])
    found = list_sources(tmp_path)
    assert names(found) == sorted(f"objaverse/{uid}" for uid in UIDS)
    assert {source.category for source in found.sources} == {"objaverse"}


def test_lists_of_ids_beside_the_shapes_are_the_split(tmp_path):
    ids = {"train": ["a1", "a2", "a3"], "val": ["a4"], "test": ["a5"]}
    for synset in ("02691156", "03001627"):  # the same IDs in both: each list means its own
        touch(
            tmp_path,
            *[
                f"{synset}/{i}/{file}"
                for listed in ids.values()
                for i in listed
                for file in ("model.binvox", "points.npz")
            ],
        )
        for split, listed in ids.items():
            (tmp_path / synset / f"{split}.lst").write_text("\n".join(listed))
    touch(tmp_path, "03001627/more/model.binvox")
    with (tmp_path / "03001627/test.lst").open("a") as handle:
        handle.write("\ngone\n")
    found = list_sources(tmp_path)
    synsets = ("02691156", "03001627")
    expected = {f"{synset}/{i}": split for synset in synsets for split, listed in ids.items() for i in listed}
    assert found.splits == expected and len(found.sources) == len(expected) + 1
    assert any("1 of their names are not here, first 'gone'" in note for note in found.notes)
    assert any("1 shapes are in no list, and so in no split, first '03001627/more'" in note for note in found.notes)
    for rule in (SplitConfig(val_share=0.5), SplitConfig(rule="lists")):
        splits = split_names(names(found), ["x"] * 11, rule, given=found.splits)
        assert {names(found)[i]: split for split, members in splits.items() for i in members} == expected


def test_a_table_of_ids_and_splits_is_read(tmp_path):
    touch(tmp_path / "in", *[f"{c}/{i}.ply" for c in ("chair", "table") for i in ("a", "b", "c")])
    table = tmp_path / "in/all.csv"
    table.write_text(
        "id,synsetId,subSynsetId,modelId,split\n"
        + "".join(
            f"{n:06},{c},0,{i},{s}\n"
            for n, (c, i, s) in enumerate(
                (c, i, s) for c in ("chair", "table") for i, s in (("a", "train"), ("b", "val"), ("c", "Test"))
            )
        )
    )
    expected = {f"{c}/{i}": s for c in ("chair", "table") for i, s in (("a", "train"), ("b", "val"), ("c", "test"))}
    assert list_sources(tmp_path / "in").splits is None  # what a CSV is, is asked where lists are asked for
    assert list_sources(tmp_path / "in", layout="lists").splits == expected
    listed = sorted(expected)
    splits = split_names(listed, ["x"] * 6, SplitConfig(rule="lists", lists=SplitLists(table=table)))
    assert {listed[i]: split for split, members in splits.items() for i in members} == expected
    table.write_text("name;split\nchair/a;training\n")
    assert read_table(table)[0].split == "train"
    table.write_text("name,split\nchair/a,holdout\n")
    with pytest.raises(ValueError, match=r"all\.csv: line 2: expected train, .*'holdout'"):
        list_sources(tmp_path / "in", layout="lists")
    table.write_text("what,split\nchair/a,test\n")
    with pytest.raises(ValueError, match=r"all\.csv: expected a column split and one of modelid"):
        read_table(table)


def test_lists_that_cannot_be_meant_are_refused(tmp_path):
    touch(tmp_path, "chair/a.ply", "table/a.ply")
    with pytest.raises(FileNotFoundError, match=r"layout lists, but .*--set splits\.rule=lists"):
        list_sources(tmp_path, layout="lists")
    (tmp_path / "test.lst").write_text("a\n")
    with pytest.raises(ValueError, match=r"test\.lst: line 1: 'a' stands for 2 shapes: chair/a, table/a"):
        list_sources(tmp_path)
    (tmp_path / "test.lst").write_text("chair/a\n")
    (tmp_path / "train.lst").write_text("chair/a.ply\n")
    with pytest.raises(ValueError, match=r"train\.lst: line 1: shape 'chair/a' is in test and in train"):
        list_sources(tmp_path)
    (tmp_path / "train.lst").unlink()
    (tmp_path / "test.lst").write_text("x\n")
    with pytest.raises(ValueError, match=r"test\.lst: line 1: 'x' is no shape here, .* called 'chair/a'"):
        list_sources(tmp_path)


def test_ids_alone_do_in_lists_elsewhere_too(tmp_path):
    listed = ["02691156/a1", "02691156/a2", "03001627/a1"]
    (tmp_path / "03001627").mkdir()
    (tmp_path / "03001627/test.lst").write_text("a1\n")
    (tmp_path / "train.txt").write_text("a2\n")
    lists = SplitLists(train=tmp_path / "train.txt", test=tmp_path / "03001627/test.lst")
    splits = split_names(listed, ["x"] * 3, SplitConfig(rule="lists", lists=lists))
    assert {split: members.tolist() for split, members in splits.items()} == {"train": [1], "test": [2]}


def test_voxels_beside_their_mesh_are_no_shapes_of_their_own(tmp_path):
    touch(tmp_path, "chair/a.obj", "chair/a.npy", "chair/b.off", "chair/b.solid.binvox", "chair/c.npy")
    found = list_sources(tmp_path)
    assert {s.name: s.file for s in found.sources} == {
        "chair/a": "chair/a.obj", "chair/b": "chair/b.off", "chair/c": "chair/c.npy"
    }  # fmt: skip
    assert "2 objects have several files: " in found.notes[0]


def test_several_files_of_each_object_are_refused_with_ways_out(tmp_path):
    touch(
        tmp_path, *[f"chair/{i}/{file}" for i in ("x", "y") for file in ("model.obj", "model_watertight.off", "v.npy")]
    )
    with pytest.raises(ValueError, match=r"2 folders such as chair/x hold model\.obj, model_watertight\.off.*exclude="):
        list_sources(tmp_path)
    assert names(list_sources(tmp_path, exclude=["*model_watertight.off"])) == ["chair/x/model", "chair/y/model"]
    assert len(list_sources(tmp_path, layout="folders").sources) == 6  # all of them are shapes, if that is said


def test_meshes_and_voxels_in_folders_of_their_own_are_refused_with_ways_out(tmp_path):
    touch(
        tmp_path, *[f"{kind}/chair/{i}.{s}" for i in ("x", "y") for kind, s in (("meshes", "obj"), ("voxels", "npy"))]
    )
    with pytest.raises(ValueError, match=r"meshes/chair/x\.obj and voxels/chair/x\.npy, and 1 more.*--set kind=mesh"):
        list_sources(tmp_path)
    assert names(list_sources(tmp_path, kind="mesh")) == ["meshes/chair/x", "meshes/chair/y"]
    assert len(list_sources(tmp_path, layout="folders").sources) == 4


def test_meshes_and_voxels_of_other_names_side_by_side_are_shapes_of_their_own(tmp_path):
    touch(tmp_path, "a.npy", "b.npz", "c.ply", "d.npy")
    assert names(list_sources(tmp_path)) == [f"{tmp_path.name}/{i}" for i in "abcd"]


ROOMS = st.sampled_from(["chair", "table", "lamp"])


@st.composite
def trees(draw):
    """Files of a known layout and what stands beside them; the name of each object, and its split where one is said."""
    kind = draw(st.sampled_from(["v2", "v1", "modelnet", "abc", "objaverse", "folders"]))
    count = draw(st.integers(2, 12))
    beside = draw(st.sets(st.sampled_from([".solid.binvox", ".surface.binvox", ".json", ".mtl", ".binvox"])))
    files, objects = [], {}
    for number in range(count):
        split = draw(st.sampled_from(["train", "test", "val"]))
        category, uid = draw(ROOMS), f"{number:04x}{draw(st.integers(0, 2**100)):028x}"[:32]
        synset = f"{sum(map(ord, category)):08d}"
        if kind in ("v2", "v1"):
            stem = f"{synset}/{uid}/" + ("models/model_normalized" if kind == "v2" else "model")
            files += [f"{stem}.obj", *[f"{stem}{suffix}" for suffix in beside]]
            objects[f"{synset}/{uid}"] = ""
        elif kind == "modelnet":
            split = {0: "train", 1: "test"}.get(number, split)
            files.append(f"{category}/{split}/{category}_{number:04}.off")
            objects[files[-1].removesuffix(".off")] = split
        elif kind == "abc":
            files += [
                f"{number:08}/{number:08}_{uid[:24]}_trimesh_000.{s}" for s in ("obj", "stl")[: 1 + len(beside) // 3]
            ]
            objects[f"abc/{number:08}"] = ""
        elif kind == "objaverse":
            files.append(f"glbs/000-{number % 160:03}/{uid}.glb")
            objects[f"objaverse/{uid}"] = ""
        else:
            files += [f"{category}/{number}.ply", *[f"{category}/{number}{suffix}" for suffix in beside]]
            objects[f"{category}/{number}"] = ""
    return files, objects


@settings(max_examples=150, deadline=None)
@given(tree=trees(), seed=st.integers(0, 99))
def test_every_object_of_a_random_tree_is_one_shape_in_one_split(tree, seed, tmp_path_factory):
    files, objects = tree
    folder = tmp_path_factory.mktemp("tree") / "data"
    touch(folder, *files)
    found = list_sources(folder)
    assert names(found) == sorted(objects)
    assert not any(source.file.endswith(".surface.binvox") for source in found.sources)
    categories = [source.category for source in found.sources]
    for rule in (SplitConfig(), SplitConfig(rule="ratios", seed=seed)):
        splits = split_names(names(found), categories, rule, given=found.splits)
        assert sorted(i for members in splits.values() for i in members) == list(range(len(objects)))
    if any(objects.values()):
        assert found.splits == objects and set(objects.values()) <= set(SPLIT_WORDS)
    else:
        assert found.splits is None


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            ["u1/front.obj", "u1/back.obj", "u2/front.obj", "u2/back.obj"],
            r"2 folders .*exclude=\['front\.obj'\]",
        ),
        (["s1/s1_clean.ply", "s1/s1_labels.ply", "s2/s2_clean.ply", "s2/s2_labels.ply"], r"\*_clean\.ply, \*_labels"),
        (["a/1.obj", "a/2.obj", "b/1.obj", "b/2.obj"], None),  # numbered shapes of two categories
        (["chair/x.obj", "chair/y.obj", "desk/z.obj"], None),
    ],
)
def test_folders_of_the_same_names_are_told(files, said):
    notes = arrange(dict.fromkeys(files, "mesh"), "auto", root="r").notes
    assert (said is None and not notes) or re.search(said, "\n".join(notes))
    assert arrange(dict.fromkeys(files, "mesh"), "folders", root="r").notes == ()
