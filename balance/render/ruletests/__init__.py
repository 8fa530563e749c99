"""Tests of every alert for promtool, generated from its condition.

Theory. The condition is solved for series that just make it true (`bad`), that just do not (`edges`), and that are far from it (`healthy`).
A `Case` puts them one after the other, and a `Timeline` computes what Prometheus does with it: at every evaluation the condition is
evaluated over the samples so far, and the alert becomes pending, fires and ends. One pass computes this for Prometheus 2 and 3. The tests
assert the evaluations before and after every change at which both versions agree, so no time is guessed and the files hold for both.
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
    """Every alert of the bundle as its rule will be under the settings."""
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
    """The rule files of a group, relative to the tests, recording rules first."""
    return [f"../rules/{name}" for name in ([f"{group}.yaml"] if group else [rules.RECORDING, rules.ALERTS])]


def _group(path: str) -> str:
    name = path.rpartition("/")[2]
    return "" if name in (rules.RECORDING, rules.ALERTS) else name.removesuffix(".yaml")


def texts(tested: AlertUnderTest) -> list[str]:
    """The texts of an alert's test files, one per interval. Raises `RenderError` if the alert does not fire in a case where it should, or does
    where it should not.
    """
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
    """The test files of all alerts: one per alert and interval. They refer to rule files where `write` puts them.

    `make` returns the texts of an alert: `texts`, or a cached version of it.
    """
    for tested in alerts(bundle, settings):
        for number, text in enumerate(make(tested), 1):
            suffix = f"-{number}" if number > 1 else ""
            yield Artifact(f"{FOLDER}/{tested.alert.name}{suffix}.yaml", text)
