"""Two machines: network namespaces joined by a cable, each with its own name, started as docs/slurm.sh says.

Slurm itself is played by two shell functions: `scontrol` names the nodes, `srun` runs its command on both. All is in a
user namespace of its own and gone afterwards. Skipped where the kernel does not allow that.
"""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from isofield import checkpoint
from isofield.runtime.config import to_yaml
from tests.conftest import ROOT
from tests.isofield.conftest import boxes, tiny_config  # noqa: F401 - a fixture
from tests.torchrun import torchrun

pytestmark = pytest.mark.slow
OWN = ["unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--fork", "--kill-child"]
CABLE = """
set -e
mount -t tmpfs none /run
printf '127.0.0.1 localhost\\n10.77.0.1 nodea\\n10.77.0.2 nodeb\\n' > /run/hosts
mount --bind /run/hosts /etc/hosts
ip netns add nodea
ip netns add nodeb
ip link add eth0 netns nodea type veth peer name eth0 netns nodeb
for node in a b; do
  ip -n node$node link set lo up
  ip -n node$node link set eth0 up
done
ip -n nodea address add 10.77.0.1/24 dev eth0
ip -n nodeb address add 10.77.0.2/24 dev eth0
"""
SLURM = """
scontrol() { echo nodea; echo nodeb; }
srun() {
  shift
  pids=
  for node in a b; do
    nsenter --net=/run/netns/node$node unshare --uts sh -c 'hostname "$0"; exec "$@"' node$node "$@" & pids="$pids $!"
  done
  for pid in $pids; do wait "$pid"; done
}
export -f scontrol srun
export SLURM_JOB_ID=7 SLURM_NNODES=2 SLURM_JOB_NODELIST='node[a-b]'
"""


def in_namespaces(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [*OWN, "bash", "-c", CABLE + script, "bash", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def cable() -> None:
    """Skips where there can be none."""
    absent = [tool for tool in ("ip", "unshare", "nsenter", "bash") if shutil.which(tool) is None]
    if absent:
        pytest.skip(f"no {', '.join(absent)} here")
    tried = in_namespaces("nsenter --net=/run/netns/nodea bash -c 'echo > /dev/tcp/10.77.0.2/9' 2>&1 || true")
    if "refused" not in tried.stdout:
        pytest.skip(f"no two network namespaces here: {(tried.stderr or tried.stdout).strip()[-200:]}")


def test_two_nodes_train_like_one_and_like_one_process(boxes: Path, tmp_path: Path, cable: None):  # noqa: F811
    """Bitwise like two ranks on one machine, and like one process as far as sums in another order go."""
    config = tiny_config(boxes, tmp_path, batch_shapes=4)
    files = {}
    for name in ("nodes", "ranks", "one"):
        files[name] = tmp_path / f"{name}.yaml"
        files[name].write_text(to_yaml(dataclasses.replace(config, runs=tmp_path / name)))
    done = in_namespaces(SLURM + 'bash docs/slurm.sh "$@"', "train.py", "--config", str(files["nodes"]))
    assert done.returncode == 0, done.stderr
    torchrun("train.py", "--config", files["ranks"])
    torchrun("train.py", "--config", files["one"], processes=1)
    nodes, ranks, one = (
        checkpoint.load(tmp_path / name / "tiny" / "checkpoints" / "last.pt") for name in ("nodes", "ranks", "one")
    )
    assert nodes["step"] == one["step"] == 10
    assert nodes["best"] == ranks["best"] == pytest.approx(one["best"], rel=1e-4)
    for name, value in nodes["model"].items():
        assert torch.equal(value, ranks["model"][name]), name
        assert torch.allclose(value, one["model"][name], atol=2e-4), name
