"""Tests of every alert for promtool, made from its own condition.

Theory. From the condition follow series that just make it true, that just do not, and that have nothing to do with it (`bad`, `edges`,
`healthy`). They are put one after the other into a `Case`, and what Prometheus does with it is computed, a `Timeline`: at every evaluation the
condition is evaluated over the samples so far, and the alert goes from pending to firing and away again. One pass answers for Prometheus 2
and for Prometheus 3; what is asserted, before and after every change, is where the two agree. So no minute is guessed, and the files hold
for both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.promql.ast import Recorded
from balance.promql.text import duration
from balance.render import model, rules
from balance.render.artifact import HEADER, Artifact
from balance.render.ruletests.cases import Case, cases
from balance.render.ruletests.promtool import written
from balance.render.ruletests.timeline import AlertUnderTest

__all__ = ["FOLDER", "AlertUnderTest", "alerts", "artifacts", "cases", "texts"]
FOLDER = "prometheus/tests"


def alerts(bundle: Bundle, settings: Settings) -> Iterator[AlertUnderTest]:
    """Every alert of the bundle as its rule will be."""
    scope, default = settings.scope, bundle.catalog.name
    annotations = model.annotation_texts(bundle, settings)
    recorded = {rule.record: _rule_files(rule.group) for rule in bundle.recording_rules}
    for alert in bundle.alerts:
        used = [file for node in alert.condition.whole.walk() if isinstance(node, Recorded) for file in recorded.get(node.record, ())]
        loaded = tuple(dict.fromkeys([*used, *_rule_files(alert.group)]))
        groups = dict.fromkeys(group or default for group in (*map(_group, loaded), alert.group))
        order = tuple(dict.fromkeys(name for group in groups for name in (f"{group}.rules", group)))
        yield AlertUnderTest(alert, scope, tuple(annotations[alert.name].items()), loaded, order)


def _rule_files(group: str) -> list[str]:
    """Where a group's rules are, recording rules first."""
    return [f"../rules/{name}" for name in ([f"{group}.yaml"] if group else [rules.RECORDING, rules.ALERTS])]


def _group(path: str) -> str:
    name = path.rpartition("/")[2]
    return "" if name in (rules.RECORDING, rules.ALERTS) else name.removesuffix(".yaml")


def texts(tested: AlertUnderTest) -> list[str]:
    """The test files of one alert, one for each interval. Raises `RenderError` if a case that is to fire does not, or one that is not to does."""
    made: dict[int, list[Case]] = {}
    for case in cases(tested):
        made.setdefault(case.step, []).append(case)
    return ["\n".join(_lines(tested, step, several)) + "\n" for step, several in made.items()]


def _lines(tested: AlertUnderTest, step: int, several: list[Case]) -> Iterator[str]:
    yield from (HEADER.rstrip("\n"), f"rule_files: {json.dumps(tested.rule_files)}", f"evaluation_interval: {duration(step)}")
    yield from (f"group_eval_order: {json.dumps(tested.group_order)}", "tests:")
    for case in several:
        yield from written(tested, case)


def artifacts(bundle: Bundle, settings: Settings, make: Callable[[AlertUnderTest], list[str]] = texts) -> Iterator[Artifact]:
    """A test file for each alert, or several for one whose cases need several intervals. They name the rule files as `write` places them.
    `make` makes the texts of an alert: `texts`, or the same with a memory.
    """
    for tested in alerts(bundle, settings):
        for number, text in enumerate(make(tested), 1):
            suffix = f"-{number}" if number > 1 else ""
            yield Artifact(f"{FOLDER}/{tested.alert.name}{suffix}.yaml", text)
