"""A prepared data set as one self-contained HTML page: what to look at first, and what a network will see of it.

Nothing is fetched from anywhere, and every name is escaped.
"""

from collections.abc import Sequence
from pathlib import Path

from data_processing.geometry import rendering
from data_processing.loading.batches import training_shapes
from data_processing.store.contract import ShapeSet
from isofield.config import RunConfig
from isofield.reports.page import address_of, write_page
from isofield.reports.prepared_pictures import NetworkView, disagreement_of, network_view, picture_of_shape
from isofield.reports.prepared_shapes import PreparedShape, count_bars, prepared_shapes, volume_text
from isofield.runtime.invocation import next_command
from isofield.runtime.json_files import Row
from isofield.up_axis import up_in_pictures, up_of_shapes

PAGE = "inspect.html"  # in the data set
MOST_LINES = 2000  # of the table: report.csv, where there is one, has all
VIEWS = 4  # shapes of which is shown what the network sees
DISAGREE = "winding number and flood fill agree"


def write_dataset_page(
    path: Path,
    shapes: ShapeSet,
    *,
    config: RunConfig | None = None,
    up: rendering.Up | None = None,
    pictures: int = 60,
    slices: int | None = None,
) -> dict[str, int]:
    """Replace the page, atomically; returns how many inputs there are of each kind.

    `config`: of a training, whose inputs and points are shown. `up`: as in the data, where it is not given. `pictures`:
    the most shapes to show, in the order of what to look at; the table has MOST_LINES. `slices`: of how many of them is
    shown where the inside tests disagree, which takes as long as their preparation; None: of all. ValueError where the
    config takes what the data set does not hold.
    """
    up = up or up_in_pictures(None, up_of_shapes(shapes))[0]
    found = prepared_shapes(shapes)
    kinds = {kind: sum(shape.kind == kind for shape in found) for kind in dict.fromkeys(shape.kind for shape in found)}
    doubtful = [shape.name for shape in found[:pictures] if shape.index is not None and DISAGREE in shape.quality]
    # Each takes the winding number and the flood fill of the whole grid, as its preparation did.
    drawn = set(doubtful[:slices])
    cards = [_card(shapes, shape, up=up, with_slices=shape.name in drawn) for shape in found[:pictures]]
    views, note = _views(shapes, config, up=up) if config else ([], "")
    write_page(
        path,
        "dataset.html.j2",
        title=f"{shapes.path.resolve().name}: what preparation made of {len(found)} inputs",
        kinds=kinds,
        bars={each: count_bars(found, by=each) for each in ("split", "category")},
        cards=cards,
        found=[(shape, volume_text(shapes, shape)) for shape in found[:MOST_LINES]],
        count=len(found),
        has_report=(shapes.path / "report.csv").is_file(),
        views=[(view, address_of(view.inputs), address_of(view.points)) for view in views],
        config=config,
        note=note,
    )
    return kinds


def _card(shapes: ShapeSet, shape: PreparedShape, *, up: rendering.Up, with_slices: bool) -> Row:
    picture, slices, problem = None, None, ""
    if shape.index is not None:
        picture = address_of(picture_of_shape(shapes, shape.index, up=up))
        try:
            slices = address_of(disagreement_of(shapes, shape.index)) if with_slices else None
        except (ValueError, OSError) as error:
            problem = f"where the tests disagree cannot be drawn: {error}"
        if DISAGREE in shape.quality and not with_slices:
            problem = f"where the tests disagree is drawn by: {next_command('inspect', shapes.path)}"
    return {
        "shape": shape,
        "picture": picture,
        "slices": slices,
        "problem": problem,
        "volume": volume_text(shapes, shape),
    }


def _views(shapes: ShapeSet, config: RunConfig, *, up: rendering.Up) -> tuple[Sequence[NetworkView], str]:
    """Of the first shapes that would be trained on, in the first stage."""
    indices, note = training_shapes(shapes, config.data)
    stage, seed = config.training.stages[0], config.training.seed
    views = [network_view(shapes, int(i), config.data, stage, seed=seed, up=up) for i in indices[:VIEWS]]
    return views, note
