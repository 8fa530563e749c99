"""Reads configurations and backend files. All problems are collected and raised together."""

from __future__ import annotations

from collections.abc import Mapping

from balance.config import tree
from balance.config.walker import Walker
from balance.lb.config.model import BackendConfig, Config
from balance.lb.config.pools import BACKEND
from balance.lb.config.schema import CONFIG
from balance.lb.errors import ConfigError

PREFIX = "BALANCE_"
"""Prefix of environment variables that override the file."""
FOREIGN = ("BALANCE_SERVICE_", "BALANCE_PORT", "BALANCE_GEN_")
"""Prefixes to ignore: set by Kubernetes or container links for a service named "balance", or read by `balance-gen`."""


def load(path: str, environment: Mapping[str, str]) -> Config:
    """The configuration in the file at `path`, see `parse`. Raises `ConfigError` with every problem."""
    return parse(read(path), path, environment)


def load_backends(path: str) -> tuple[BackendConfig, ...]:
    """The backends in a file named by `discover.file`. Raises `ConfigError` with every problem."""
    return parse_backends(read(path, "make it readable"), path)


def read(path: str, cure: str = "name a readable file") -> str:
    """The text of the file. Raises `ConfigError` with this cure if it cannot be read."""
    return tree.read_text(path, cure, ConfigError)


def parse(text: str, source: str, environment: Mapping[str, str]) -> Config:
    """The configuration in `text`; environment variables such as ``BALANCE_TIMEOUTS_FIRST_BYTE`` override scalars outside lists.

    `source`: the file's path, for messages; relative paths start at its folder. Raises `ConfigError` with every problem.
    """
    root = tree.compose(text, source, ConfigError)
    if root is None:
        raise ConfigError("is empty", where=source, cure="add at least listen and backends")
    walker = Walker(source)
    root, walker.found = tree.with_environment(root, CONFIG, environment, PREFIX, FOREIGN)
    config: Config = walker.section(CONFIG, root, "")
    walker.raise_if_any(ConfigError)
    return config


def parse_backends(text: str, source: str) -> tuple[BackendConfig, ...]:
    """The backends in the text of such a file; `source`: its path, for messages. Raises `ConfigError` with every problem."""
    walker = Walker(source)
    found: tuple[BackendConfig, ...] = walker.entries(BACKEND, tree.compose(text, source, ConfigError), "backends")
    walker.raise_if_any(ConfigError)
    return found
