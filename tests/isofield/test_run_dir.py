"""The files of a run."""

import json
from pathlib import Path

import pytest

from isofield.run_dir import RunDir, create_run, exclusive, manifest_file, mesh_in
from isofield.runtime.journal import journal_file, journal_files


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "runs" / "mine")
    create_run(run, config="name: mine\n", preparation={"b": 1, "a": {"c": 2}}, resume=False)
    return run


def with_checkpoints(run: RunDir, *names: str) -> RunDir:
    run.checkpoints.mkdir(exist_ok=True)
    for name in names:
        (run.checkpoints / name).touch()
    return run


def test_names_of_files_are_a_contract(tmp_path: Path):
    run = RunDir(str(tmp_path / "mine"))
    assert run.name == "mine"
    assert run.config_file == tmp_path / "mine/config.yaml"
    assert run.checkpoint_file("best") == tmp_path / "mine/checkpoints/best.pt"
    assert run.checkpoint_file(70) == run.checkpoint_file("70") == tmp_path / "mine/checkpoints/step-00000070.pt"
    assert mesh_in(run.meshes("test"), "chair/a.b", ".ply") == tmp_path / "mine/meshes/test/chair/a.b.ply"
    assert run.evaluation_file("test", "imnet", ".json") == tmp_path / "mine/evaluation/test-imnet.json"
    assert manifest_file(run.meshes("val")) == tmp_path / "mine/meshes/val/manifest.json"
    assert not run.path.exists()  # asking for names makes nothing


def test_claiming_writes_what_the_run_starts_from(run: RunDir):
    assert run.existing() is run
    assert run.config_file.read_text() == "name: mine\n"
    assert json.loads(run.preparation_file.read_text()) == {"a": {"c": 2}, "b": 1}


def test_a_run_with_checkpoints_is_not_claimed_again(run: RunDir):
    create_run(run, config="name: again\n", preparation={}, resume=False)  # nothing trained yet
    with_checkpoints(run, "step-00000001.pt")
    with pytest.raises(ValueError, match=r"mine .*--resume"):
        create_run(run, config="name: third\n", preparation={"x": 1}, resume=False)
    assert run.config_file.read_text() == "name: again\n" and json.loads(run.preparation_file.read_text()) == {}
    create_run(run, config="name: third\n", preparation={}, resume=True)
    assert run.config_file.read_text() == "name: third\n"


def test_a_missing_run_names_those_beside_it(run: RunDir):
    with pytest.raises(FileNotFoundError, match=r"yours .*config\.yaml.* mine"):
        RunDir(run.path.with_name("yours")).existing()
    with pytest.raises(FileNotFoundError, match=r"nowhere/yours .*config\.yaml"):
        RunDir(run.path / "nowhere" / "yours").existing()


def test_a_missing_checkpoint_names_those_there_are(run: RunDir):
    with pytest.raises(FileNotFoundError, match=r"'best'.* none"):
        run.existing_checkpoint("best")
    with_checkpoints(
        run, "last.pt", "step-00000200.pt", "step-00000030.pt", ".partial-1-best.pt", "step-x.pt", "other.pt"
    )
    assert run.saved_steps() == [30, 200]
    for which in ("best", "31", 31):
        with pytest.raises(FileNotFoundError, match=f"'{which}'.* last, 30, 200"):
            run.existing_checkpoint(which)
    assert run.existing_checkpoint("30").name == "step-00000030.pt"


@pytest.mark.parametrize("which", ["lst", "-1", "1.5", "", "../last"])
def test_odd_names_of_checkpoints_are_refused(run: RunDir, which: str):
    with pytest.raises(ValueError, match=f"'{which}': .*last.*best"):
        run.checkpoint_file(which)


def test_journals_of_all_ranks_are_found(tmp_path: Path):
    for rank in (1, 0, 12):
        journal_file(tmp_path, rank).touch()
    assert len({*journal_files(tmp_path)}) == 3
    assert all(file.name.startswith(".") for file in journal_files(tmp_path))  # no reader takes them for results


@pytest.mark.parametrize("link", [False, True])
def test_what_is_no_folder_is_named(tmp_path: Path, link: bool):
    """A file, or a link to nowhere, where results are to go or above it."""
    wrong = tmp_path / "results"
    if link:
        wrong.symlink_to(tmp_path / "nowhere")
    else:
        wrong.write_bytes(b"")
    for folder in (wrong, wrong / "meshes" / "test"):
        with pytest.raises(ValueError, match=f"^{folder}: "):
            exclusive(folder, 0, what="generation")
    with pytest.raises(ValueError, match=f"^{wrong}: "):
        RunDir(wrong).lock()
