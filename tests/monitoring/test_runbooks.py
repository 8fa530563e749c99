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


def test_front_matter_and_sections_are_read() -> None:
    runbook = parse("BalanceDown", "x.md", TEXT)
    assert (runbook.owner, runbook.reviewed) == ("team edge", "2026-11-22")
    assert list(runbook.sections) == ["Meaning", "Impact"]


def test_queries_get_the_selector_and_names_of_other_alerts_become_links_outside_of_code() -> None:
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
def test_what_does_not_exist_is_refused_with_its_file(prose: str, message: str) -> None:
    with pytest.raises(MonitoringError) as refused:
        parse("BalanceDown", "x.md", f"## Meaning\n{prose}\n").checked(CATALOG, ALERTS)
    assert message in str(refused.value)


def test_front_matter_says_owner_and_review_only() -> None:
    with pytest.raises(MonitoringError, match="says 'reviewd: today' before its text"):
        parse("BalanceDown", "x.md", TEXT.replace("reviewed: 2026-11-22", "reviewd: today"))


def test_a_package_without_prose_is_refused() -> None:
    with pytest.raises(SourceError, match="package balance: has no folder 'runbooks'"):
        read(["balance"])
