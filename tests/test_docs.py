"""The documents hold: generated pages are of this code, links lead somewhere, what is to be typed can be typed."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from data_processing.preparation.config import DataConfig
from data_processing.preparation.job import prepare_folder
from isofield import registry
from isofield.commands import train
from isofield.evaluation.protocols import PROTOCOLS, LightFieldProtocol
from isofield.runtime.config import build, read_config
from isofield.runtime.shipped import config_names
from tests.commands import call
from tests.conftest import ROOT
from tests.small_sets import write_boxes
from tests.tools.reference import FOLDER, PAGES, all_parsers, keys_of, sections

DOCS = ROOT / "docs"
PAGE_FILES = sorted([*DOCS.glob("**/*.md"), *ROOT.glob("*.md")])
# Their commands need nothing but the examples. What a first look costs is for readers of a tutorial, not for its test:
# SHORT makes trainings as short as what follows allows (a calibration wants surfaces, samples do not).
RUN_WHOLE = (
    "getting-started.md",
    "tutorials/own-meshes.md",
    "tutorials/point-clouds.md",
    "tutorials/generated-sets.md",
    "tutorials/papers-table.md",
    "how-to/organ-masks.md",
)
LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.M | re.S)
SCRIPTS = {
    "data_processing": "isofield prepare",
    "imnet.published": "isofield import imnet",
    "ifnet.published": "isofield import ifnet",
    **{f"{name}.py": f"isofield {name}" for name in ("train", "generate", "evaluate", "analyse")},
}
# What makes a run of a page short: it is tried whether it runs, not whether it learns.
SHORT = {
    "train": ["training.max_steps=2", "training.validation.pictures=0"],
    "generate": ["--resolution", "32"],
}
WITH_SURFACES = ["training.max_steps=200", "training.validation.pictures=0"]
STEPS = {  # of the trainings whose shapes are judged as a set, by pair, or calibrated with: they need a surface
    "tutorials/point-clouds.md": [*WITH_SURFACES, "training.batch_shapes=2", "training.stages.0.points=2048"],
    "tutorials/generated-sets.md": [*WITH_SURFACES, "training.stages.0.epochs=4"],
    "how-to/organ-masks.md": ["training.max_steps=60", "training.validation.pictures=0"],
}


def page_id(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def commands_of(text: str) -> list[list[str]]:
    """Words of every line of ours in fenced blocks: continued lines joined, comments left out."""
    lines = [line for _, body in FENCE.findall(text) for line in body.replace("\\\n", " ").splitlines()]
    words = [
        shlex.split(line.replace("!", "", 1) if line.lstrip().startswith("!") else line, comments=True)
        for line in lines
        if re.match(r" *!?(isofield|python|torchrun|sbatch) ", line)
    ]
    return [line for line in words if line]


def typed_and_options(words: list[str]) -> tuple[str, list[str]] | None:
    """The command as the reference calls it, and its options; None for what is none of ours."""
    for place, word in enumerate(words):
        rest = words[place + 1 :]
        if word == "isofield" and rest and rest[0] == "import":
            return f"isofield import {rest[1]}", rest[2:]
        if word == "isofield" and rest:
            return f"isofield {rest[0]}", rest[1:]
        if Path(word).name in SCRIPTS:
            return SCRIPTS[Path(word).name], rest
        if word.startswith("isofield.outliers"):
            return f"python -m {word}", rest
    return None


def anchors_of(text: str) -> set[str]:
    """What mkdocs and code hosts make of headings."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.M)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


@pytest.fixture(autouse=True)
def models_that_ship(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that ran before in this process may have models of their own."""
    for name, (_, model) in list(registry.MODELS.items()):
        if model.__module__.startswith("tests."):
            monkeypatch.delitem(registry.MODELS, name)


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_are_those_of_this_code(name: str):
    written = (FOLDER / name).read_text(encoding="utf-8")
    assert written == PAGES[name](), "python -m tests.tools.reference writes it anew"


def test_every_key_and_every_option_is_described():
    keys = [
        f"{title}.{name}" for title, section in sections().items() for name, *_, about in keys_of(section) if not about
    ]
    options = [
        f"{typed} {action.option_strings or action.dest}"
        for typed, parser in all_parsers().items()
        for action in parser._actions
        if not action.help
    ]
    assert not keys and not options
    # What `dataclass` writes where nobody did is no description.
    assert not [
        section for section in sections().values() if (section.__doc__ or "").startswith(f"{section.__name__}(")
    ]


@pytest.mark.parametrize("file", PAGE_FILES, ids=page_id)
def test_links_and_anchors_are_there(file: Path):
    text = file.read_text(encoding="utf-8")
    for target in LINK.findall(FENCE.sub("", text)):
        path, _, anchor = target.partition("#")
        if re.match(r"\w+:", target):
            continue
        place = (file.parent / path).resolve() if path else file
        assert place.exists(), f"{target} of {page_id(file)}"
        if DOCS in file.parents:
            assert DOCS in place.parents, f"{target} of {page_id(file)} lies outside of what mkdocs builds"
        if anchor:
            assert anchor in anchors_of(place.read_text(encoding="utf-8")), f"{target} of {page_id(file)}"


@pytest.mark.parametrize("file", PAGE_FILES, ids=page_id)
def test_commands_have_the_options_that_are_typed(file: Path):
    parsers = all_parsers()
    for words in commands_of(file.read_text(encoding="utf-8")):
        match typed_and_options(words):
            case typed, options if not {"--help", "...", "COMMAND"} & set(options) and "..." not in typed:
                known = {name for action in parsers[typed]._actions for name in action.option_strings}
                unknown = {word.partition("=")[0] for word in options if word.startswith("--")} - known
                assert not unknown, f"{page_id(file)}: {shlex.join(words)}"


def test_what_is_noticed():
    """The measures themselves: an old option, a continued line, a comment, a script under torchrun."""
    text = "```\ntorchrun --nproc-per-node=4 -- generate.py --run \\\n  runs/a --splits test  # why\nls\n```\n"
    (words,) = commands_of(text)
    assert typed_and_options(words) == ("isofield generate", ["--run", "runs/a", "--splits", "test"])
    assert anchors_of("# A b, c\n```\n# no heading\n```\n## DataConfig\n") == {"a-b-c", "dataconfig"}
    assert LINK.findall("[a](b.md#c) ![d](e.png)") == ["b.md#c", "e.png"]


def test_every_page_is_in_the_navigation():
    """And no page is named that is not there: mkdocs is not needed to see that."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"[\w/-]+\.md", text[text.index("nav:\n  - index") :])
    assert sorted(named) == sorted(file.relative_to(DOCS).as_posix() for file in DOCS.glob("**/*.md"))


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 140


def test_the_citation_is_of_this_version_and_names_the_paper_of_every_protocol():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    starts = [" ".join(paper["title"].partition(":")[0].split()[:5]) for paper in citation["references"]]
    sources = [*(protocol.source for protocol in PROTOCOLS.values()), LightFieldProtocol().source]
    for source in sources:
        assert any(start in source for start in starts), source


def test_an_issue_asks_for_command_version_and_report():
    (form,) = (yaml.safe_load(file.read_text()) for file in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("fault.yml"))
    asked = {part["id"] for part in form["body"] if part.get("validations", {}).get("required")}
    assert {"command", "version", "report"} <= asked


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path):
    pytest.importorskip("mkdocs", reason="of the extra docs")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"]
    subprocess.run(list(map(str, words)), cwd=ROOT, check=True, timeout=600)
    assert (tmp_path / "site" / "reference" / "api.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN_WHOLE)
def test_every_command_of_a_page_runs_on_the_examples(name: str, tmp_path: Path):
    """In the order of the page, in a folder that holds nothing but the examples; trainings for a few steps."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    text = "".join(f"```\n{body}```\n" for kind, body in FENCE.findall((DOCS / name).read_text()) if kind == "sh")
    lines = commands_of(text)
    assert len(lines) >= 3
    for words in lines:
        command, more = words[1], SHORT.get(words[1], [])
        if command == "train":
            more = ["--set", *STEPS.get(name, more)]
        start = [sys.executable, "-m", "isofield"] if words[0] == "isofield" else [sys.executable]
        done = subprocess.run(
            [*start, *words[1:], *more],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=1800,
        )
        # A model of two steps draws little: shapes without a surface are listed, and the status is 2; so are missing
        # predictions. 1 of `analyse` says that it found something.
        fine = {"generate": (0, 2), "evaluate": (0, 2), "analyse": (0, 1)}.get(command, (0,))
        assert done.returncode in fine, f"{words}: {done.stdout}{done.stderr}"


def test_data_configs_are_read():
    for name in config_names():
        if name.startswith("data/"):
            read_config(name, DataConfig)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set that holds whatever a shipped config may train on."""
    folder = tmp_path_factory.mktemp("everything")
    contents = {
        "voxels": 64,
        "levels": True,
        "grids": [32, 64, 128, 256],
        "boundary": {"sigmas": [0.1, 0.01], "points": 2000},
        "surface": {"points": 10000, "views": 8},
        "rendering": {"views": 2},
    }
    settings = {
        "name": "all",
        "input": write_boxes(folder, 4),
        "output": folder / "all",
        "workers": 1,
        "contents": contents,
        "splits": {"rule": "ratios", "ratios": {"train": 0.5, "val": 0.25, "test": 0.25}},
    }
    assert prepare_folder(build(DataConfig, settings, where="test")) == 0
    call(train.main, "--config", "imnet/small", "--set", *one_step(folder, "initial"))
    return folder


def one_step(folder: Path, name: str) -> list[str]:
    """What makes a config train one step of one shape there."""
    return [
        f"name={name}",
        f"runs={folder / 'runs'}",
        f"data.path={folder / 'all'}",
        "data.categories=[]",
        "data.shares=[]",  # of the sigmas of a config's own data set, which may be more than these
        "device=cpu",
        "training.batch_shapes=1",
        "training.max_steps=1",
        "training.max_minutes=null",
        "training.validation={shapes: 1, pictures: 0}",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in config_names() if not name.startswith("data/")])
def test_every_training_config_trains_a_step(name: str, everything: Path):
    settings = one_step(everything, name.replace("/", "-"))
    if name == "pretrained/chairs_gan" or (name.endswith(("latent_gan", "single_view")) and name.startswith("imnet")):
        settings.append(f"model.init_from={everything / 'runs' / 'initial'}")
    assert call(train.main, "--config", name, "--set", *settings) == 0
