"""The configuration: its values (`model`), its keys as data (`schema`), and the walker that reads a file by them (`reader`)."""

from balance.lb.config.model import Address, Config
from balance.lb.config.reader import load, parse
from balance.lb.config.schema import CONFIG, json_schema

__all__ = ["CONFIG", "Address", "Config", "json_schema", "load", "parse"]
