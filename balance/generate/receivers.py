"""The part of the settings that says who is told: names and addresses, and nothing that must stay secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

from balance.catalog.model import is_name
from balance.generate.reading import Part, Reader, RefusedError, Table, duration, interval, switch, texts
from balance.monitoring.routing import WEEK, Email, MuteTime, PagerDuty, Receiver, Route, Routing, Slack, Webhook
from balance.monitoring.settings import Severity

_GIVEAWAY = (
    r"hooks\.slack\.com/\S*[0-9A-Za-z]{8}|xox[a-z]-|\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"
    r"|(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{20,}"
)
"""A Slack webhook or token, a UUID, or twenty letters and digits without a break."""
_ENVIRONMENT = r"\$\{?[A-Za-z_]"
_SPAN = r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)"
_ASKS = "(?i)token|key|secret|sig|auth|pass"


def _public(reader: Reader, path: str, value: Any) -> str:
    """text, and no secret"""
    if not (isinstance(value, str) and value.strip() and value.isprintable()):
        raise RefusedError("is no text of one line", "write a text")
    if re.search(_ENVIRONMENT, value):
        raise RefusedError(
            "refers to the environment, which Alertmanager does not expand",
            "write the value into a file when Alertmanager starts, and name the file: api_url_file, routing_key_file, auth_password_file",
        )
    if re.search(_GIVEAWAY, value):
        raise RefusedError(
            "looks like a secret, and generated files hold none",
            "write it into a file that only Alertmanager can read, and name the file: api_url_file, routing_key_file, auth_password_file",
        )
    return value


def _url(reader: Reader, path: str, value: Any) -> str:
    """URL"""
    from urllib.parse import urlsplit  # only where there is one: start-up counts

    text = _public(reader, path, value)
    try:
        parts = urlsplit(text)
        whole = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        whole = False
    if not whole:
        raise RefusedError("is no URL", "write http://host:port/path or https://host/path")
    if "@" in parts.netloc or re.search(_ASKS, parts.query):
        raise RefusedError("holds a secret, and generated files hold none", "write a bearer token into a file, and name it: credentials_file")
    return text


def _host_port(reader: Reader, path: str, value: Any) -> str:
    """host:port"""
    text = _public(reader, path, value)
    if re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s:/@]+):\d{1,5}", text):
        return text
    raise RefusedError(f"{text!r} is no address", "write host:port, for example smtp.example.com:587")


def _address(reader: Reader, path: str, value: Any) -> str:
    """mail addresses"""
    text = _public(reader, path, value)
    if all("@" in one.strip()[1:-1] for one in text.split(",")):
        return text
    raise RefusedError(f"{text!r} is no mail address", "write name@example.com; several with commas")


def _days(reader: Reader, path: str, value: Any) -> tuple[str, ...]:
    """Days and spans of days: ``[monday:friday, sunday]``."""
    found: list[str] = []
    for one in texts(reader, path, value):
        first, _, last = one.partition(":")
        last = last or first
        if first not in WEEK or last not in WEEK or WEEK.index(first) > WEEK.index(last):
            raise RefusedError(f"{one!r} is no day", f"write a day or first:last; days: {', '.join(WEEK)}")
        found += WEEK[WEEK.index(first) : WEEK.index(last) + 1]
    return tuple(found)


def _spans(reader: Reader, path: str, value: Any) -> tuple[tuple[int, int], ...]:
    spans = []
    for one in texts(reader, path, value):
        match = re.fullmatch(_SPAN, one)
        begin, end = (int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])) if match else (1, 0)
        if not begin < end <= 1440:
            raise RefusedError(f"{one!r} is no span of a day", "write 18:00-24:00; a night is two: 18:00-24:00 and 00:00-08:00")
        spans.append((begin, end))
    return tuple(spans)


_HOURS: Table = {"days": ("days", _days, "Days of the week."), "times": ("times", _spans, "Spans of a day.")}


def _zone(reader: Reader, path: str, value: Any) -> str:
    """time zone"""
    text = _public(reader, path, value)
    if re.fullmatch(r"[A-Za-z]+(?:[/_+-][A-Za-z0-9]+)*", text):
        return text
    raise RefusedError(f"{text!r} is no time zone", "write UTC, or a name such as Europe/Berlin")


def _hours(reader: Reader, path: str, value: Any) -> tuple[tuple[tuple[str, ...], int, int], ...]:
    """list of days and times"""
    if not (isinstance(value, list) and value):
        raise RefusedError("is no list of hours", "write [{days: [monday:friday], times: ['18:00-24:00']}]")
    hours = []
    for index, one in enumerate(value):
        read = reader.mapping(f"{path}.{index}", one, _HOURS)
        hours += [(read.get("days", WEEK), begin, end) for begin, end in read.get("times", ((0, 1440),))]
    return tuple(hours)


def _folder(reader: Reader, path: str, value: Any) -> str:
    """absolute path"""
    text = _public(reader, path, value)
    if text.startswith("/"):
        return text
    raise RefusedError(f"{text!r} is no absolute path", "Alertmanager looks from where it was started: write /etc/alertmanager/secrets")


def _labels(reader: Reader, path: str, value: Any) -> tuple[str, ...]:
    """list of labels"""
    names = texts(reader, path, value)
    for name in names:
        if not is_name(name):
            raise RefusedError(f"{name!r} is no label", "write names of labels: [alertname, job, cluster]")
    return names


class _Integration(Part):
    """An integration's fields, or None if it is `off`. Keys that would hold a secret are refused, with the one that names a file."""

    def __init__(self, record: type[Any], table: Table, **secrets: str) -> None:
        super().__init__(record, table)
        self.secrets = secrets

    def __call__(self, reader: Reader, path: str, value: Any) -> Mapping[str, Any] | None:
        if value is False:  # YAML 1.1 reads `off` as false
            return None
        items = dict(reader.items(path, value))
        for key in self.secrets.keys() & items:
            del items[key]
            cure = f"write it into a file that only Alertmanager can read: {self.secrets[key]}"
            reader.refuse(f"{path}.{key}", "is a secret, and generated files hold none", cure)
        fields: Mapping[str, Any] = super().__call__(reader, path, items)
        return fields


_SLACK: Table = {
    "channel": ("channel", _public, "The channel."),
    "api_url_file": ("api_url_file", _public, "The file with the URL of its incoming webhook."),
}
_PAGERDUTY: Table = {
    "routing_key_file": ("routing_key_file", _public, "The file with the key for Events API v2."),
    "service_key_file": ("service_key_file", _public, "The file with the key for the older API, instead."),
    "url": ("url", _url, "Where events go, if not to PagerDuty's usual address."),
}
_EMAIL: Table = {
    "to": ("to", _address, "Who gets the mail."),
    "from": ("sender", _address, "Who sends it."),
    "smarthost": ("smarthost", _host_port, "The server that takes it."),
    "auth_username": ("auth_username", _public, "The name by which Alertmanager logs in there."),
    "auth_password_file": ("auth_password_file", _public, "The file with the password."),
    "require_tls": ("require_tls", switch, "Whether mail goes over TLS only; by default it does."),
}
_WEBHOOK: Table = {
    "url": ("url", _url, "What gets Alertmanager's own JSON."),
    "credentials_file": ("credentials_file", _public, "The file with a bearer token."),
}
_RECEIVER: Table = {
    "pagerduty": ("pagerduty", _Integration(PagerDuty, _PAGERDUTY, routing_key="routing_key_file", service_key="service_key_file"), "PagerDuty."),
    "slack": ("slack", _Integration(Slack, _SLACK, api_url="api_url_file"), "Slack."),
    "email": ("email", _Integration(Email, _EMAIL, auth_password="auth_password_file", auth_secret="auth_password_file"), "Mail."),  # noqa: S106
    "webhook": ("webhook", _Integration(Webhook, _WEBHOOK, credentials="credentials_file", bearer_token="credentials_file"), "Others."),  # noqa: S106
}
_ROUTE: Table = {
    "receiver": ("receiver", _public, "Who is told."),
    "group_wait": ("group_wait", duration, "Time until the first message of a group."),
    "group_interval": ("group_interval", interval, "Time between messages about news in it."),
    "repeat_interval": ("repeat_interval", interval, "Time until what still fires is told again."),
    "mute": ("mute", texts, "When the route is quiet: names of mute times."),
}
_MUTE_TIME: Table = {
    "hours": ("hours", _hours, "Days and spans of the day: `[{days: [monday:friday], times: ['18:00-24:00']}]`."),
    "location": ("location", _zone, "Whose clock counts; by default UTC."),
}
ALERTMANAGER: Table = {
    "secrets": ("secrets", _folder, "The folder of the files that hold secrets."),
    "group_by": ("group_by", _labels, "Labels whose values alerts of one message have in common."),
    "receivers": ("receivers", Part(Receiver, _RECEIVER, "NAME"), "Who can be told; `off` leaves an integration out."),
    "routes": ("routes", Part(Routing, {one: (one, Part(Route, _ROUTE), "A severity.") for one in get_args(Severity)}), "Who is told of what."),
    "mute_times": ("mute_times", Part(MuteTime, _MUTE_TIME, "NAME"), "When routes can be quiet."),
}
