"""A headless Chromium that does what a person does: it opens a page, drags, presses keys, and is looked at.

It is spoken to through a pipe (`--remote-debugging-pipe`: JSON with a zero byte behind), so nothing but the standard
library is needed. The network is off. Everything that the page complains of is in `complaints`.
"""

import base64
import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from tests.pages import browser

PATIENCE = 60  # seconds until something has to have happened
PAINTED = "performance.getEntriesByType('paint').length > 0"  # before that a browser drops keys and clicks


class Browser:
    """One window. `complaints`: errors of scripts and of the console, and what was asked of the network."""

    def __init__(self, folder: Path, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        to_browser, from_browser = os.pipe(), os.pipe()
        words = [browser(), "--headless", "--no-sandbox", "--remote-debugging-pipe", "--hide-scrollbars"]
        words += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", f"--user-data-dir={folder}"]
        words += [f"--window-size={width},{height}", "--no-first-run", "--disable-background-networking", "about:blank"]

        def wire() -> None:  # the browser reads from 3 and writes to 4
            read, write = os.dup(to_browser[0]), os.dup(from_browser[1])
            os.dup2(read, 3)
            os.dup2(write, 4)

        self._process = subprocess.Popen(
            words, preexec_fn=wire, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for end in (to_browser[0], from_browser[1]):
            os.close(end)
        self._in, self._out = to_browser[1], from_browser[0]
        self._rest, self._count, self.complaints = b"", 0, list[str]()
        self._events: list[dict[str, Any]] = []
        (target, *_) = [one for one in self._ask("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        self._session = self._ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.ask("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
        self.resize(width, height)
        self.theme(dark=dark)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self._send("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def resize(self, width: int, height: int, *, mobile: bool = False) -> None:
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def theme(self, *, dark: bool) -> None:
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[feature])

    def open(self, page: Path, address: str = "") -> None:
        """Opens a file and waits until it is loaded."""
        self._events.clear()
        self.ask("Page.navigate", url=page.resolve().as_uri() + address)
        self._until(lambda: any(event["method"] == "Page.loadEventFired" for event in self._events))

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript comes to; promises are waited for."""
        answer = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """Waits until an expression is true."""
        found: list[Any] = []

        def is_true() -> bool:
            found[:] = [self.value(expression)]
            return bool(found[0])

        self._until(is_true, what=expression)
        return found[0]

    def drag(self, selector: str, across: int, down: int, *, number: int = 0) -> None:
        """With the left button from the middle of an element, in pixels."""
        self.wait_for(PAINTED)
        x, y = self.value(
            f"(() => {{ const one = document.querySelectorAll({json.dumps(selector)})[{number}];"
            " one.scrollIntoView({block: 'center'}); const box = one.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        button = {"button": "left", "buttons": 1, "clickCount": 1}
        self.ask("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, **button)
        for part in (0.3, 0.7, 1.0):
            self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x + part * across, y=y + part * down, **button)
        self.ask("Input.dispatchMouseEvent", type="mouseReleased", x=x + across, y=y + down, **button)

    def touch(self, selector: str, across: int, down: int) -> None:
        """With one finger from the middle of the first such element that is in the window, in pixels."""
        x, y = self.wait_for(  # views come and go as the page moves: at this moment there may be none
            f"(() => {{ const one = [...document.querySelectorAll({json.dumps(selector)})].map(one =>"
            " one.getBoundingClientRect()).find(box => box.top >= 0 && box.bottom <= innerHeight);"
            " return one && [one.x + one.width / 2, one.y + one.height / 2]; })()"
        )
        for kind, part in (("Start", 0.0), *(("Move", part / 6) for part in range(1, 7))):
            points = [{"x": x + part * across, "y": y + part * down}]
            self.ask("Input.dispatchTouchEvent", type=f"touch{kind}", touchPoints=points)
        self.ask("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def fingers(self, kind: str, places: dict[int, tuple[float, float]]) -> None:
        """Some fingers, by number: Start and Move name all that are down then, End those that leave (none: all)."""
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in places.items()]
        self.ask("Input.dispatchTouchEvent", type=f"touch{kind}", touchPoints=points)

    def press(self, key: str) -> None:
        self.wait_for(PAINTED)
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        words = {"key": key, "windowsVirtualKeyCode": {"Tab": 9, "Enter": 13}.get(key, 0)}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **words, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **words)

    def picture(self, file: Path, *, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        data = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        file.write_bytes(base64.b64decode(data))

    def ask(self, method: str, **words: Any) -> dict[str, Any]:
        return self._ask(method, session=self._session, **words)

    def _ask(self, method: str, *, session: str = "", **words: Any) -> dict[str, Any]:
        number = self._send(method, session=session, **words)
        answer: list[dict[str, Any]] = []

        def is_answered() -> bool:
            answer[:] = [event for event in self._events if event.get("id") == number]
            return bool(answer)

        self._until(is_answered, what=method)
        self._events.remove(answer[0])
        assert "error" not in answer[0], (method, answer[0]["error"])
        return answer[0]["result"]

    def _send(self, method: str, *, session: str = "", **words: Any) -> int:
        self._count += 1
        message = {"id": self._count, "method": method, "params": words} | ({"sessionId": session} if session else {})
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._in, data) :]
        return self._count

    def _until(self, is_done: Any, *, what: str = "the page to load") -> None:
        end = time.monotonic() + PATIENCE
        os.set_blocking(self._out, False)
        while not is_done():
            assert time.monotonic() < end, f"waited {PATIENCE} s for {what}; {self.complaints}"
            for event in self._read():
                self._note(event)
            time.sleep(0.01)

    def _read(self) -> Iterator[dict[str, Any]]:
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self._out, 1 << 20):
                self._rest += part
        *whole, self._rest = self._rest.split(b"\0")
        yield from map(json.loads, whole)

    def _note(self, event: dict[str, Any]) -> None:
        self._events.append({"method": "", **event})
        words = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(words["exceptionDetails"])[:2000])
            case "Runtime.consoleAPICalled" if words["type"] in ("error", "warning", "assert"):
                self.complaints.append(json.dumps(words["args"])[:2000])
            case "Log.entryAdded" if words["entry"]["level"] in ("error", "warning"):
                self.complaints.append(f"{words['entry']['text']} {words['entry'].get('url', '')}")
            case "Network.requestWillBeSent" if not words["request"]["url"].startswith(("file:", "data:", "blob:")):
                self.complaints.append(f"asked for {words['request']['url']}")
