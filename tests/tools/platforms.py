"""Ask pip whether all dependencies have wheels that fit together on other systems. Nothing is installed.

python -m tests.tools.platforms [--systems windows linux-arm64 ...] [--pythons 3.12 ...] [--extras dev ...]

Pip takes wheels of the system that it is asked for, but answers "is this needed there?" for the system that it runs on:
here it is told the other one's answers.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINUX = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_26", "manylinux_2_24", "manylinux_2_17", "manylinux2014")
# Tags of wheels, and what markers ask: sys_platform, platform_system, platform_machine, os_name.
SYSTEMS: dict[str, tuple[tuple[str, ...], tuple[str, str, str, str]]] = {
    "linux": (tuple(f"{tag}_x86_64" for tag in LINUX), ("linux", "Linux", "x86_64", "posix")),
    "linux-arm64": (tuple(f"{tag}_aarch64" for tag in LINUX), ("linux", "Linux", "aarch64", "posix")),
    "macos-arm64": (("macosx_14_0_arm64", "macosx_14_0_universal2"), ("darwin", "Darwin", "arm64", "posix")),
    "windows": (("win_amd64",), ("win32", "Windows", "AMD64", "nt")),
}
PYTHONS = ("3.11", "3.12", "3.13")
ASK = """
import json, sys
from pip._internal.cli.main import main
from pip._vendor.packaging import markers
environment = {**markers.default_environment(), **json.loads(sys.argv[1])}
markers.default_environment = lambda: environment
sys.exit(main(sys.argv[2:]))
"""


def requirements(extras: tuple[str, ...] = ()) -> list[str]:
    """What pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]


def resolve(system: str, python: str, needed: list[str]) -> dict[str, str]:
    """The wheel's file name of each package that a system needs. ValueError with what pip says when there is none."""
    tags, (sys_platform, platform_system, machine, os_name) = SYSTEMS[system]
    environment = {
        "sys_platform": sys_platform,
        "platform_system": platform_system,
        "platform_machine": machine,
        "os_name": os_name,
        "python_version": python,
        "python_full_version": f"{python}.0",
    }
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        words = ["install", "--dry-run", "--quiet", "--report", str(report), "--target", str(Path(folder) / "target")]
        words += [word for tag in tags for word in ("--platform", tag)]
        words += ["--python-version", python, "--implementation", "cp", "--only-binary", ":all:"]
        words += ["-c", str(ROOT / "constraints.txt"), *needed]
        command = [sys.executable, "-c", ASK, json.dumps(environment), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise ValueError("\n".join(errors) or done.stderr)
        chosen = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {one["metadata"]["name"]: one["download_info"]["url"].rpartition("/")[2] for one in chosen}


def without_cuda(system: str, python: str, needed: list[str]) -> dict[str, str]:
    """The same, but of what torch asks for only what it cannot be imported without."""
    others = [line for line in needed if not line.startswith("torch")]
    asked = [line for line in metadata.requires("torch") or [] if "extra ==" not in line]
    others += [line for line in asked if not re.match("nvidia|cuda|triton", line)]
    return resolve(system, python, [*others]) | resolve(system, python, ["torch", "--no-deps"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--pythons", nargs="+", default=list(PYTHONS))
    parser.add_argument("--extras", nargs="+", default=[])
    parser.add_argument(
        "--without-cuda", action="store_true", help="torch without the packages of CUDA: an index may not hold them"
    )
    options = parser.parse_args()
    needed, failed = requirements(tuple(options.extras)), 0
    for system in options.systems:
        for python in options.pythons:
            try:
                wheels = (
                    without_cuda(system, python, needed) if options.without_cuda else resolve(system, python, needed)
                )
            except ValueError as error:
                failed += 1
                print(f"{system}, Python {python}: NOT resolved\n{error}", flush=True)
            else:
                built = sum(not wheel.endswith("-any.whl") for wheel in wheels.values())
                print(f"{system}, Python {python}: {len(wheels)} packages, {built} of them built for it", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
