"""What comes along: in a checkout in configs/ and pretrained/, in an installed package in folders of isofield/."""

from pathlib import Path

from isofield.runtime.hints import did_you_mean

PACKAGE = Path(__file__).resolve().parents[1]
PRETRAINED = "pretrained"


def configs_folder() -> Path:
    """Where they are. FileNotFoundError where they were not installed."""
    for folder in (PACKAGE / "configs", PACKAGE.parent / "configs"):
        if (folder / "imnet").is_dir():
            return folder
    raise FileNotFoundError(f"{PACKAGE / 'configs'} is not there: install isofield again")


def packs_folder() -> Path | None:
    """Where the packed runs are that come along; None where there are none."""
    folders = (PACKAGE / PRETRAINED, PACKAGE.parent / PRETRAINED)
    return next((folder for folder in folders if any(folder.glob("*/pack.json"))), None)


def find_pack(name: str) -> Path | None:
    """The folder of a packed run that comes along, by its name pretrained/NAME; None for any other name."""
    parent, _, short = name.partition("/")
    folder = packs_folder() if parent == PRETRAINED and short else None
    return folder / short if folder is not None and short in pack_names(folder) else None


def pack_names(folder: Path | None = None) -> list[str]:
    """Names of the packed runs that come along: points, voxels_32, ..."""
    folder = packs_folder() if folder is None else folder
    return [] if folder is None else sorted(file.parent.name for file in folder.glob("*/pack.json"))


def config_names() -> list[str]:
    """Names as --config takes them: imnet/small, data/demo, ..."""
    folder = configs_folder()
    return sorted(file.relative_to(folder).with_suffix("").as_posix() for file in folder.glob("**/*.yaml"))


def find_config(name: Path | str) -> Path:
    """A file as it is named, or a shipped one by its name: imnet/small, also as configs/imnet/small.yaml.

    The user's own file comes first. FileNotFoundError, with the nearest names, when it is neither.
    """
    file, short = Path(name), str(name).replace("\\", "/")
    if file.is_file():
        return file
    short = short.removeprefix("configs/").removesuffix(".yaml")
    names = config_names()
    if short in names:
        return configs_folder() / f"{short}.yaml"
    nearest = did_you_mean(short, names, most=3) or did_you_mean(short, names, most=3, compared=_last_part)
    hint = f": {nearest}" if nearest else ""
    raise FileNotFoundError(
        f"config {name} does not exist; {_neighbours(file)}. Nor does one of that name come along (isofield configs)"
        f"{hint}"
    )


def _last_part(name: str) -> str:
    return name.rpartition("/")[2]


def _neighbours(file: Path) -> str:
    if not file.parent.is_dir():
        return f"nor does its folder {file.parent}"
    names = sorted(other.name for other in file.parent.glob("*.yaml"))
    return "the folder has " + (", ".join(names) if names else "no .yaml file")
