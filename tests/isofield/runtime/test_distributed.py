"""One process or several: shares, sums, devices. The several are real: torchrun over gloo."""

import itertools
import json
import warnings
from pathlib import Path

import pytest
import torch

from isofield.runtime.distributed import Group, _device_of_rank, resolve_device, session, timeout
from tests.torchrun import torchrun

SCRIPT = """
import json, sys, torch
from pathlib import Path
from isofield.runtime.distributed import session
with session("cpu") as group:
    a, b = (torch.nn.Parameter(torch.zeros(n)) for n in (3, 2))
    (a * torch.arange(3.) * (group.rank + 1)).sum().backward()
    if group.rank == 1:
        b.grad = torch.ones(2)
    group.add_gradients([a, b])
    own = torch.tensor([group.rank + 1.0])
    total = group.total(own)
    weights = {"w": torch.full((2,), float(group.rank)), "n": torch.tensor(group.rank)}
    group.broadcast(weights.values())
    group.wait()
    result = [group.rank, group.size, a.grad.tolist(), b.grad.tolist(), own.tolist(), total.tolist()]
    Path(sys.argv[1], f"{group.rank}.json").write_text(json.dumps([*result, weights["w"].tolist(), int(weights["n"])]))
"""


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [0, 1, 3, 10])
def test_shares_partition_evenly_in_order(size: int, count: int):
    shares = [list(range(count))[Group(rank, size, torch.device("cpu")).share(count)] for rank in range(size)]
    assert list(itertools.chain(*shares)) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_plain_python_is_one_process(monkeypatch: pytest.MonkeyPatch):
    for key in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(key, raising=False)
    with session("cpu") as group:
        assert (group.rank, group.size, group.is_first) == (0, 1, True)
        value, weight = torch.tensor(3.0), torch.nn.Parameter(torch.ones(1))
        assert group.total(value) is value
        group.add_gradients([weight])
        group.broadcast([value])
        group.wait()
        assert weight.grad is None


def test_two_processes_sum_and_share(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    torchrun(script, tmp_path)
    for rank in (0, 1):
        got = json.loads((tmp_path / f"{rank}.json").read_text())
        # The sum over ranks; a parameter one rank did not use counts as zero there; totals leave the argument alone.
        assert got == [rank, 2, [0.0, 3.0, 6.0], [1.0, 1.0], [rank + 1.0], [3.0], [0.0, 0.0], 0]


def test_the_time_to_wait_for_a_rank_is_a_setting(monkeypatch: pytest.MonkeyPatch):
    assert timeout().total_seconds() == 1800
    monkeypatch.setenv("ISOFIELD_TIMEOUT", "2.5")
    assert timeout().total_seconds() == 2.5
    for wrong in ("0", "-1", "soon", "inf", "nan"):
        monkeypatch.setenv("ISOFIELD_TIMEOUT", wrong)
        with pytest.raises(ValueError, match="ISOFIELD_TIMEOUT: "):
            timeout()


def test_devices_by_name():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu", "cuda:x", "", "mps", "meta"):
        with pytest.raises(ValueError, match=f"'{name}': .*auto, cpu, cuda or cuda:N"):
            resolve_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_where_there_is_none_says_so():
    with pytest.raises(ValueError, match=r"'cuda:0': .*cpu or auto"):
        resolve_device("cuda:0")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_by_local_rank():
    assert resolve_device("auto", local_rank=0) == torch.device("cuda", 0)
    with pytest.raises(ValueError, match="device 'cuda:99'"):
        resolve_device("cuda:99")


def test_auto_warns_where_torch_was_built_for_cuda_and_sees_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.warns(UserWarning, match=r"CUDA 13\.0.*nvidia-smi"):
        assert resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.version, "cuda", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")


def test_a_session_says_what_auto_became(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    with session("auto"):
        assert "device auto: cpu" in capsys.readouterr().out
    with session("cpu"):
        assert "device" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("device", "ranks", "gpus", "collectives", "expected"),
    [
        ("cuda", 2, 2, True, "cuda:1"),
        ("auto", 2, 2, True, "cuda:1"),
        ("cuda", 2, 1, True, "2 ranks on this machine and 1 GPU,.*--nproc-per-node 1"),
        ("cuda:0", 2, 2, True, "device 'cuda:0': all 2 ranks .*device: cuda"),
        ("cuda", 2, 1, False, "cuda:0"),  # ranks that need not talk may share
        ("cuda:0", 2, 2, False, "cuda:0"),
    ],
)
def test_ranks_that_talk_need_a_gpu_each(monkeypatch: pytest.MonkeyPatch, device, ranks, gpus, collectives, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    asked = {"local_rank": 1, "local_size": ranks, "collectives": collectives}
    if expected.startswith("cuda"):
        assert str(_device_of_rank(device, **asked)) == expected
    else:
        with pytest.raises(ValueError, match=expected):
            _device_of_rank(device, **asked)
