"""If a program that a test needs does not start, the failure shows its stderr."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.demo.browser import browsing
from tests.e2e.conftest import running
from tests.preview.chromium import Browser


@pytest.mark.process
@pytest.mark.parametrize(
    "start",
    [
        pytest.param(lambda program, folder: browsing(program, folder / "user"), id="browser-with-port"),
        pytest.param(lambda program, _: Browser(program), id="browser-with-pipe"),
    ],
)
def test_browser_that_does_not_start_shows_stderr(start: Callable[[str, Path], contextlib.AbstractContextManager[object]], tmp_path: Path) -> None:
    program = tmp_path / "browser"
    program.write_text("#!/bin/sh\necho no ICU data >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(AssertionError, match="no ICU data"), start(str(program), tmp_path):
        pass


@pytest.mark.process
def test_failure_beside_running_program_shows_its_output(tmp_path: Path) -> None:
    def fail() -> None:
        with running(["sh", "-c", "echo bad configuration >&2"], tmp_path / "log") as process:
            process.wait(30)
            raise TimeoutError

    with pytest.raises(TimeoutError) as failure:
        fail()
    assert failure.value.__notes__ == ["sh said:\nbad configuration\n"]
