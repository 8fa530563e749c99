"""Notifications: receivers and their integrations, routes by severity, inhibitions, and mute times."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, get_args

from balance.errors import MonitoringError, Problem, SettingsError, choices, suggestion
from balance.monitoring.alerts import Alert
from balance.monitoring.settings import AlertmanagerSettings, Settings, Severity

SYNTHETIC = "synthetic"
"""A label of test alerts. No route or inhibition matches it."""
WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True)
class Slack:
    """A Slack channel, and the file with the URL of its incoming webhook."""

    channel: str
    api_url_file: str


@dataclass(frozen=True)
class PagerDuty:
    """A PagerDuty service, by the file with its key: `routing_key_file` for Events API v2, `service_key_file` for v1. `url` is the endpoint of v2
    (default: PagerDuty's own). Raises `MonitoringError` unless exactly one key is given.
    """

    routing_key_file: str = ""
    service_key_file: str = ""
    url: str = ""

    def __post_init__(self) -> None:
        if bool(self.routing_key_file) == bool(self.service_key_file):
            raise MonitoringError("needs one of routing_key_file and service_key_file", where="pagerduty", cure="name the file that holds the key")
        if self.service_key_file and self.url:
            raise MonitoringError("has a url with a service_key_file", where="pagerduty", cure="a url goes with a routing_key_file")


@dataclass(frozen=True)
class Email:
    """Email: recipients (`to`, comma-separated), `sender`, and the mail server (`smarthost`, host:port)."""

    to: str
    sender: str
    smarthost: str
    auth_username: str = ""
    auth_password_file: str = ""
    require_tls: bool = True


@dataclass(frozen=True)
class Webhook:
    """A URL that receives Alertmanager's JSON; `credentials_file` has a bearer token."""

    url: str
    credentials_file: str = ""


Integration = Slack | PagerDuty | Email | Webhook
KINDS: Mapping[str, type[Integration]] = {"pagerduty": PagerDuty, "slack": Slack, "email": Email, "webhook": Webhook}
_KEYS = ("routing_key_file", "service_key_file")
"""PagerDuty's keys: setting one removes the other."""


@dataclass(frozen=True)
class Receiver:
    """A receiver: its name, and integrations by kind (see `KINDS`). Raises `MonitoringError` for other kinds."""

    name: str
    integrations: Mapping[str, Integration] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind, integration in self.integrations.items():
            if kind not in KINDS or not isinstance(integration, KINDS[kind]):
                raise MonitoringError(f"unknown integration {kind!r}", where=f"receiver {self.name}", cure=f"choices: {choices(KINDS)}")


@dataclass(frozen=True)
class Hours:
    """Days of the week, and a span of the day in minutes from midnight. Raises `MonitoringError` for other values."""

    days: tuple[str, ...]
    begin: int = 0
    end: int = 1440

    def __post_init__(self) -> None:
        if not self.days or set(self.days) - set(WEEK) or not 0 <= self.begin < self.end <= 1440:
            raise MonitoringError(
                f"invalid hours: {choices(self.days)}, minute {self.begin} to {self.end}", cure=f"choices: {', '.join(WEEK)}; minutes 0 to 1440"
            )


@dataclass(frozen=True)
class MuteTime:
    """Times when a route sends no notifications; alerts that still fire are sent afterwards. `location` is a zone of the tz database."""

    name: str
    hours: tuple[Hours, ...]
    location: str = "UTC"


@dataclass(frozen=True)
class Route:
    """The route of a severity: its receiver, and times in seconds. `group_wait`: before the first notification of a group. `group_interval`: between
    notifications about changes of a group. `repeat_interval`: before a notification is repeated. `mute`: names of mute times.
    """

    severity: Severity
    receiver: str
    group_wait: int = 30
    group_interval: int = 300
    repeat_interval: int = 14400
    mute: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.group_interval <= 0 or self.repeat_interval <= 0 or self.group_wait < 0:
            raise MonitoringError("invalid time", where=f"route {self.severity}", cure="intervals must be above 0 s, group_wait 0 s or more")


@dataclass(frozen=True)
class Inhibition:
    """While the alert `source` fires, no notifications are sent for `targets` with the same values of the labels `equal`; for Alertmanager a
    missing label equals an empty one. Labels in `source_without` or `targets_without` must be missing there.
    """

    source: str
    targets: tuple[str, ...]
    equal: tuple[str, ...] = ("job",)
    source_without: tuple[str, ...] = ()
    targets_without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Routing:
    """The complete routing. `fallback`: the receiver of alerts that match no route, such as other teams'. `group_by`: labels whose values the alerts
    of one notification share. Raises `MonitoringError` with all contradictions.
    """

    receivers: tuple[Receiver, ...]
    routes: tuple[Route, ...]
    fallback: str
    group_by: tuple[str, ...] = ("alertname", "job")
    inhibitions: tuple[Inhibition, ...] = ()
    mute_times: tuple[MuteTime, ...] = ()

    def __post_init__(self) -> None:
        receivers = [receiver.name for receiver in self.receivers]
        times = [time.name for time in self.mute_times]
        severities = [route.severity for route in self.routes]
        problems = [
            Problem("routing", f"{what} {choices(names)} declared twice", "declare each once")
            for what, names in (("receivers", receivers), ("mute times", times), ("routes of", severities))
            if len(set(names)) < len(names)
        ]
        problems += [
            Problem(f"route {route.severity}", f"has no mute time {name!r}", suggestion(name, times))
            for route in self.routes
            for name in route.mute
            if name not in times
        ]
        problems += [
            Problem(where, f"has no receiver {name!r}", suggestion(name, receivers))
            for where, name in (("routing", self.fallback), *((f"route {route.severity}", route.receiver) for route in self.routes))
            if name not in receivers
        ]
        problems += [
            Problem("routing", f"has no route for severity {severity}", "declare one: its alerts would go to the fallback")
            for severity in get_args(Severity)
            if severity not in severities
        ]
        if problems:
            raise MonitoringError(problems=problems)

    def route(self, severity: str) -> Route:
        """The route of a severity. Every severity has one."""
        return next(route for route in self.routes if route.severity == severity)

    def for_alerts(self, names: Iterable[str]) -> Routing:
        """The same routing without inhibitions by, or of, alerts that are not in `names`."""
        known = set(names)
        inhibitions = [replace(one, targets=tuple(name for name in one.targets if name in known)) for one in self.inhibitions if one.source in known]
        return replace(self, inhibitions=tuple(inhibition for inhibition in inhibitions if inhibition.targets))

    def inhibition_problems(self, alerts: Mapping[str, Alert]) -> list[Problem]:
        """Problems of inhibitions that name unknown alerts, or that can never match one of their targets."""
        problems = []
        for inhibition in self.inhibitions:
            where = f"inhibition by {inhibition.source}"
            unknown = [name for name in (inhibition.source, *inhibition.targets) if name not in alerts]
            problems += [Problem(where, f"unknown alert {name!r}", suggestion(name, alerts)) for name in unknown]
            if inhibition.source in inhibition.targets:
                problems.append(Problem(where, "would inhibit itself", "take it out of the targets"))
            if not unknown:
                problems += [
                    Problem(where, f"can never inhibit {target}", "compare other labels: one of them always has this label, the other never")
                    for target in inhibition.targets
                    if not _can_match(inhibition, alerts[inhibition.source], alerts[target])
                ]
        return problems


def _can_match(inhibition: Inhibition, source: Alert, target: Alert) -> bool:
    """True if there are labels with which the source inhibits the target."""

    def states(alert: Alert, without: tuple[str, ...], label: str) -> set[bool]:
        """True in the set: the label can be present; False in the set: it can be missing."""
        can = {True} if label in alert.condition.labels else {True, False} if label in alert.condition.some_labels else {False}
        return can & {False} if label in without else can

    sides = ((source, inhibition.source_without), (target, inhibition.targets_without))
    equal = (states(source, inhibition.source_without, label) & states(target, inhibition.targets_without, label) for label in inhibition.equal)
    missing = (states(alert, without, label) for alert, without in sides for label in without)
    return all(equal) and all(missing)


def apply_settings(routing: Routing, settings: Settings) -> Routing:
    """The routing with the overrides of the settings; `keep_labels` are added to `group_by` and to every inhibition. Raises `SettingsError` with
    every unknown name and everything that is incomplete.
    """
    chosen, keep = settings.alertmanager, settings.keep_labels
    problems: list[Problem] = []
    receivers = _receivers(routing, chosen, problems)
    mute_times = _mute_times(routing, chosen, problems)
    routes = _routes(routing, chosen, receivers, mute_times, problems)
    if problems:
        raise SettingsError(problems=problems)
    return replace(
        routing,
        receivers=tuple(receivers.values()),
        routes=routes,
        mute_times=tuple(mute_times.values()),
        group_by=chosen.group_by or (*routing.group_by, *keep),
        inhibitions=tuple(replace(inhibition, equal=(*inhibition.equal, *keep)) for inhibition in routing.inhibitions),
    )


def _receivers(routing: Routing, chosen: AlertmanagerSettings, problems: list[Problem]) -> dict[str, Receiver]:
    receivers = {receiver.name: receiver for receiver in routing.receivers}
    for name, kinds in chosen.receivers.items():
        receiver = receivers.get(name, Receiver(name))
        integrations = dict(receiver.integrations)
        for kind, changes in kinds.items():
            if changes is None:
                integrations.pop(kind, None)
                continue
            try:
                integrations[kind] = _integration(kind, integrations.get(kind), changes)
            except MonitoringError as error:
                problems += [Problem(f"alertmanager.receivers.{name}.{kind}", problem.what, problem.cure) for problem in error.problems]
        receivers[name] = replace(receiver, integrations=integrations)
    problems += [
        Problem(f"alertmanager.receivers.{name}", "has no integrations left", f"leave one on: {choices(KINDS)}")
        for name, receiver in receivers.items()
        if not receiver.integrations
    ]
    return receivers


def _mute_times(routing: Routing, chosen: AlertmanagerSettings, problems: list[Problem]) -> dict[str, MuteTime]:
    problems += [
        Problem(f"alertmanager.mute_times.{name}", "has no hours", "write hours: [{days: [monday:friday], times: ['18:00-24:00']}]")
        for name, changes in chosen.mute_times.items()
        if not changes.get("hours")
    ]
    added = (
        MuteTime(name, **{**changes, "hours": tuple(Hours(*span) for span in changes.get("hours", ()))})
        for name, changes in chosen.mute_times.items()
    )
    return {time.name: time for time in (*routing.mute_times, *added)}


def _routes(
    routing: Routing, chosen: AlertmanagerSettings, receivers: Collection[str], mute_times: Collection[str], problems: list[Problem]
) -> tuple[Route, ...]:
    routes = []
    for route in routing.routes:
        changed = replace(route, **chosen.routes.get(route.severity, {}))
        for key, names, known in (("receiver", (changed.receiver,), receivers), ("mute", changed.mute, mute_times)):
            problems += [
                Problem(f"alertmanager.routes.{route.severity}.{key}", f"{name!r} is not declared", suggestion(name, known))
                for name in names
                if name not in known
            ]
        routes.append(changed)
    return tuple(routes)


def _integration(kind: str, before: Integration | None, changes: Mapping[str, Any]) -> Integration:
    """The declared integration with some fields changed, or a new one. Raises `MonitoringError` if fields are missing."""
    made = KINDS[kind]
    declared = {name: value for name, value in vars(before).items() if not (name in _KEYS and set(_KEYS) & set(changes))} if before else {}
    values = {**declared, **changes}
    missing = [one.name for one in fields(made) if one.default is MISSING and one.default_factory is MISSING and one.name not in values]
    if missing:
        named = ["from" if name == "sender" else name for name in missing]
        raise MonitoringError(f"needs {choices(named)}", cure="add what is missing")
    return made(**values)
