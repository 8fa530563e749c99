"""Edits of header fields, prepared once per route and applied to the header lines of each message.

They are applied after hop-by-hop fields have been removed, so that no client can undo an edit by listing its field in `Connection`.
"""

from __future__ import annotations

from collections.abc import Callable

from balance.lb.config.model import Edits

Editor = Callable[[list[bytes]], list[bytes]]


def editor(edits: Edits) -> Editor | None:
    """A function from header lines (``Name: value``) to the lines to send; None if there is nothing to edit.

    Fields to remove and to set are dropped, whatever their case; fields to set and to add are appended, in their order.
    """
    gone = frozenset(name.lower().encode() for name in (*edits.remove, *(name for name, _value in edits.set)))
    new = [f"{name}: {value}".encode() for name, value in (*edits.set, *edits.add)]
    if not gone and not new:
        return None

    def edit(lines: list[bytes]) -> list[bytes]:
        kept = [line for line in lines if line.partition(b":")[0].lower() not in gone] if gone else lines
        return kept + new

    return edit
