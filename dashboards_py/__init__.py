"""The dashboards of the load balancer, one in each file; `style.py` has what they share."""

from __future__ import annotations

import rules_src
from balance.api import Bundle, Metric, Settings, merge, standard
from balance.lb.catalog import metrics
from balance.lb.catalog.metrics import CATALOG
from dashboards_py.backend import BACKEND
from dashboards_py.main import main_dashboard
from dashboards_py.samples import SAMPLES
from dashboards_py.slo import slo_dashboard
from dashboards_py.workers import WORKERS
from rules_src.objectives import slos

UNPLOTTED: dict[Metric, str] = {
    metrics.CONFIG_INFO: "says which configuration is in force; a value that is always 1",
}
"""Metrics that no panel shows, with the reason."""


def source(settings: Settings) -> Bundle:
    """The bundle of the load balancer: its dashboards, and the alerts and rules of `rules_src`. The entry point `balance`."""
    own = standard.RUNTIMES["python"]
    spare = () if own == standard.runtime(settings.runtime) else (own.tasks, own.allocated, own.system)
    other: dict[Metric, str] = dict.fromkeys(spare, "belongs to another runtime than the chosen one")
    boards = Bundle(
        CATALOG,
        dashboards=(main_dashboard(settings), BACKEND, slo_dashboard(settings), WORKERS),
        slos=slos(settings),
        samples=SAMPLES,
        runtimes=tuple(standard.RUNTIMES),
        folder="Load Balancers",
        unplotted={**UNPLOTTED, **other},
    )
    return merge((boards, rules_src.source(settings)))
