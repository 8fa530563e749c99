"""A headless Chromium, driven over its DevTools protocol (chromedevtools.github.io/devtools-protocol)."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect


class Browser:
    """One page."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._numbers, self._session = socket, itertools.count(1), {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}

    def call(self, method: str, **parameters: Any) -> Any:
        """One command, and its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters, **self._session}))
        while True:
            answer = json.loads(self._socket.recv(timeout=30))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(self, url: str) -> None:
        """Go there."""
        assert "errorText" not in self.call("Page.navigate", url=url)

    def picture(self, file: Path) -> None:
        """What is in the window."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextlib.contextmanager
def browsing(program: str, folder: Path, width: int = 1440, height: int = 1000) -> Iterator[Browser]:
    """A browser of its own, ended afterwards."""
    options = [
        "--no-sandbox",
        "--headless",
        "--disable-gpu",
        "--remote-debugging-port=0",
        f"--window-size={width},{height}",
        f"--user-data-dir={folder}",
    ]
    with subprocess.Popen([program, *options], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stderr
            said: list[str] = []
            found = None
            while not found and (line := process.stderr.readline()):
                said.append(line)
                found = re.search(r"listening on (ws://\S+)", line)
            assert found, f"{program} did not start (exit code {process.wait(30)}):\n{''.join(said)}"
            with connect(found[1], max_size=None) as socket:
                yield Browser(socket)
        finally:
            process.kill()
