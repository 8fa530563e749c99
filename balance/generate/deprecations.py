"""Refuse to drop a deprecated metric before its announced removal version. What was announced is read from the generated catalog."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from balance.catalog.model import version
from balance.catalog.registry import Catalog
from balance.errors import BalanceError, CatalogError, Problem


def check_removed_metrics(directory: Path, catalog: Catalog) -> None:
    """Refuse a catalog without a name that the one in the directory promises to show for longer. Raises `CatalogError` with every such name."""
    try:
        written = json.loads((directory / "catalog.json").read_text("utf-8"))
        promised = {name: str(until) for name, until in _promises(written)}
    except (OSError, ValueError, KeyError, TypeError):  # nothing was promised, or nobody can tell what
        return
    problems = []
    for name, until in promised.items():
        try:
            catalog.metric(name)
        except BalanceError:
            if version(catalog.version) <= version(until):
                what = f"is promised until version {until} of the catalog, which is at {catalog.version}"
                problems.append(Problem(name, what, "keep it (renamed_from=, remove_after=), or raise the catalog's version= if the time has come"))
    if problems:
        raise CatalogError(problems=problems)


def _promises(written: dict[str, list[dict[str, str]]]) -> Iterator[tuple[str, str]]:
    for metric in written["metrics"]:
        if "remove_after" in metric:
            yield metric.get("renamed_from") or metric["name"], metric["remove_after"]
