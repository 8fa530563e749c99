"""Helpers for tests of the configuration: the smallest one, reading, and the problems of bad ones."""

from __future__ import annotations

import pytest

from balance.lb.config import Config, parse
from balance.lb.errors import ConfigError

SMALL = """\
listen: 127.0.0.1:8080
backends:
  - {name: a, address: 127.0.0.1:9001}
"""


def read(text: str, **environment: str) -> Config:
    return parse(text, "balance.yaml", environment)


def problems(text: str, **environment: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, **environment)
    return [str(problem) for problem in caught.value.problems]
