"""Tests of every alert for promtool, made from its own condition.

Theory. From the condition follow series that just make it true, that just do not, and that have nothing to do with it (`bad`, `edges`,
`calm`). They are put one after the other into a `Case`, and what Prometheus does with it is computed, a `Timeline`: at every evaluation the
condition is evaluated over the samples so far, and the alert goes from pending to firing and away again. One pass answers for Prometheus 2
and for Prometheus 3; what is asserted, before and after every change, is where the two agree. So no minute is guessed, and the files hold
for both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.promql.ast import Recorded
from balance.promql.text import duration
from balance.render import rules
from balance.render.artifact import Artifact
from balance.render.ruletests.cases import Case, cases
from balance.render.ruletests.promtool import written
from balance.render.ruletests.timeline import Tested

FOLDER = "prometheus/tests"


def artifacts(bundle: Bundle, settings: Settings) -> Iterator[Artifact]:
    """A test file for each alert, or several for one whose cases need several intervals. They name the rule files as `write` places them."""
    files_of = {rule.record: _rule_files(rule.group) for rule in bundle.recording_rules}
    for tested in alerts(bundle, settings):
        yield from files(tested, bundle.catalog.name, files_of)


def _rule_files(group: str) -> list[str]:
    """Where a group's rules are, recording rules first."""
    return [f"../rules/{name}" for name in ([f"{group}.yaml"] if group else [rules.RECORDING, rules.ALERTS])]


def alerts(bundle: Bundle, settings: Settings) -> Iterator[Tested]:
    """Every alert of the bundle as its rule will be."""
    scope = settings.scope
    panels, places = rules.plotted(bundle), rules.places(bundle, settings)
    for alert in bundle.alerts:
        words = rules.templates(alert, panels.get(alert.condition.expr), settings)
        yield Tested(
            alert,
            scope,
            tuple((name, rules.filled(template, places)) for name, template in sorted(words.items())),
        )


def files(tested: Tested, default: str, files_of: Mapping[str, list[str]]) -> Iterator[Artifact]:
    """The test files of one alert, one for each interval. Raises `RenderError` if a case that is to fire does not, or one that is not to does."""
    used = [name for node in tested.condition.whole.walk() if isinstance(node, Recorded) for name in files_of.get(node.record, ())]
    loaded = list(dict.fromkeys([*used, *_rule_files(tested.alert.group)]))
    groups = list(dict.fromkeys(group for group in (*map(_group, loaded), tested.alert.group or default)))
    order = [name for group in groups for name in (f"{group or default}.rules", group or default)]
    made: dict[int, list[Case]] = {}
    for case in cases(tested):
        made.setdefault(case.step, []).append(case)
    for number, (step, several) in enumerate(made.items(), 1):
        head = [rules.HEADER.rstrip("\n"), f"rule_files: {json.dumps(loaded)}", f"evaluation_interval: {duration(step)}"]
        head += [f"group_eval_order: {json.dumps(list(dict.fromkeys(order)))}", "tests:"]
        lines = [*head, *(line for case in several for line in written(tested, case))]
        suffix = f"-{number}" if number > 1 else ""
        yield Artifact(f"{FOLDER}/{tested.alert.name}{suffix}.yaml", "\n".join(lines) + "\n")


def _group(path: str) -> str:
    name = path.rpartition("/")[2]
    return "" if name in (rules.RECORDING, rules.ALERTS) else name.removesuffix(".yaml")
