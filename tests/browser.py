"""A browser for tests: Debian's Chromium without a screen, driven over a pair of pipes by its DevTools protocol.

No port, no WebSocket, no driver program: messages of JSON, each ended by a NUL (`--remote-debugging-pipe`).
"""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_PATIENCE = 60.0
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-extensions", "--disable-background-networking", "--disable-component-update", "--mute-audio"),
    *("--disable-sync", "--hide-scrollbars", "--force-color-profile=srgb", "--remote-debugging-pipe"),
)
# The browser reads from 3 and writes to 4, whatever numbers the pipes have here.
_EXEC = (
    "import os, sys; r, w = os.dup(int(sys.argv[1])), os.dup(int(sys.argv[2])); r, w = os.dup(r), os.dup(w);"
    "os.dup2(r, 3); os.dup2(w, 4); os.execv(sys.argv[3], sys.argv[3:])"
)


@dataclass
class Tab:
    """One page in the browser, and what it has said since it was opened."""

    into: int
    out: int
    session: str | None = None
    heard: list[dict[str, Any]] = field(default_factory=list)
    _count: int = 0
    _rest: bytes = b""

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """What a method of the protocol answers."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self.session is not None:
            message["sessionId"] = self.session
        os.write(self.into, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.heard.append(answer)

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + _PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self.out], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser says nothing"
            read = os.read(self.out, 1 << 20)
            assert read, "the browser has ended"
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def open(self, path: Path) -> None:
        """Show a file, and wait until it has drawn its charts."""
        self.heard.clear()
        self.call("Page.navigate", url=path.as_uri())
        self.until("document.documentElement.dataset.drawn !== undefined")

    def show(self, path: Path) -> None:
        """Open a file, unless it is what is shown: it is megabytes of script."""
        if self.run("location.href") != path.as_uri():
            self.open(path)

    def run(self, script: str) -> Any:
        """The value of an expression, of a promise too."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + _PATIENCE
        while not self.run(f"document.readyState === 'complete' && ({script})"):
            assert time.monotonic() < deadline, script
            time.sleep(0.02)

    def events(self, name: str) -> list[dict[str, Any]]:
        """What was said of one kind; heard up to now."""
        self.run("0")
        return [message["params"] for message in self.heard if message.get("method") == name]

    def size(self, width: int, height: int, *, mobile: bool = False) -> None:
        """Look at it on a screen of this size."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def prefer(self, scheme: str, media: str = "") -> None:
        """Prefer light or dark colours; `media` is print for paper."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def point_at(self, x: float, y: float) -> None:
        """Move the mouse there."""
        for nudge in (-2, 0):
            self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x + nudge, y=y)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """A screenshot."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def tab() -> Iterator[Tab]:
    """A browser with one empty page; nothing of it outlives the test."""
    assert CHROMIUM is not None
    into, out = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [CHROMIUM, *_OPTIONS, f"--user-data-dir={folder}", "about:blank"]
        process = subprocess.Popen(
            [sys.executable, "-c", _EXEC, str(into[0]), str(out[1]), *command],
            pass_fds=(into[0], out[1]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": folder},
        )
        os.close(into[0])
        os.close(out[1])
        try:
            yield _attached(Tab(into[1], out[0]))
        finally:
            os.close(into[1])
            os.close(out[0])
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _attached(browser: Tab) -> Tab:
    """The one page, told to report what it asks for and complains about."""
    targets = browser.call("Target.getTargets")["targetInfos"]
    page = next(target["targetId"] for target in targets if target["type"] == "page")
    browser.session = browser.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
    for domain in ("Page", "Runtime", "Network", "Log"):
        browser.call(f"{domain}.enable")
    browser.size(1280, 900)
    return browser
