"""Who is told: receivers and what they are made of, routes by severity, what silences what, and when a route is quiet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, get_args

from balance.errors import MonitoringError, Problem, SettingsError, choices, suggestion
from balance.monitoring.alerts import Alert
from balance.monitoring.settings import AlertmanagerSettings, Settings, Severity

SYNTHETIC = "synthetic"
"""The label of an alert that only tests the channel. No route asks for it, and it silences nothing."""
WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True)
class Slack:
    """A channel, and the file that holds the URL of its incoming webhook."""

    channel: str
    api_url_file: str


@dataclass(frozen=True)
class PagerDuty:
    """A service by the file that holds its key: `routing_key_file` for Events API v2, `service_key_file` for the older one. `url` is
    where v2 takes events, if not at PagerDuty's usual address.
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
    """Addresses, comma-separated, and the server that takes the mail (host:port)."""

    to: str
    sender: str
    smarthost: str
    auth_username: str = ""
    auth_password_file: str = ""
    require_tls: bool = True


@dataclass(frozen=True)
class Webhook:
    """A URL that gets Alertmanager's own JSON; `credentials_file` holds a bearer token."""

    url: str
    credentials_file: str = ""


Integration = Slack | PagerDuty | Email | Webhook
KINDS: Mapping[str, type[Integration]] = {"pagerduty": PagerDuty, "slack": Slack, "email": Email, "webhook": Webhook}
_KEYS = ("routing_key_file", "service_key_file")
"""Of PagerDuty: naming one takes the place of the other."""


@dataclass(frozen=True)
class Receiver:
    """A name and its integrations, by kind."""

    name: str
    integrations: Mapping[str, Integration] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind, integration in self.integrations.items():
            if kind not in KINDS or not isinstance(integration, KINDS[kind]):
                raise MonitoringError(f"has no {kind!r}", where=f"receiver {self.name}", cure=f"choices: {choices(KINDS)}")


@dataclass(frozen=True)
class Hours:
    """Days of the week and a span of the day in minutes from midnight."""

    days: tuple[str, ...]
    begin: int = 0
    end: int = 1440

    def __post_init__(self) -> None:
        if not self.days or set(self.days) - set(WEEK) or not 0 <= self.begin < self.end <= 1440:
            raise MonitoringError(
                f"no time in {choices(self.days)}, minute {self.begin} to {self.end}", cure=f"choices: {', '.join(WEEK)}; minutes 0 to 1440"
            )


@dataclass(frozen=True)
class MuteTime:
    """When a route is quiet: what begins then is told afterwards, if it still lasts. `location` is a zone of the tz database."""

    name: str
    hours: tuple[Hours, ...]
    location: str = "UTC"


@dataclass(frozen=True)
class Route:
    """What becomes of a severity. Times in seconds: until the first message of a group, between messages about news in it, and
    until what still fires is told again.
    """

    severity: Severity
    receiver: str
    group_wait: int = 30
    group_interval: int = 300
    repeat_interval: int = 14400
    mute: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.group_interval <= 0 or self.repeat_interval <= 0 or self.group_wait < 0:
            raise MonitoringError("waits no time between messages", where=f"route {self.severity}", cure="give times above 0 s")


@dataclass(frozen=True)
class Inhibition:
    """While alert `source` fires, `targets` are not told about, where the labels of `equal` have equal values; to Alertmanager a label
    that is missing equals one that is empty. A label in `source_without` or `targets_without` must be missing there.
    """

    source: str
    targets: tuple[str, ...]
    equal: tuple[str, ...] = ("job",)
    source_without: tuple[str, ...] = ()
    targets_without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Routing:
    """All of it. `fallback` is the receiver of what no route takes, such as other teams' alerts; `group_by` are the labels whose values
    alerts of one message have in common.
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
            Problem("routing", f"has no route for severity {severity}", "declare one: nobody would be told as meant")
            for severity in get_args(Severity)
            if severity not in severities
        ]
        if problems:
            raise MonitoringError(problems=problems)

    def route(self, severity: str) -> Route:
        """The route of a severity."""
        return next(route for route in self.routes if route.severity == severity)

    def among(self, names: Iterable[str]) -> Routing:
        """The same for these alerts alone: what silences or would be silenced and is not among them is left out."""
        known = set(names)
        inhibitions = [replace(one, targets=tuple(name for name in one.targets if name in known)) for one in self.inhibitions if one.source in known]
        return replace(self, inhibitions=tuple(inhibition for inhibition in inhibitions if inhibition.targets))

    def faults(self, alerts: Mapping[str, Alert]) -> list[Problem]:
        """Inhibitions that name what is no alert, or that can never match one of their targets."""
        problems = []
        for inhibition in self.inhibitions:
            where = f"inhibition by {inhibition.source}"
            unknown = [name for name in (inhibition.source, *inhibition.targets) if name not in alerts]
            problems += [Problem(where, f"{name} is no alert", suggestion(name, alerts)) for name in unknown]
            if inhibition.source in inhibition.targets:
                problems.append(Problem(where, "would silence itself", "take it out of the targets"))
            if not unknown:
                problems += [
                    Problem(where, f"can never silence {target}", "compare other labels: one of them always has this label, the other never")
                    for target in inhibition.targets
                    if not _meet(inhibition, alerts[inhibition.source], alerts[target])
                ]
        return problems


def _meet(inhibition: Inhibition, source: Alert, target: Alert) -> bool:
    """Whether there are labels with which the source silences the target."""

    def states(alert: Alert, without: tuple[str, ...], label: str) -> set[bool]:
        """Whether the label can be there (True), whether it can be missing (False)."""
        can = {True} if label in alert.condition.labels else {True, False} if label in alert.condition.some_labels else {False}
        return can & {False} if label in without else can

    sides = ((source, inhibition.source_without), (target, inhibition.targets_without))
    equal = (states(source, inhibition.source_without, label) & states(target, inhibition.targets_without, label) for label in inhibition.equal)
    missing = (states(alert, without, label) for alert, without in sides for label in without)
    return all(equal) and all(missing)


def applied(routing: Routing, settings: Settings) -> Routing:
    """The routing with what the settings choose; the labels to keep tell alerts apart too. Raises `SettingsError` with every name that
    does not exist and what is incomplete.
    """
    chosen, kept = settings.alertmanager, settings.keep_labels
    problems: list[Problem] = []
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
        Problem(f"alertmanager.receivers.{name}", "would tell nobody", f"leave one on: {choices(KINDS)}")
        for name, receiver in receivers.items()
        if not receiver.integrations
    ]
    problems += [
        Problem(f"alertmanager.mute_times.{name}", "has no hours", "write hours: [{days: [monday:friday], times: ['18:00-24:00']}]")
        for name, fields in chosen.mute_times.items()
        if not fields.get("hours")
    ]
    times = {time.name: time for time in (*routing.mute_times, *(MuteTime(name, **fields) for name, fields in _times(chosen)))}
    routes = []
    for route in routing.routes:
        changes = chosen.routes.get(route.severity, {})
        for key, names, known in (("receiver", (changes.get("receiver", route.receiver),), receivers), ("mute", changes.get("mute", ()), times)):
            problems += [
                Problem(f"alertmanager.routes.{route.severity}.{key}", f"{name!r} is not declared", suggestion(name, known))
                for name in names
                if name not in known
            ]
        routes.append((route, changes))
    if problems:
        raise SettingsError(problems=problems)
    return replace(
        routing,
        receivers=tuple(receivers.values()),
        routes=tuple(replace(route, **changes) for route, changes in routes),
        mute_times=tuple(times.values()),
        group_by=chosen.group_by or (*routing.group_by, *kept),
        inhibitions=tuple(replace(inhibition, equal=(*inhibition.equal, *kept)) for inhibition in routing.inhibitions),
    )


def _times(chosen: AlertmanagerSettings) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, changes in chosen.mute_times.items():
        yield name, {**changes, "hours": tuple(Hours(*span) for span in changes.get("hours", ()))}


def _integration(kind: str, before: Integration | None, changes: Mapping[str, Any]) -> Integration:
    """What was declared with some fields changed, or a new one."""
    made = KINDS[kind]
    declared = {name: value for name, value in vars(before).items() if not (name in _KEYS and set(_KEYS) & set(changes))} if before else {}
    values = {**declared, **changes}
    missing = [one.name for one in fields(made) if one.default is MISSING and one.default_factory is MISSING and one.name not in values]
    if missing:
        named = ["from" if name == "sender" else name for name in missing]
        raise MonitoringError(f"needs {choices(named)}", cure="add what is missing")
    return made(**values)
