"""Which axis is up in what a run makes and is given: chosen by the user, known of its data, or assumed and said."""

from collections.abc import Sequence
from pathlib import Path

from data_processing.geometry.rendering import Up
from data_processing.preparation.config import config_of
from data_processing.preparation.up_axis import GLTF, LAYOUTS, UpAxis, up_of_data
from data_processing.store.shape_set import ShapeSet, StoredShapes, open_shapes
from isofield.config import read_run_config
from isofield.run_dir import RunDir, preparation_of

ASSUMED: Up = "y"


def up_of_run(run: RunDir) -> UpAxis | None:
    """What the run's data set says; None where nothing does, and for a run that does not know how it was prepared."""
    try:
        config = preparation_of(run)
    except (OSError, ValueError):
        return None
    if (known := up_of_data(config)) is not None:
        return known
    try:  # only its files can say it; they may have stayed elsewhere
        shapes = open_shapes(read_run_config(run.config_file).data.path)
    except (OSError, ValueError):
        return None
    return up_of_data(config, shapes.index.sources if isinstance(shapes, StoredShapes) else ())


def up_of_shapes(shapes: ShapeSet) -> UpAxis | None:
    """What a prepared data set says; None for published files, which say nothing."""
    return up_of_data(config_of(shapes.settings), shapes.index.sources) if isinstance(shapes, StoredShapes) else None


def up_in_pictures(chosen: Up | None, known: UpAxis | None) -> tuple[Up, str]:
    """The axis that is up in pictures, and a line that says why; no line where the user has chosen."""
    if chosen is not None:
        return chosen, ""
    if known is not None:
        return known.axis, f"pictures: {known.axis} is up ({known.why}); --up changes it"
    return ASSUMED, f"pictures: {ASSUMED} is taken for up, nothing says it; --up z if shapes lie on their side"


def describe_inputs(files: Sequence[Path], known: UpAxis | None) -> list[str]:
    """Of a user's own files: a line where their format and the run's data differ in what is up, or what is assumed.

    Networks know shapes as their training data lie; nothing is turned for them.
    """
    gltf = sum(file.suffix.lower() in GLTF for file in files)
    if known is None or not files:
        return []
    says = LAYOUTS["objaverse"][0]
    if gltf and known.axis != says.axis:
        return [
            f"note: {gltf} of {len(files)} inputs are glTF, with {says.axis} up; the run was trained with "
            f"{known.axis} up ({known.why}): turn them first"
        ]
    if gltf < len(files):
        return [f"inputs are taken as they lie, with {known.axis} up as in the run's data ({known.why})"]
    return []
