"""One generated file."""

from __future__ import annotations

from balance.record import Record


class Artifact(Record):
    """A path relative to the output directory, with `/`, and the text of the file."""

    path: str
    text: str
