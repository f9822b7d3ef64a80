"""How every page of ours is made: a template that escapes what it is given, one style, one script, nothing fetched.

Also what reports of shapes have in common: pictures of meshes, which shapes are shown, rows of settings.

A new page is a template that extends templates/page.html.j2 and fills the block `body`; `write_page` renders it. It
finds there:
- page.css: light, dark, print and narrow windows. Colours are its variables only (`--ink`, `--page`, `--bad`, ...);
  those that pictures have too (`--extra`, `--reference`, ...) come from Python through COLOURS.
- parts.html.j2: `image`, `view`, `turns`, `scale`, `turn_hint`, `tile`, `what`, `sort_buttons`, `settings`.
- page.js: sorts `.cards` and `.sortable` tables. viewer.js: turns shapes. It comes with `turnable=True`:
  `<div {{ parts.turns(name) }}>{{ parts.view(address, "ground truth", mesh) }}{{ parts.view(...) }}</div>`; `mesh`
  is what turnable.pack_mesh made (or a list of those, for one view), `address` the picture that stays for print.
"""

import base64
import functools
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jinja2
import markupsafe
import numpy as np

from data_processing.geometry import rendering
from data_processing.geometry.triangle_mesh import TriangleMesh
from isofield.reports.canvas import EXTRA, MISSING, Colour, Picture, encode_png
from isofield.reports.disagreement import NEUTRAL
from isofield.reports.mask_slices import SLICE_COLOURS
from isofield.runtime.atomic_files import write_text

TEMPLATES = Path(__file__).parent / "templates"
THREE = Path(__file__).parent / "vendor" / "three.min.js"
PICTURE_SIZE = 240
TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")  # would turn around the words behind a name, too
COLOURS = {"extra": EXTRA, "missing": MISSING, "neutral": NEUTRAL} | SLICE_COLOURS  # names of CSS: --extra, ...
Item = TypeVar("Item")


def write_page(
    path: Path, template: str, *, title: str, turnable: bool = False, assets: str = "", **content: Any
) -> None:
    """Replace a page, atomically. `template`: a file of templates/; `content`: what it shows, escaped there.

    `turnable`: it has shapes to turn (`view` of parts.html.j2), for which it needs three.js. `assets`: the address of
    what `write_assets` wrote, for pages that share it; others hold everything themselves.
    """
    three = _three(assets) if turnable else ""
    write_text(path, _templates().get_template(template).render(title=title, three=three, assets=assets, **content))


def write_assets(folder: Path, *, scripts: Sequence[str] = ()) -> None:
    """Style, scripts and three.js as files for pages that share them; `scripts`: more files of templates/."""
    names = ("page.js", "viewer.js", *scripts)
    write_text(folder / "page.css", f"{_colours()}\n{_source('page.css')}")
    write_text(folder / "page.js", "".join(_source(name) for name in names))
    write_text(folder / "three.js", THREE.read_text(encoding="utf-8"))


@functools.cache
def _three(assets: str) -> markupsafe.Markup:
    """Where viewer.js finds three.js: packed in the page, or a file among the assets. The licence is at its head."""
    comment = "<!-- three.js, MIT licence, Copyright 2010-2026 three.js authors: its text is in it -->\n"
    file = f"{assets}/three.js" if assets else ""
    packed = "" if assets else base64.b64encode(zlib.compress(THREE.read_bytes(), 9)).decode()
    # As plain text no browser runs or reads it before viewer.js asks: a page of pictures alone is as quick as before.
    script = '<script type="text/plain" id="three" data-file="{}">{}</script>'
    return markupsafe.Markup(comment + script).format(file, packed)


def _colours() -> markupsafe.Markup:
    return markupsafe.Markup(
        f":root {{ {' '.join(f'--{name}: {_hex(colour)};' for name, colour in COLOURS.items())} }}"
    )


def _hex(colour: Colour) -> str:
    return "#{2:02x}{1:02x}{0:02x}".format(*colour)


@functools.cache
def _templates() -> jinja2.Environment:
    # Whatever a name of a shape holds, it stays text; a name that a template misspells is an error, not a gap.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["source"] = _source
    environment.globals["colours"] = _colours
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment


def _shown(value: Any) -> Any:
    """Text with escapes for what turns text around; Markup is our own, and addresses are encoded anyway."""
    if type(value) is not str:
        return value
    return TURNING.sub(lambda found: ascii(found[0])[1:-1], value)


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
