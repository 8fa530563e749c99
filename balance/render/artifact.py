"""One generated file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Artifact:
    """A path relative to the output directory, with `/`, and the text of the file."""

    path: str
    text: str
