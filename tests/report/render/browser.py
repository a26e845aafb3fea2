"""A real browser, driven by its own DevTools protocol over two pipes: no driver and no further package is needed."""

from __future__ import annotations

import base64
import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NO_CHROMIUM = "no chromium is installed"

_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars --remote-debugging-pipe"
)


class Browser:
    """One tab of a browser; close it with `close`.

    Attributes:
        problems: what the page wrote to the console as an error, threw or was refused, since it was opened.
    """

    def __init__(self, profile: Path) -> None:
        """Start it, with a profile folder of its own."""
        assert CHROMIUM is not None
        read_command, self._write = os.pipe()
        self._read, write_answer = os.pipe()
        command = f"exec {shlex.quote(CHROMIUM)} {_FLAGS} --user-data-dir={shlex.quote(str(profile))} about:blank"
        # A group of its own: whatever the browser starts ends with it. It reads from 3 and writes to 4.
        self._process = subprocess.Popen(
            ["bash", "-c", f"{command} 3<&{read_command} 4>&{write_answer}"],
            pass_fds=(read_command, write_answer),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read_command)
        os.close(write_answer)
        self._number = 0
        self._unread = b""
        self._session: str | None = None
        self._events: list[Mapping[str, Any]] = []
        self.problems: list[str] = []
        target = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """End it and whatever it started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._read)
        os.close(self._write)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the browser's answer to one command of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])

    def open(
        self, page: Path, width: int = 1280, height: int = 800, *, dark: bool = False, script: bool = True
    ) -> None:
        """Show a file in a window of this size and wait until it has loaded."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.call("Emulation.setEmulatedMedia", media="", features=[scheme, still])
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        self.problems.clear()
        self._events.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._next()

    def run(self, script: str) -> Any:
        """Return the value of an expression of JavaScript in the page; of a promise, what it comes to."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"].get("exception", answer["exceptionDetails"])))
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 30.0) -> Any:
        """Return the value of an expression as soon as it holds."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            if time.monotonic() > end:
                raise TimeoutError(f"never true: {script}")
            time.sleep(0.05)
        return value

    def move(self, x: float, y: float) -> None:
        """Move the mouse to a place of the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, x: float, y: float) -> None:
        """Click at a place of the window."""
        self.move(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press at one place of the window and release at another."""
        self.move(*start)
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], button="left", clickCount=1)
        for part in (0.25, 0.5, 0.75, 1.0):
            x, y = (one + part * (other - one) for one, other in zip(start, end, strict=True))
            self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press a key, such as `Tab`, `Enter` or `ArrowRight`."""
        codes = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        text = {"text": "\r"} if key == "Enter" else {"text": " "} if key == " " else {}
        names = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": codes[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", **names, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **names)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write what the window shows, or the whole page, as PNG."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def pdf(self) -> bytes:
        """Return the page printed on A4."""
        answer = self.call("Page.printToPDF", preferCSSPageSize=True, paperWidth=8.27, paperHeight=11.69)
        return base64.b64decode(answer["data"])

    def _next(self, seconds: float = 60.0) -> dict[str, Any]:
        """Return the next message; one that nobody asked for is an event, which is kept."""
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._read], [], [], seconds)
            if not ready:
                raise TimeoutError("the browser says nothing")
            data = os.read(self._read, 2**20)
            if not data:
                raise RuntimeError("the browser has ended")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self._events.append(message)
            parameters = message["params"]
            if message["method"] == "Runtime.exceptionThrown":
                self.problems.append(str(parameters["exceptionDetails"]))
            elif message["method"] == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "assert"):
                self.problems.append(str(parameters["args"]))
            elif message["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
                self.problems.append(str(parameters["entry"]))
        return message
