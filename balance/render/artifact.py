"""A generated file, and how YAML files are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
HEADER = "# Made by balance-gen from the metric catalog; edits are lost. To change it: the sources, then `balance-gen write`.\n"
"""The first line of every generated YAML file."""


@dataclass(frozen=True)
class Artifact:
    """A path relative to the output directory, with `/`, and the text of the file."""

    path: str
    text: str


def yaml_text(document: Json) -> str:
    """The document as YAML: keys in the given order, no folded lines, without `HEADER`."""
    import yaml  # not loaded for dashboards alone

    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=10_000)
    return text
