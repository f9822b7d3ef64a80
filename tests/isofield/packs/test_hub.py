"""Runs on a hub of models: through huggingface_hub, whose protocol a server speaks that the test started."""

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from isofield.commands import generate
from isofield.packs.find_run import find_run
from isofield.packs.hub import fetch_from_hub
from tests.commands import call
from tests.conftest import ROOT
from tests.isofield.packs.tiny_runs import Images, images_in, packed
from tests.isofield.ready_runs import make_run

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ASK = """
import sys
from isofield.packs.find_run import find_run
for address in sys.argv[1:]:
    try:
        print(find_run(address).path)
    except ValueError as error:
        print("refused:", error)
"""


class Hub:
    """Repositories by `owner/name/resolve/revision`, and what was asked for. `announced`: sizes that are not true.

    `refused`: HTTP states by place.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Images] = {}
        self.refused: dict[str, int] = {}
        self.announced: dict[str, int] = {}
        self.asked: list[str] = []


@pytest.fixture
def hub() -> Iterator[tuple[Hub, str]]:
    """What it holds, and its address."""
    state = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            place, _, name = self.path.lstrip("/").rpartition("/")
            state.asked.append(f"{self.command} {name}")
            image = state.repositories.get(place, {}).get(name)
            if place in state.refused:
                self.send_response(state.refused[place])
                self.send_header("X-Error-Message", "Invalid credentials in Authorization header")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(404 if image is None else 200)
            self.send_header("X-Repo-Commit", COMMIT)
            if image is None:
                self.send_header("X-Error-Code", "EntryNotFound" if place in state.repositories else "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_header("ETag", f'"{abs(hash(image)):x}"')
            self.send_header("Content-Length", str(state.announced.get(name, len(image))))
            self.end_headers()
            if body:
                self.wfile.write(image)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the screen of a test."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield state, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def started(words: list[object], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own: the library reads its settings when it is imported."""
    own = {"HF_HOME": str(folder / "hf"), "ISOFIELD_CACHE": str(folder / "cache"), "NO_PROXY": "127.0.0.1"}
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *map(str, words)],
        env={**os.environ, **own, "PYTHONPATH": paths, "HF_HUB_DISABLE_TELEMETRY": "1", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_meshes_are_those_of_the_run_and_offline_too(boxes: Path, hub: tuple[Hub, str], tmp_path: Path):
    pytest.importorskip("huggingface_hub")
    state, endpoint = hub
    run = make_run(boxes, tmp_path / "runs")
    beside = {"evil.pkl": b"x", "modeling.py": b"raise SystemExit"}
    state.repositories["owner/octahedra/resolve/v1.0"] = images_in(packed(run, tmp_path / "pack")) | beside
    words: list[object] = ["--split", "test", "--data", boxes, "--resolution", 24, "--device", "cpu"]
    assert call(generate.main, "--run", run.path, *words, "--out", tmp_path / "out") == 0
    for offline in ("0", "1"):
        here = ["generate.py", "--run", "hf:owner/octahedra@v1.0", *words, "--out", tmp_path / f"out{offline}"]
        done = started(here, tmp_path, HF_ENDPOINT=endpoint, HF_HUB_OFFLINE=offline)
        assert done.returncode == 0, done.stderr
    outs = [tmp_path / name for name in ("out", "out0", "out1")]
    meshes: list[Images] = [{file.name: file.read_bytes() for file in out.rglob("*.ply")} for out in outs]
    assert meshes[0] == meshes[1] == meshes[2] and len(meshes[0]) == 3
    assert len({line for line in state.asked if "GET" in line}) == 6  # what the manifest names, and itself
    assert not [line for line in state.asked if "evil" in line or "modeling" in line]


def test_what_a_hub_may_hand_out_instead(images: Images, hub: tuple[Hub, str], tmp_path: Path):
    pytest.importorskip("huggingface_hub")
    state, endpoint = hub
    weights = images["model.safetensors"]
    good, changed = "owner/good/resolve/main", "owner/changed/resolve/main"
    state.repositories[good] = images
    state.repositories[changed] = images | {"model.safetensors": weights[:-1] + bytes([weights[-1] ^ 1])}
    state.repositories["owner/bare/resolve/main"] = {"config.yaml": images["config.yaml"]}
    state.repositories["owner/large/resolve/main"] = images | {"pack.json": bytes(2 << 20)}
    state.repositories["owner/short/resolve/main"] = {n: v for n, v in images.items() if n != "card.json"}
    addresses = [f"hf:owner/{name}@main" for name in ("short", "changed", "good", "bare", "large", "nothing")]
    done = started(["-c", ASK, *addresses], tmp_path, HF_ENDPOINT=endpoint)
    assert done.returncode == 0, done.stderr
    answers = done.stdout.splitlines()
    assert len(answers) == len(addresses), done.stdout  # each is one line
    assert "model.safetensors: SHA-256" in answers[1] and "changed or damaged" in answers[1]
    assert answers[2].startswith(f"{tmp_path}/cache/packs/tiny-")  # nothing of the bad ones is in its way
    lacking = [answers[0], *answers[3:]]
    for answer, name in zip(lacking, ("card.json", "pack.json", "pack.json", "pack.json"), strict=True):
        assert answer.startswith("refused: hf:owner/") and f"{name} cannot be fetched" in answer
    reasons = ("does not hold it", "does not hold it", "2,097,152 bytes on the hub", "no such repository")
    for answer, reason in zip(lacking, reasons, strict=True):
        assert reason in answer and "http" not in answer and "Request" not in answer  # no word of the library
    assert {line for line in state.asked if "GET" in line} <= {f"GET {name}" for name in images}


def test_what_a_hub_refuses_has_a_way_out(hub: tuple[Hub, str], tmp_path: Path):
    pytest.importorskip("huggingface_hub")
    state, endpoint = hub
    state.refused = {"o/token/resolve/main": 401, "o/less/resolve/main": 403, "o/ill/resolve/main": 418}
    addresses = ["hf:o/token@main", "hf:o/less@main", "hf:o/ill@main", "hf:o/two--dashes@main"]
    done = started(["-c", ASK, *addresses], tmp_path, HF_ENDPOINT=endpoint)
    assert done.returncode == 0, done.stderr
    ways_out = ("(HTTP status 401): look at your login", "403): look at your login", "418): try again later", "mend it")
    for answer, way_out in zip(done.stdout.splitlines(), ways_out, strict=True):
        assert f"pack.json cannot be fetched: the hub {'has no' if 'mend' in way_out else 'refused'}" in answer
        assert way_out in answer, answer


def test_a_hub_that_cannot_be_reached(tmp_path: Path):
    pytest.importorskip("huggingface_hub")
    for environment in ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}):
        done = started(["-c", ASK, "hf:owner/x@main"], tmp_path, **environment)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("refused: hf:owner/x@main: pack.json cannot be fetched: "), done.stdout
        assert "the hub cannot be reached" in done.stdout or "HF_HUB_OFFLINE" in done.stdout


@pytest.mark.parametrize(
    "address",
    ["hf:owner/name", "hf:name@main", "hf:owner/name@", "hf:../x@main", "hf:owner/name@../x", "hf:o/n@a//b", "hf:"],
)
def test_addresses_that_are_none(address: str):
    with pytest.raises(ValueError, match=rf"^{address}: expected hf:OWNER/NAME@REVISION"):
        find_run(address)


def test_the_library_is_an_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"pip install 'isofield\[hub\]'"):
        fetch_from_hub("hf:owner/name@main")


def test_a_folder_of_that_name_comes_first(images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whatever the hub has: what lies here is what was meant."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "hf:owner" / "name@main"
    folder.mkdir(parents=True)
    for name, image in images.items():
        (folder / name).write_bytes(image)
    assert find_run("hf:owner/name@main").path == Path("hf:owner/name@main")
