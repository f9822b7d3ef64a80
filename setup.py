"""What pyproject.toml cannot say: configs/ stands at the root of a checkout and travels as isofield/configs/."""

from setuptools import find_namespace_packages, find_packages, setup

ours = find_packages(include=["data_processing*", "ifnet*", "imnet*", "isofield*"])
configs = [f"isofield.{name}" for name in find_namespace_packages(include=["configs*"])]
setup(
    packages=ours + configs,
    package_dir={"isofield.configs": "configs"},
    package_data={
        "": ["*.yaml", "py.typed"],
        "isofield.reports": ["templates/*.j2", "templates/*.css", "templates/*.js", "vendor/*"],
    },
)
