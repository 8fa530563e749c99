"""Reads configurations, and the lists of backends that they may name. All problems are collected and raised together."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from balance.lb.config.model import BackendConfig, Config
from balance.lb.config.pools import BACKEND
from balance.lb.config.schema import CONFIG
from balance.lb.config.walker import Walker
from balance.lb.errors import ConfigError


def load(path: str, environment: Mapping[str, str]) -> Config:
    """The configuration in the file at `path`; raises `ConfigError` with every problem."""
    return parse(read(path), path, environment)


def load_backends(path: str) -> tuple[BackendConfig, ...]:
    """The backends that a file of `discover` lists, as `backends` does; raises `ConfigError` with every problem."""
    return parse_backends(read(path, "make it readable"), path)


def read(path: str, cure: str = "name a readable file with -c") -> str:
    """The text of the file; raises `ConfigError`."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise ConfigError(f"cannot be read: {(error.strerror or str(error)).lower()}", where=path, cure=cure) from None
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8 text", where=path, cure="save it as UTF-8") from None


def parse(text: str, source: str, environment: Mapping[str, str]) -> Config:
    """The configuration that `text` states; `source` is its name in messages; raises `ConfigError` with every problem."""
    node = _compose(text, source)
    if node is None:
        raise ConfigError("is empty", where=source, cure="at least listen and backends are needed")
    walker = Walker(source, environment)
    config: Config = walker.section(CONFIG, node, "")
    walker.check_environment()
    walker.end()
    return config


def parse_backends(text: str, source: str) -> tuple[BackendConfig, ...]:
    """The same for the text of such a file; `source` is its name in messages."""
    walker = Walker(source, {})
    found: tuple[BackendConfig, ...] = walker.entries(BACKEND, _compose(text, source), "backends")
    walker.end()
    return found


def _compose(text: str, source: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"is no YAML: {error.problem}", where=f"{source}:{line}", cure="mend the syntax") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"is no YAML: {' '.join(str(error).split())}", where=source, cure="mend the syntax") from None
    except RecursionError:
        raise ConfigError("is nested too deeply", where=source, cure="no configuration has that many levels") from None
