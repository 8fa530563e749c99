"""Chromium without a window, told what to do through two pipes (its DevTools protocol)."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

PATIENCE = 60.0
"""Seconds for one answer."""


class Browser(contextlib.ExitStack):
    """A browser with one page. Closed, its process is gone."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program, self._session, self._number, self._rest = program, "", 0, b""
        self._events: list[str] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self) -> None:
        directory = self.enter_context(tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True))
        self._log = Path(directory) / "stderr"
        (read, self._commands), (self._answers, write) = os.pipe(), os.pipe()

        def connect() -> None:  # Chromium reads commands from 3 and answers at 4
            first, second = os.dup(read), os.dup(write)
            os.dup2(first, 3)
            os.dup2(second, 4)

        with self._log.open("w") as log:
            process = subprocess.Popen(
                [self._program, "--no-sandbox", "--headless", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe", f"--user-data-dir={directory}"],
                stdout=subprocess.DEVNULL, stderr=log, close_fds=False, preexec_fn=connect,
            )  # fmt: skip
        self.callback(process.wait)
        self.callback(process.kill)
        for end in (read, write):
            os.close(end)
        for end in (self._commands, self._answers):
            self.callback(os.close, end)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What a command answers."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **({"sessionId": self._session} if self._session else {})}
        data = json.dumps(message).encode() + b"\0"
        with contextlib.suppress(BrokenPipeError):  # it has ended: what it said is told below
            while data:
                data = data[os.write(self._commands, data) :]
        until = time.monotonic() + PATIENCE
        while True:
            answer = self._next(until, method)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self._events.append(answer.get("method", ""))

    def _next(self, until: float, waiting: str) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._answers], [], [], max(0.0, until - time.monotonic()))[0], f"no answer to {waiting} for {PATIENCE} s"
            more = os.read(self._answers, 2**20)
            assert more, f"the browser ended while it was asked for {waiting}:\n{self._log.read_text()}"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def open(self, url: str, width: int = 1280, height: int = 1000, scheme: str = "light") -> None:
        """Show a page, and wait until it is there."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._events.clear()
        self.call("Page.navigate", url=url)
        until = time.monotonic() + PATIENCE
        while "Page.loadEventFired" not in self._events:
            self._events.append(self._next(until, url).get("method", ""))

    def run(self, script: str) -> Any:
        """The value of an expression in the page; of a promise what it brings."""
        told = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """A key, down and up."""
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)
