"""A pytest fixture for services that declare a catalog: compare `/metrics` with the catalog.

# conftest.py
pytest_plugins = ["balance.testing"]

# test_metrics.py
def test_metrics_conform_to_the_catalog(conforms):
    conforms(client.get("/metrics").content, CATALOG, coverage=90)
"""

from __future__ import annotations

from typing import Protocol

import pytest

from balance.catalog.registry import Catalog
from balance.live import scrape
from balance.live.verify import Conformance, verify


class Conforms(Protocol):
    """The type of the fixture `conforms`."""

    def __call__(self, metrics: bytes | str, catalog: Catalog, *, coverage: float | None = None) -> Conformance:
        """Fail if the scrape differs from the catalog; see `assert_conforms`."""


def assert_conforms(metrics: bytes | str, catalog: Catalog, *, coverage: float | None = None) -> Conformance:
    """Compare a scrape with the catalog. `metrics` is its text, or a URL (``http://...``) to fetch it from.

    Without `coverage` every family must be exposed; with it, that percentage of them. Returns the result; raises `AssertionError` with every
    difference.
    """
    fetched = isinstance(metrics, str) and metrics.startswith(("http://", "https://")) and "\n" not in metrics
    found = verify(scrape.read(str(metrics)) if fetched else scrape.parse(metrics), catalog)
    missing = "family-missing"
    problems = [finding for finding in found.findings if coverage is None or finding.check != missing]
    if coverage is not None and found.coverage < coverage:
        problems += [finding for finding in found.findings if finding.check == missing]
    if problems:
        lines = "\n".join(map(str, problems))
        raise AssertionError(f"the scrape does not match the catalog {catalog.name} ({found.coverage:.0f} % of it exposed):\n{lines}")
    return found


@pytest.fixture
def conforms() -> Conforms:
    """A function that fails the test if a scrape differs from a catalog."""
    return assert_conforms
