"""Edits of header fields: made once per route, applied to the lines of a message that are passed on.

They come after whatever belongs to the connection has been taken out, so that no client can make an edit undone by nominating its field in
`Connection`.
"""

from __future__ import annotations

from collections.abc import Callable

from balance.lb.config.model import Edits

Editor = Callable[[list[bytes]], list[bytes]]


def editor(edits: Edits) -> Editor | None:
    """What makes of header lines (``Name: value``) those that are sent; none if there is nothing to do.

    Fields to remove and to set go, in whatever case; those to set and to add come last, in their order.
    """
    gone = frozenset(name.lower().encode() for name in (*edits.remove, *(name for name, _value in edits.set)))
    new = [f"{name}: {value}".encode() for name, value in (*edits.set, *edits.add)]
    if not gone and not new:
        return None

    def edit(lines: list[bytes]) -> list[bytes]:
        kept = [line for line in lines if line.partition(b":")[0].lower() not in gone] if gone else lines
        return kept + new

    return edit
