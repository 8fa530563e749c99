"""`balance-gen schema`: the JSON Schema of the settings file."""

from __future__ import annotations

import json
from argparse import Namespace

from balance.commandline import EXIT_OK, Command
from balance.generate.settings import settings_schema
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings


def run(_options: Namespace, _bundle: Bundle, _settings: Settings) -> int:
    """Print the schema, which is the same for all sources."""
    print(json.dumps(settings_schema(), indent=2))
    return EXIT_OK


COMMAND = Command(
    "schema",
    "print the JSON Schema of the settings file, for editors",
    run,
    None,
    "balance-gen schema > settings.schema.json",
    foreign=("command",),  # which is always given: the schema needs no source
)
