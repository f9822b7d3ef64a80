"""Which axis of files points up: what their format or their layout says, and lines where it matters.

Nothing is turned here. Cameras of a data set stand as its config says (contents.rendering.up, contents.surface.up);
whoever prepares files that say otherwise is told. Pictures for people are drawn as the data lie.
"""

from collections.abc import Sequence
from typing import NamedTuple

from data_processing.geometry.rendering import Up
from data_processing.preparation.config import DataConfig
from data_processing.preparation.layouts import layout_of_files

GLTF = (".glb", ".gltf")


class UpAxis(NamedTuple):
    """An axis of the files' frame, and the words that tell who says so."""

    axis: Up
    why: str


# ModelNet's own files are .off; others that lie in such folders say nothing.
LAYOUTS: dict[str, tuple[UpAxis, tuple[str, ...]]] = {
    "shapenet": (UpAxis("y", "shapes of ShapeNet have y up"), ()),
    "objaverse": (UpAxis("y", "glTF files have y up"), GLTF),
    "modelnet": (UpAxis("z", "shapes of ModelNet have z up"), (".off",)),
}
SCANS = UpAxis("z", "label volumes are turned so that z points to the head")


def up_of_files(files: Sequence[str], config: DataConfig, *, root: str = "") -> UpAxis | None:
    """What files of a folder say, given by their paths below it; None where nothing says it. `root`: its name."""
    if config.labels is not None:
        return SCANS
    if not files:
        return None
    layout = layout_of_files(files, root) if config.layout in ("auto", "lists") else config.layout
    axis, suffixes = LAYOUTS.get(layout, (None, ()))
    if axis is not None and (not suffixes or all(file.lower().endswith(suffixes) for file in files)):
        return axis
    is_gltf = all(file.lower().endswith(GLTF) for file in files)
    return LAYOUTS["objaverse"][0] if is_gltf else None


def cameras_up(config: DataConfig) -> dict[str, Up]:
    """By the keys of a config the axes that its cameras take for up; none where a data set has no cameras."""
    rendering, surface = config.contents.rendering, config.contents.surface
    keys: dict[str, Up] = {}
    if rendering is not None and rendering.folder is None:
        keys["contents.rendering.up"] = rendering.up
    if surface is not None and surface.views:
        keys["contents.surface.up"] = surface.up
    return keys


def up_of_data(config: DataConfig, files: Sequence[str] = ()) -> UpAxis | None:
    """Of prepared data: what its cameras took for up, else what its files say; None where nothing says it."""
    for key, axis in cameras_up(config).items():
        return UpAxis(axis, f"{key} of the data set is {axis}")
    return up_of_files(files, config, root=config.input.name)


def describe_up(config: DataConfig, files: Sequence[str]) -> tuple[str, ...]:
    """A line for each kind of cameras that a preparation is to have: what is up, who says so, how to change it."""
    evidence, lines = up_of_files(files, config, root=config.input.name), []
    for key, axis in cameras_up(config).items():
        if evidence is None:
            lines.append(f"up: {axis} by {key}; the files do not say. If shapes lie on their side: --set {key}=y or z")
        elif evidence.axis != axis:
            lines.append(f"up: {axis} by {key}, but {evidence.why}: cameras see them lie; --set {key}={evidence.axis}")
        else:
            lines.append(f"up: {axis} by {key}; {evidence.why}")
    return tuple(lines)
