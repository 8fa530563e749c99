"""What is wrong between a service and its Prometheus. Pure: from the facts that both told to findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from balance.config.units import parse_duration
from balance.errors import Problem, choices, few
from balance.live.facts import ExpectedState, Json, PrometheusFacts, WantedSeries, host_and_port, matches, targets_of_job
from balance.live.scrape import Scrape
from balance.promql.text import duration


def targets(facts: PrometheusFacts, expected: ExpectedState, addresses: Iterable[str]) -> Iterator[Problem]:
    """Check that the instances are scraped under the job and labels that rules and panels select, and often enough."""
    if facts.runtime.get("reloadConfigSuccess") is False:
        problem = "could not reload its configuration: it still runs with an older one and would not start with this one"
        yield Problem(facts.where, problem, "`promtool check config` shows the error; fix the file and reload", "Prometheus", check="reload-failed")
    subject = f"job {expected.job!r}"
    own = targets_of_job(facts.active, expected.job)
    if not own:
        yield _unknown(facts, expected, {host_and_port(address) for address in addresses}, subject)
        return
    matching = [target for target in own if matches(expected.matchers, target["labels"])]
    if not matching:
        wanted = ", ".join(f"{matcher.label}{matcher.operator}{matcher.value!r}" for matcher in expected.matchers)
        labels = sorted({f"{name}={value!r}" for target in own for name, value in target["labels"].items() if name not in ("job", "instance")})
        problem = (
            f"has no target with {wanted}, which rules and panels select; its targets have {few(labels) if labels else 'no labels of that kind'}"
        )
        yield Problem(
            facts.where, problem, "add the labels to the scrape configuration, or change `selector` in the settings", subject, check="target-labels"
        )
    for target in matching:
        instance = target["labels"].get("instance", target["scrapeUrl"])
        if target["health"] == "unknown":
            problem = "has not been scraped yet"
            yield Problem(
                facts.where,
                problem,
                "wait for one scrape interval, then run doctor again",
                f"target {instance}",
                check="target-down",
                severity="warning",
            )
        elif target["health"] != "up":
            problem = f"cannot be scraped at {target['scrapeUrl']}: {target['lastError']}"
            cure = "check that the service runs and that the address in the scrape configuration is its admin port"
            yield Problem(facts.where, problem, cure, f"target {instance}", check="target-down")
        every = parse_duration(target.get("scrapeInterval", "")) or 0
        if every * 2 > expected.shortest:
            window = duration(expected.shortest)
            problem = f"is scraped every {target['scrapeInterval']}: fewer than two samples in the rules' window of {window}, so no rate"
            cure = f"scrape at least every {duration(expected.shortest // 2)}, or choose a longer `rate_window`"
            yield Problem(facts.where, problem, cure, f"target {instance}", check="scrape-interval")
    yield from _retention(facts, expected)


def _unknown(facts: PrometheusFacts, expected: ExpectedState, addresses: set[str], subject: str) -> Problem:
    """Why the job has no target."""
    for target in facts.dropped:
        if target["discoveredLabels"].get("job") == expected.job:
            problem = f"has no target: {target['discoveredLabels'].get('__address__')} was discovered but dropped by relabel_configs"
            return Problem(facts.where, problem, "fix the `keep` or `drop` in the relabel_configs of the job", subject, check="target-dropped")
    for target in facts.active:
        if host_and_port(target["scrapeUrl"]) in addresses:
            job = target["labels"].get("job", "")
            problem = f"has no target: {host_and_port(target['scrapeUrl'])} is scraped as job {job!r}"
            return Problem(
                facts.where,
                problem,
                f"set job_name to {expected.job!r}, or `job: {job}` in the settings and generate again",
                subject,
                check="job-name",
            )
    jobs = choices({target["labels"].get("job", "") for target in facts.active})
    problem = f"has no target; jobs with targets: {jobs}"
    return Problem(facts.where, problem, "add the job as `balance-gen prometheus` prints it, and reload Prometheus", subject, check="target-missing")


def _retention(facts: PrometheusFacts, expected: ExpectedState) -> Iterator[Problem]:
    told = str(facts.runtime.get("storageRetention", ""))
    kept = parse_duration(told.partition(" or ")[0])
    if kept is not None and kept < expected.longest:
        problem = f"keeps {told}, shorter than the rules' window of {duration(expected.longest)}: results cover only {told}"
        cure = f"start it with --storage.tsdb.retention.time={duration(expected.longest)} or more"
        yield Problem(facts.where, problem, cure, "Prometheus", check="retention", severity="warning")


def rules(facts: PrometheusFacts, expected: ExpectedState) -> Iterator[Problem]:
    """Check that the generated rules are loaded, unchanged and once, and can be evaluated."""
    loaded = _by_name(facts.groups)
    made = [_name(rule) for rule in expected.rules]
    missing = [name for name in made if name not in loaded]
    if missing:
        yield _missing(facts, missing, len(made))
    differing = {name: fault for name, fault in outdated_rules(facts.groups, expected.rules).items() if fault}
    if differing:
        first = next(iter(differing))
        problem = f"{'is' if len(differing) == 1 else 'are'} not as generated; {first}: {differing[first]}"
        cure = "`balance-gen apply --rules DIR --prometheus URL`, or copy the generated rules again and reload; use the same settings for both"
        yield Problem(facts.where, problem, cure, few(differing), check="rule-differs")
    copied: dict[str, list[str]] = {}
    for rule in expected.rules:
        every = loaded.get(_name(rule), [])
        own = [(group, one) for group, one in every if same_expression(rule["expr"], one["query"])]
        if len(own) > 1:
            copied[_name(rule)] = sorted({group["file"] for group, _ in own})
        for _, one in own or (every if len(every) == 1 else ()):
            if one["health"] == "err":
                problem = f"cannot be evaluated: {one['lastError']}"
                cure = "fix what the message says: most often labels that make two series identical"
                yield Problem(facts.where, problem, cure, _name(rule), check="rule-failing")
    if copied:
        places = few(sorted({file for files in copied.values() for file in files}))
        yield Problem(
            facts.where,
            f"loaded more than once, from {places}",
            "remove the copies, and reload",
            few(copied),
            check="rule-duplicate",
            severity="warning",
        )


def outdated_rules(groups: Iterable[Json], made: Iterable[Json]) -> dict[str, str]:
    """By name, the generated rules that are not loaded (empty string) or differ from the loaded ones (the first difference)."""
    loaded = _by_name(groups)
    faults = {_name(rule): _best(rule, loaded[_name(rule)]) if _name(rule) in loaded else [""] for rule in made}
    return {name: fault[0] for name, fault in faults.items() if fault}


def _name(rule: Json) -> str:
    return str(rule.get("alert") or rule["record"])


def _by_name(groups: Iterable[Json]) -> dict[str, list[tuple[Json, Json]]]:
    """The loaded rules by name, each with its group."""
    found: dict[str, list[tuple[Json, Json]]] = {}
    for group in groups:
        for rule in group["rules"]:
            found.setdefault(rule["name"], []).append((group, rule))
    return found


def _missing(facts: PrometheusFacts, missing: list[str], every: int) -> Problem:
    subject = few(missing)
    paths = facts.configuration.get("rule_files") or []
    problem = f"not loaded ({len(missing)} of {every} rules); rule_files: {few(paths)}"
    cure = "`balance-gen apply --rules DIR --prometheus URL`, with DIR among the rule_files; or copy the generated rules there and reload"
    return Problem(facts.where, problem, cure, subject, check="rules-missing")


def _best(made: Json, loaded: list[tuple[Json, Json]]) -> list[str]:
    """The differences between a generated rule and the most similar of the loaded rules of that name."""
    return min((_differences(made, rule) for _, rule in loaded), key=len)


def _differences(made: Json, loaded: Json) -> list[str]:
    pairs: list[tuple[str, Any, Any]] = [
        ("for", parse_duration(made.get("for", "0s")), loaded.get("duration", 0)),
        ("labels", made.get("labels", {}), loaded.get("labels") or {}),
        ("annotations", made.get("annotations", {}), loaded.get("annotations") or {}),
    ]
    if "keepFiringFor" in loaded:  # Prometheus 2.42 and later
        pairs.append(("keep_firing_for", parse_duration(made.get("keep_firing_for", "0s")), loaded["keepFiringFor"]))
    found = [f"{field} generated {_brief(one)}, loaded {_brief(other)}" for field, one, other in pairs if one != other]
    if not same_expression(made["expr"], loaded["query"]):
        found.insert(0, f"expr generated {_brief(made['expr'])}, loaded {_brief(loaded['query'])}")
    return found


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


def same_expression(made: str, loaded: str) -> bool:
    """True if two expressions are the same apart from formatting, which differs between versions of Prometheus."""
    if made == loaded:
        return True
    import promql_parser as promql  # rarely needed: generated expressions are formatted as Prometheus 2 prints them

    try:
        return bool(promql.parse(made).prettify() == promql.parse(loaded).prettify())
    except ValueError:
        return False


def series(facts: PrometheusFacts, expected: ExpectedState, scrapes: Iterable[Scrape]) -> Iterator[Problem]:
    """Check that Prometheus has the series that rules and panels select, if the service exposes them, with their labels."""
    there: dict[str, list[dict[str, str]]] = {}
    for labels in facts.series:
        there.setdefault(labels["__name__"], []).append(labels)
    shown = {sample.name: family for scraped in scrapes for family in scraped.families.values() for sample in family.samples}
    dropped = sum(facts.relabelled.values())
    unexposed: dict[str, None] = {}
    lost: dict[str, None] = {}
    for wanted in expected.wanted:
        if any(wanted.matches(labels) for labels in there.get(wanted.name, ())):
            continue
        family = wanted.metric.name
        if not facts.exposed & {family, family.removesuffix("_total")}:
            unexposed[family] = None
        elif dropped and wanted.name in shown and any(wanted.matches(dict(s.labels)) for s in shown[wanted.name].samples if s.name == wanted.name):
            lost[str(wanted)] = None
    if unexposed:
        problem = "selected by rules and panels but exposed by no target of the job"
        cure = "use the same version of service and rules; for a runtime metric, choose the right `runtime` in the settings"
        yield Problem(facts.where, problem, cure, few(unexposed), check="series-missing")
    if lost:
        problem = f"exposed by the service but not stored: metric_relabel_configs drop {dropped:.0f} samples per scrape"
        yield Problem(facts.where, problem, "keep them in the metric_relabel_configs of the job", few(lost), check="series-dropped")
    for label, names in facts.unlabelled.items():
        if names:
            problem = f"stored without the label {label!r}, which rules and panels use"
            cure = "fix the labeldrop, labelmap or honor_labels of the job, or use the same version of service and rules"
            yield Problem(facts.where, problem, cure, few(sorted(names)), check="label-missing")


def count_without_series(facts: PrometheusFacts, wanted: Iterable[WantedSeries]) -> int:
    """The number of wanted names that have no series yet."""
    return len({one.name for one in wanted} - {labels["__name__"] for labels in facts.series})
