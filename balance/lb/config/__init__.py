"""The load balancer's configuration: its values (`model`), its keys on top of `balance.config` (`schema`, `pools`, `routes`), and how files are
read (`reader`) and written (`writer`)."""

from balance.lb.config.model import Config
from balance.lb.config.reader import load, load_backends, parse, parse_backends, read
from balance.lb.config.schema import CONFIG, json_schema
from balance.lb.config.writer import written

__all__ = ["CONFIG", "Config", "json_schema", "load", "load_backends", "parse", "parse_backends", "read", "written"]
