"""Splits: the published rule, ratios, lists; nothing in two splits, whatever the order of the names."""

from itertools import combinations

import numpy as np
import pytest

from data_processing.store.splits import (
    SplitConfig,
    SplitLists,
    SplitRatios,
    split_names,
    subject_of,
    without_copies,
)

NAMES = [f"chair/{i:02d}" for i in range(11)] + [f"table/{i:02d}" for i in range(4)] + ["vase/0"]
CATEGORIES = [name.partition("/")[0] for name in NAMES]


def named(splits, names=NAMES):
    return {split: {names[i] for i in members} for split, members in splits.items()}


def test_published_rule_is_the_first_80_percent_of_sorted_names_per_category():
    splits = named(split_names(NAMES, CATEGORIES, SplitConfig()))
    assert splits["train"] == {f"chair/{i:02d}" for i in range(8)} | {f"table/{i:02d}" for i in range(3)} | {"vase/0"}
    assert splits["test"] == set(NAMES) - splits["train"]


@pytest.mark.parametrize(
    "settings",
    [
        SplitConfig(),
        SplitConfig(val_share=0.2, seed=3),
        SplitConfig(rule="ratios", ratios=SplitRatios(0.5, 0.25, 0.25), seed=1),
    ],
)
def test_order_of_the_names_does_not_matter_and_nothing_is_lost_or_doubled(settings):
    order = np.random.default_rng(0).permutation(len(NAMES))
    shuffled = [NAMES[i] for i in order]
    here = named(split_names(NAMES, CATEGORIES, settings))
    there = named(split_names(shuffled, [CATEGORIES[i] for i in order], settings), shuffled)
    assert here == there and set().union(*here.values()) == set(NAMES)
    assert all(not a & b for a, b in combinations(here.values(), 2))


def test_validation_comes_out_of_train_by_seed():
    plain = named(split_names(NAMES, CATEGORIES, SplitConfig()))
    drawn = [named(split_names(NAMES, CATEGORIES, SplitConfig(val_share=0.25, seed=seed))) for seed in range(6)]
    assert all(s["test"] == plain["test"] and s["train"] | s["val"] == plain["train"] for s in drawn)
    assert all(sum(name.startswith("chair") for name in s["val"]) == 2 for s in drawn)
    assert len({frozenset(s["val"]) for s in drawn}) > 1


def test_ratios_count_per_category():
    splits = named(split_names(NAMES, CATEGORIES, SplitConfig(rule="ratios", ratios=SplitRatios(0.5, 0.25, 0.25))))
    assert {split: sum(n.startswith("table") for n in members) for split, members in splits.items()} == {
        "train": 2,
        "val": 1,
        "test": 1,
    }


def test_empty_splits_are_left_out():
    assert set(split_names(["a/b"], ["a"], SplitConfig())) == {"train"}


def lists(tmp_path, **names):
    for split, listed in names.items():
        (tmp_path / f"{split}.txt").write_text("\n".join(listed) + "\n\n")
    return SplitLists(**{split: tmp_path / f"{split}.txt" for split in names})


def test_lists_say_it_all(tmp_path):
    files = lists(tmp_path, train=["chair/03", "table/00"], test=["chair/00"])
    splits = named(split_names(NAMES, CATEGORIES, SplitConfig(rule="lists", lists=files)))
    assert splits == {"train": {"chair/03", "table/00"}, "test": {"chair/00"}}


def test_overlap_is_refused(tmp_path):
    files = lists(tmp_path, train=["chair/03"], test=["chair/00", "chair/03"])
    with pytest.raises(ValueError, match=r"'chair/03'.*train.*test"):
        split_names(NAMES, CATEGORIES, SplitConfig(rule="lists", lists=files))
    with pytest.raises(ValueError, match="lists 'a/b'"):
        split_names(["a/b"], ["a"], SplitConfig(rule="lists", lists=lists(tmp_path, train=["a/b", "a/b"])))


def test_unknown_names_are_refused_unless_allowed(tmp_path):
    files = lists(tmp_path, train=["chair/3", "chair/01"])
    with pytest.raises(ValueError, match=r"\b1 .*'chair/3'.*'chair/"):
        split_names(NAMES, CATEGORIES, SplitConfig(rule="lists", lists=files))
    allowed = SplitLists(train=files.train, allow_missing=True)
    assert named(split_names(NAMES, CATEGORIES, SplitConfig(rule="lists", lists=allowed))) == {"train": {"chair/01"}}


def test_settings_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\b1\b"):
        SplitRatios(0.8, 0.2, 0.2)
    with pytest.raises(ValueError, match=r"splits\.rule .*splits\.lists .*train, val or test"):
        split_names(NAMES, CATEGORIES, SplitConfig(rule="lists"))
    with pytest.raises(FileNotFoundError, match=r"no\.txt"):
        split_names(NAMES, CATEGORIES, SplitConfig(rule="lists", lists=SplitLists(train=tmp_path / "no.txt")))
    with pytest.raises(ValueError, match=r"val_share .*val list"):
        both = SplitConfig(rule="lists", lists=lists(tmp_path, train=["chair/00"], val=["chair/01"]), val_share=0.1)
        split_names(NAMES, CATEGORIES, both)


SCANS = [
    f"{organ}/sub-{subject:02}/ses-{session}/sub-{subject:02}_ses-{session}_dseg-{side}"
    for organ in ("kidney", "thalamus")
    for subject in range(10)
    for session in (1, 2)
    for side in ("left", "right")
    if (subject, session) != (3, 2) and not (organ == "thalamus" and subject == 7)
]
ORGANS = [name.partition("/")[0] for name in SCANS]


@pytest.mark.parametrize(
    "settings",
    [
        SplitConfig(subject="bids"),
        SplitConfig(subject="bids", val_share=0.25, seed=2),
        SplitConfig(subject="bids", rule="ratios", ratios=SplitRatios(0.6, 0.2, 0.2), seed=5),
        SplitConfig(subject=r"/(sub-\d+)/", rule="ratios", ratios=SplitRatios(0.6, 0.2, 0.2), seed=5),
    ],
)
def test_a_subject_is_in_one_split_with_all_its_shapes(settings):
    splits = named(split_names(SCANS, ORGANS, settings), SCANS)
    assert set().union(*splits.values()) == set(SCANS) and sum(map(len, splits.values())) == len(SCANS)
    subjects = {split: {name.split("/")[1] for name in members} for split, members in splits.items()}
    assert all(not a & b for a, b in combinations(subjects.values(), 2))
    assert len(subjects["test"]) == 2 and len(subjects["train"]) in (6, 8)
    order = np.random.default_rng(1).permutation(len(SCANS))
    shuffled = [SCANS[i] for i in order]
    assert named(split_names(shuffled, [ORGANS[i] for i in order], settings), shuffled) == splits


def test_subjects_by_rule():
    plain = SplitConfig(subject=r"case_\d+")
    assert subject_of("kidney/case_00012-left", plain) == "case_00012"
    assert subject_of("kidney/x/sub-A1_dseg", SplitConfig(subject="bids")) == "sub-A1"
    with pytest.raises(ValueError, match=r"'kidney/one-left' .*splits\.subject \(case_"):
        split_names(["kidney/one-left"], ["kidney"], plain)
    with pytest.raises(ValueError, match=r"subject .*bids .*'\('"):
        SplitConfig(subject="(")


def test_lists_that_divide_a_subject_are_refused(tmp_path):
    files = lists(tmp_path, train=SCANS[:1], test=SCANS[1:2])
    with pytest.raises(ValueError, match=r"'sub-00' .*train .*test"):
        split_names(SCANS, ORGANS, SplitConfig(rule="lists", lists=files, subject="bids"))


def test_shapes_set_aside_change_nothing_for_the_others():
    aside = [0, 5, 17]
    settings = SplitConfig(subject="bids", val_share=0.25)
    plain, found = (named(split_names(SCANS, ORGANS, settings, set_aside=s), SCANS) for s in ((), aside))
    assert found["partial"] == {SCANS[i] for i in aside} and "partial" not in plain
    assert {split: plain[split] - found["partial"] for split in plain} == {s: found[s] for s in plain}


def test_content_stays_in_one_split_test_first():
    """Shapes 0 and 5 are one content, 1 and 6, 2 and 3; nobody knows those of 4 and 7."""
    splits = {"train": np.array([0, 1, 2, 3, 4]), "val": np.array([6, 7]), "test": np.array([5, 8])}
    kept, copies = without_copies(splits, ["a", "b", "c", "c", "", "a", "b", "", "d"])
    assert {split: members.tolist() for split, members in kept.items()} == {
        "train": [2, 3, 4],
        "val": [6, 7],
        "test": [5, 8],
    }
    assert copies == {0: 5, 1: 6}
    assert without_copies({"train": np.array([0]), "test": np.array([1])}, ["a", "a"])[0].keys() == {"test"}


def test_what_cannot_be_read_takes_no_place():
    names = [f"chair/{i}" for i in range(10)]
    splits = split_names(names, ["chair"] * 10, SplitConfig(), unreadable=[0, 1, 2, 3, 9])
    assert {split: members.tolist() for split, members in splits.items()} == {"train": [4, 5, 6, 7], "test": [8]}
