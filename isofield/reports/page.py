"""What every report is made of: a page that fetches nothing, pictures in it, tables of settings, escaped names."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from data_processing.geometry import rendering
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.reports.style import SCRIPT, STYLE
from isofield.runtime.atomic_files import write_text

PICTURE_SIZE = 240
Item = TypeVar("Item")


def write_page(path: Path, body: Sequence[str], *, title: str) -> None:
    """Replace the page, atomically; the parts of the body are HTML already, the title is not."""
    write_text(
        path,
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + f"\n<script>{SCRIPT}</script></body></html>\n",
    )


def picture_of(
    mesh: TriangleMesh, *, up: rendering.Up, view_ball: rendering.ViewBall | None = None
) -> NDArray[np.uint8]:
    """A mesh from the fixed view of reports, in its own frame or a given one."""
    return rendering.render(
        mesh, [rendering.THREE_QUARTER], size=PICTURE_SIZE, view_ball=view_ball, up=up, supersampling=2
    )[0]


def image(picture: NDArray[np.uint8] | None, what: str, *, wide: bool = False) -> str:
    """A picture inside the page; None says that there is none."""
    if picture is None:
        return f'<div class="none">no {what}</div>'
    done, data = cv2.imencode(".png", picture)
    assert done
    source = base64.b64encode(data.tobytes()).decode()
    kind, width = (' class="wide"', picture.shape[1]) if wide else ("", PICTURE_SIZE)
    return f'<img{kind} alt="{what}" width="{width}" height="{PICTURE_SIZE}" src="data:image/png;base64,{source}">'


def tile(value: str, what: str, unit: str) -> str:
    """A number of the summary, what it is and its unit; the unit is escaped."""
    return f"<div><span>{value}</span>{what}<small>{html.escape(unit)}</small></div>"


def settings_table(protocol: str, settings: Mapping[str, Any]) -> str:
    """Everything that stands beside the numbers, folded."""
    rows = "".join(
        f"<tr><th>{html.escape(str(key)).replace('_', ' ')}</th><td>{html.escape(_plain(value))}</td></tr>"
        for key, value in settings.items()
    )
    return (
        f"<details><summary>Settings and units, protocol {html.escape(protocol)}</summary>"
        f'<table class="settings"><tbody>{rows}</tbody></table></details>'
    )


def sort_buttons(names: Mapping[str, str]) -> str:
    """Buttons that sort the cards: "worst" (highest first), "best" and "name" to the words on them."""
    return "".join(f'<button type="button" data-sort="{key}">{text}</button>' for key, text in names.items())


def choose_shown(ordered: list[Item], *, most: int) -> list[Item]:
    """At most `most` of a sorted list: a third from its beginning, a third from its end, the rest evenly between."""
    if len(ordered) <= most:
        return ordered
    third = most // 3
    middle = ordered[third : len(ordered) - third]
    between = np.linspace(0, len(middle) - 1, most - 2 * third).round().astype(int)
    return ordered[:third] + [middle[i] for i in between] + ordered[len(ordered) - third :]


def quoted(text: str) -> str:
    """Text for an attribute."""
    return html.escape(text, quote=True)


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
