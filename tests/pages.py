"""Pages of ours read as a browser reads them: which elements there are, which words, and what scripts make of them."""

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Closes what it may stand in (text, attributes of both kinds, a script), and speaks the language of the templates.
HOSTILE = "'\"></script><script>alert(1)</script><img src=x onerror=alert(2)>&lt;b&gt;{{ 7 * 7 }}{% raw %}"
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "script", "header", "nav", "main", "section", "details"),
    *("summary", "div", "span", "small", "b", "br", "p", "h1", "h2", "h3", "ul", "li", "dl", "dt", "dd", "table"),
    *("thead", "tbody", "tr", "th", "td", "figure", "figcaption", "img", "button", "form", "label", "select"),
    *("option", "input", "output", "svg", "g", "rect", "path", "line", "text", "article", "a", "canvas", "i", "kbd"),
    *("ol", "noscript", "link", "bdi"),
}


def _is_ours(address: str) -> bool:
    """A picture that the page holds, a place in it, or a file beside it; nothing that is fetched, no script."""
    parts = urlsplit(address)
    return address.startswith("data:image/") or not (parts.scheme or parts.netloc or address.startswith(("/", "\\")))


class Page(HTMLParser):
    """`words`: everything that is text or the value of an attribute, decoded. `scripts`: their contents."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.foreign: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.words += [value for value in values.values() if value]
        fetched = [values[key] or "" for key in ("src", "href", "action") if key in values]
        if (
            tag not in ELEMENTS
            or any(key.startswith("on") for key in values)
            or any(not _is_ours(address) for address in fetched)
        ):
            self.foreign.append(str(self.get_starttag_text()))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data
        else:
            self.words.append(data)

    def holds(self, words: str) -> bool:
        """Whether the words stand somewhere in one piece."""
        return any(words in part for part in self.words)


def page_of(source: str, *, scripts: int) -> Page:
    """The page, in which nothing is but our own elements and that many scripts."""
    page = Page(source)
    assert page.foreign == []
    assert len(page.scripts) == scripts
    assert page.scripts[-1].strip().startswith('"use strict"') or not page.scripts[-1]  # a file beside the page
    return page


def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser here ({', '.join(BROWSERS)}): the page is tested by its text alone")
    return found


def seen(page: Path, address: str = "", script: str = "") -> str:
    """The page as the browser has it, after a script of the test's own."""
    file = page
    if script:
        file = page.with_name("scripted.html")
        file.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
    words = [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"]
    words += [f"--user-data-dir={page.parent / 'browser'}", "--virtual-time-budget=3000", "--dump-dom"]
    done = subprocess.run(
        [*words, f"{file.as_uri()}{address}"], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout
