from __future__ import annotations

import pytest

from balance.errors import MonitoringError, SourceError
from balance.lb.catalog.metrics import CATALOG
from balance.monitoring.runbooks import parse, read

TEXT = """---
owner: team edge
reviewed: 2026-11-22
---
## Meaning

It is down; see `BalanceHighLatency`, not `BalanceDown`.

```sh
echo '`BalanceHighLatency`'
## Impact is no heading here
```

## Impact

```promql
up
```
"""
ALERTS = ("BalanceDown", "BalanceHighLatency")


def test_parse_front_matter_and_sections() -> None:
    runbook = parse("BalanceDown", "x.md", TEXT)
    assert (runbook.owner, runbook.reviewed) == ("team edge", "2026-11-22")
    assert list(runbook.sections) == ["Meaning", "Impact"]


def test_queries_get_selectors_and_alerts_get_links() -> None:
    sections = parse("BalanceDown", "x.md", TEXT).checked(CATALOG, ALERTS, selector='job="edge"')
    assert sections["Impact"] == '```promql\nup{job="edge"}\n```'
    assert "see [`BalanceHighLatency`](BalanceHighLatency.md), not `BalanceDown`" in sections["Meaning"]
    assert "echo '`BalanceHighLatency`'" in sections["Meaning"]


@pytest.mark.parametrize(
    ("prose", "message"),
    [
        ("```promql\nnope\n```", "x.md: query: no metric 'nope'"),
        ("look at `BalanceHihgLatency`", "x.md: no alert 'BalanceHihgLatency' (did you mean 'BalanceHighLatency'?"),
        ("look at `balance_backend_health`", "no metric 'balance_backend_health'"),
    ],
)
def test_unknown_names_are_reported_with_the_file(prose: str, message: str) -> None:
    with pytest.raises(MonitoringError) as caught:
        parse("BalanceDown", "x.md", f"## Meaning\n{prose}\n").checked(CATALOG, ALERTS)
    assert message in str(caught.value)


def test_unknown_front_matter_is_rejected() -> None:
    with pytest.raises(MonitoringError, match="invalid front matter 'reviewd: today'"):
        parse("BalanceDown", "x.md", TEXT.replace("reviewed: 2026-11-22", "reviewd: today"))


def test_package_without_runbooks_is_rejected() -> None:
    with pytest.raises(SourceError, match="package balance: has no folder 'runbooks'"):
        read(["balance"])
