"""What pyproject.toml cannot say: configs/ and pretrained/ stand at the root of a checkout and travel in isofield/."""

from pathlib import Path

from setuptools import find_namespace_packages, find_packages, setup

ours = find_packages(include=["data_processing*", "ifnet*", "imnet*", "isofield*"])
configs = [f"isofield.{name}" for name in find_namespace_packages(include=["configs*"])]
# Packed runs by name, without what was made with them here.
packs = [f"isofield.pretrained.{file.parent.name}" for file in sorted(Path("pretrained").glob("*/pack.json"))]
setup(
    packages=[*ours, *configs, *packs],
    package_dir={"isofield.configs": "configs", "isofield.pretrained": "pretrained"},
    package_data={
        "": ["*.yaml", "py.typed"],
        **{pack: ["README.md", "*.json", "*.npz", "*.safetensors"] for pack in packs},
        "isofield.reports": ["templates/*.j2", "templates/*.css", "templates/*.js", "vendor/*"],
    },
)
