"""For the tests of a service that declares a catalog: does its `/metrics` show what the catalog says?

# conftest.py
pytest_plugins = ["balance.testing"]

# test_metrics.py
def test_the_scrape_is_what_the_catalog_says(conforms):
    conforms(client.get("/metrics").content, CATALOG, coverage=90)
"""

from __future__ import annotations

from typing import Protocol

import pytest

from balance.catalog.registry import Catalog
from balance.live import scrape
from balance.live.verify import Conformance, verify


class Conforms(Protocol):
    """What the fixture `conforms` gives."""

    def __call__(self, metrics: bytes | str, catalog: Catalog, *, coverage: float | None = None) -> Conformance:
        """Fail if the scrape differs from the catalog; see `assert_conforms`."""


def assert_conforms(metrics: bytes | str, catalog: Catalog, *, coverage: float | None = None) -> Conformance:
    """Hold a scrape against the catalog. `metrics` is the text of it, or an address (``http://...``) to fetch it from.

    Without `coverage` every family must be shown; with it, in percent, so many of them. Raises `AssertionError` with every difference.
    """
    fetched = isinstance(metrics, str) and metrics.startswith(("http://", "https://")) and "\n" not in metrics
    found = verify(scrape.read(str(metrics)) if fetched else scrape.parse(metrics), catalog)
    missing = "family-missing"
    faults = [finding for finding in found.findings if coverage is None or finding.check != missing]
    if coverage is not None and found.coverage < coverage:
        faults += [finding for finding in found.findings if finding.check == missing]
    if faults:
        lines = "\n".join(map(str, faults))
        raise AssertionError(f"the scrape differs from the catalog {catalog.name} ({found.coverage:.0f} % of it shown):\n{lines}")
    return found


@pytest.fixture
def conforms() -> Conforms:
    """A function that fails the test if a scrape differs from a catalog."""
    return assert_conforms
