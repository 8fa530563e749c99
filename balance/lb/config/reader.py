"""Reads configurations, and the lists of backends that they may name. All problems are collected and raised together."""

from __future__ import annotations

from collections.abc import Mapping

from balance.config import tree
from balance.config.walker import Walker
from balance.lb.config.model import BackendConfig, Config
from balance.lb.config.pools import BACKEND
from balance.lb.config.schema import CONFIG
from balance.lb.errors import ConfigError

PREFIX = "BALANCE_"
FOREIGN = ("BALANCE_SERVICE_", "BALANCE_PORT", "BALANCE_GEN_")
"""What Kubernetes and container links set for a service that is called "balance", and what `balance-gen` reads."""


def load(path: str, environment: Mapping[str, str]) -> Config:
    """The configuration in the file at `path`. Raises `ConfigError` with every problem."""
    return parse(read(path), path, environment)


def load_backends(path: str) -> tuple[BackendConfig, ...]:
    """The backends that a file of `discover` lists, as `backends` does. Raises `ConfigError` with every problem."""
    return parse_backends(read(path, "make it readable"), path)


def read(path: str, cure: str = "name a readable file with -c") -> str:
    """The text of the file. Raises `ConfigError`."""
    return tree.read_text(path, cure, ConfigError)


def parse(text: str, source: str, environment: Mapping[str, str]) -> Config:
    """The configuration that `text` states, where variables such as ``BALANCE_TIMEOUTS_FIRST_BYTE`` override scalars outside lists.

    `source` is its name in messages, and the folder that relative paths start at. Raises `ConfigError` with every problem.
    """
    root = tree.compose(text, source, ConfigError)
    if root is None:
        raise ConfigError("is empty", where=source, cure="at least listen and backends are needed")
    walker = Walker(source)
    root, walker.found = tree.with_environment(root, CONFIG, environment, PREFIX, FOREIGN)
    config: Config = walker.section(CONFIG, root, "")
    walker.raise_if_any(ConfigError)
    return config


def parse_backends(text: str, source: str) -> tuple[BackendConfig, ...]:
    """The same for the text of such a file; `source` is its name in messages."""
    walker = Walker(source)
    found: tuple[BackendConfig, ...] = walker.entries(BACKEND, tree.compose(text, source, ConfigError), "backends")
    walker.raise_if_any(ConfigError)
    return found
