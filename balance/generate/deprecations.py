"""Refuse to remove a deprecated metric before its announced version, which is read from the generated catalog."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from balance.catalog.model import version
from balance.catalog.registry import Catalog
from balance.errors import BalanceError, CatalogError, Problem


def check_removed_metrics(directory: Path, catalog: Catalog) -> None:
    """Compare the catalog with the generated one in the directory.

    Raises `CatalogError` with every deprecated metric that was removed before the version announced for it.
    """
    try:
        written = json.loads((directory / "catalog.json").read_text("utf-8"))
        announced = {name: str(until) for name, until in _announced(written)}
    except (OSError, ValueError, KeyError, TypeError):  # no catalog, or not one of ours
        return
    problems = []
    for name, until in announced.items():
        try:
            catalog.metric(name)
        except BalanceError:
            if version(catalog.version) <= version(until):
                what = f"must stay until catalog version {until}, which is at {catalog.version} now"
                problems.append(Problem(name, what, "keep it (renamed_from=, remove_after=), or raise version= of the catalog"))
    if problems:
        raise CatalogError(problems=problems)


def _announced(written: dict[str, list[dict[str, str]]]) -> Iterator[tuple[str, str]]:
    for metric in written["metrics"]:
        if "remove_after" in metric:
            yield metric.get("renamed_from") or metric["name"], metric["remove_after"]
