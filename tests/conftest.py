"""Fixtures that all tests share: the bundle of the installed sources, and real programs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from balance.gen import collect
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top of the work tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """What the installed sources declare."""
    return collect.collect(Settings())[0]


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """The path of a program that the tests need; a missing one is a failure, never a skip."""
    path = os.pathsep.join((str(REPOSITORY / ".tools" / "bin"), os.environ["PATH"], "/usr/sbin"))

    def find(name: str) -> str:
        found = shutil.which(name, path=path)
        if found is None:
            pytest.fail(f"{name} is not installed: run `make test`, which fetches it, or put it on the PATH")
        return found

    return find
