"""How every page of ours is made: a template that escapes what it is given, one style, one script, nothing fetched.

Also what reports of shapes have in common: pictures of meshes, which shapes are shown, rows of settings.
"""

import base64
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import jinja2
import markupsafe
import numpy as np

from data_processing.geometry import rendering
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.reports.canvas import Picture, encode_png
from isofield.runtime.atomic_files import write_text

TEMPLATES = Path(__file__).parent / "templates"
PICTURE_SIZE = 240
Item = TypeVar("Item")


def write_page(path: Path, template: str, *, title: str, **content: Any) -> None:
    """Replace a page, atomically. `template`: a file of templates/; `content`: what it shows, escaped there."""
    write_text(path, _templates().get_template(template).render(title=title, **content))


@functools.cache
def _templates() -> jinja2.Environment:
    # Whatever a name of a shape holds, it stays text; a name that a template misspells is an error, not a gap.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["source"] = _source
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment


def _source(name: str) -> markupsafe.Markup:
    """Our own style or script, as it is."""
    return markupsafe.Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def picture_of(mesh: TriangleMesh, *, up: rendering.Up, view_ball: rendering.ViewBall | None = None) -> Picture:
    """A mesh from the fixed view of reports, in its own frame or a given one."""
    return rendering.render(
        mesh, [rendering.THREE_QUARTER], size=PICTURE_SIZE, view_ball=view_ball, up=up, supersampling=2
    )[0]


def address_of(picture: Picture | None) -> str | None:
    """The picture itself as an address, for a page that fetches nothing; None for none."""
    return None if picture is None else f"data:image/png;base64,{base64.b64encode(encode_png(picture)).decode()}"


def settings_rows(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings in words: keys without underscores, lists with commas."""
    return {
        key.replace("_", " "): ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        for key, value in settings.items()
    }


def choose_shown(ordered: list[Item], *, most: int) -> list[Item]:
    """At most `most` of a sorted list: a third from its beginning, a third from its end, the rest evenly between."""
    if len(ordered) <= most:
        return ordered
    third = most // 3
    middle = ordered[third : len(ordered) - third]
    between = np.linspace(0, len(middle) - 1, most - 2 * third).round().astype(int)
    return ordered[:third] + [middle[i] for i in between] + ordered[len(ordered) - third :]
