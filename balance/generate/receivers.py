"""The settings of Alertmanager: receivers, routes and mute times. Secrets are refused: only files that hold them can be named."""

from __future__ import annotations

import re
from typing import Any, get_args
from urllib.parse import urlsplit

from balance.catalog.model import is_name
from balance.config.address import Endpoint
from balance.config.kinds import Duration, Flag, KindError, Text
from balance.config.schema import Field, Section, Table, optional
from balance.monitoring.routing import WEEK
from balance.monitoring.settings import Severity

_SECRET_PATTERN = (
    r"hooks\.slack\.com/\S*[0-9A-Za-z]{8}|xox[a-z]-|\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"  # noqa: S105
    r"|(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{20,}"
)
"""A Slack webhook or token, a UUID, or twenty or more mixed letters and digits."""
_ENVIRONMENT = r"\$\{?[A-Za-z_]"
_SECRET_QUERY_KEYS = "(?i)token|key|secret|sig|auth|pass"  # noqa: S105
_TIMES_PATTERN = r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)"
_FILES = "name the file: api_url_file, routing_key_file, auth_password_file"
_MAX_SECONDS = 1000 * 604_800
TEXT = Text(r"[\s\S]+", "must be a non-empty string", words="text", quoted=True)
WAIT = Duration(-1, _MAX_SECONDS, whole=True)
INTERVAL = Duration(0, _MAX_SECONDS, whole=True)


class _NotSecret(Text):
    """A single-line string that must not contain a secret. Messages never repeat the value."""

    def __init__(self, words: str = "text, and no secret", pattern: str = ".+", rule: str = "", noun: str = "value") -> None:
        super().__init__(pattern, rule, noun, words=words, quoted=True)

    def parse(self, text: str) -> Any:
        if not (text.strip() and text.isprintable()):
            raise KindError("must be a single-line string", "write one in quotes")
        if re.search(_ENVIRONMENT, text):
            cure = f"write the value into a file when Alertmanager starts, and {_FILES}"
            raise KindError("refers to the environment, which Alertmanager does not expand", cure)
        if re.search(_SECRET_PATTERN, text):
            cure = f"write it into a file that only Alertmanager can read, and {_FILES}"
            raise KindError("looks like a secret, which must not be in generated files", cure)
        return super().parse(text)


class _Url(_NotSecret):
    def parse(self, text: str) -> str:
        super().parse(text)
        try:
            parts = urlsplit(text)
            whole = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
        except ValueError:
            whole = False
        if not whole:
            raise KindError("invalid URL", "write it like http://host:port/path or https://host/path")
        if "@" in parts.netloc or re.search(_SECRET_QUERY_KEYS, parts.query):
            raise KindError(
                "contains a secret, which must not be in generated files", "write a bearer token into a file, and name it: credentials_file"
            )
        return text


class _HostPort(_NotSecret):
    def parse(self, text: str) -> str:
        Endpoint(unix=False, example="smtp.example.com:587").parse(super().parse(text))
        return text


def _days(text: str) -> tuple[str, ...]:
    """The days of ``monday:friday`` or ``sunday``. Raises `KindError` if the text is neither."""
    first, _, last = text.partition(":")
    last = last or first
    if first not in WEEK or last not in WEEK or WEEK.index(first) > WEEK.index(last):
        raise KindError(f"invalid day {text!r}", "write it like sunday or monday:friday")
    return WEEK[WEEK.index(first) : WEEK.index(last) + 1]


def _times(text: str) -> tuple[int, int]:
    """Begin and end of ``18:00-24:00`` in minutes of the day. Raises `KindError` if the text is invalid."""
    match = re.fullmatch(_TIMES_PATTERN, text)
    begin, end = (int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])) if match else (1, 0)
    if not begin < end <= 1440:
        raise KindError(f"invalid times {text!r}", "write 18:00-24:00; a night is two: 18:00-24:00 and 00:00-08:00")
    return begin, end


def _hours(days: tuple[tuple[str, ...], ...] = (WEEK,), times: tuple[tuple[int, int], ...] = ((0, 1440),)) -> tuple[tuple[Any, ...], ...]:
    all_days = tuple(day for group in days for day in group)
    return tuple((all_days, begin, end) for begin, end in times)


def _mute_time(hours: tuple[tuple[tuple[Any, ...], ...], ...] = (), **others: Any) -> dict[str, Any]:
    return {"hours": tuple(span for group in hours for span in group), **others}


def _name(text: str) -> str:
    if not is_name(text):
        raise KindError(f"invalid label {text!r}", "write names of labels: [alertname, job, cluster]")
    return text


def _integration(*fields: Field, **secrets: str) -> Section:
    """An integration, which may be `off`. Keys with a secret are refused; the message names the key for a file instead."""
    refused = {
        key: ("is a secret, which must not be in generated files", f"write it into a file that only Alertmanager can read: {file}")
        for key, file in secrets.items()
    }
    return Section(dict, fields, may_be_off=True, refused=refused)


_LINE = _NotSecret()
_URL = _Url("URL")
_MAIL = _NotSecret("mail addresses", r"[^,]+@[^,]+(,[^,]+@[^,]+)*", "write name@example.com; several with commas", "mail address")
_SLACK = _integration(
    optional("channel", _LINE, "The channel."),
    optional("api_url_file", _LINE, "The file with the URL of its incoming webhook."),
    api_url="api_url_file",
)
_PAGERDUTY = _integration(
    optional("routing_key_file", _LINE, "The file with the key for Events API v2."),
    optional("service_key_file", _LINE, "The file with the key for the older API, instead."),
    optional("url", _URL, "Where events go, if not to PagerDuty's usual address."),
    routing_key="routing_key_file",
    service_key="service_key_file",
)
_EMAIL = _integration(
    optional("to", _MAIL, "The recipient's address."),
    optional("from", _MAIL, "The sender's address.", attribute="sender"),
    optional("smarthost", _HostPort("host:port"), "The server that takes it."),
    optional("auth_username", _LINE, "The name by which Alertmanager logs in there."),
    optional("auth_password_file", _LINE, "The file with the password."),
    optional("require_tls", Flag(), "Whether mail goes over TLS only; by default it does."),
    auth_password="auth_password_file",  # noqa: S106 (the key that names the file)
    auth_secret="auth_password_file",  # noqa: S106
)
_WEBHOOK = _integration(
    optional("url", _URL, "What gets Alertmanager's own JSON."),
    optional("credentials_file", _LINE, "The file with a bearer token."),
    credentials="credentials_file",
    bearer_token="credentials_file",  # noqa: S106
)
_RECEIVER = Section(dict, (
    optional("pagerduty", _PAGERDUTY, "PagerDuty."),
    optional("slack", _SLACK, "Slack."),
    optional("email", _EMAIL, "Mail."),
    optional("webhook", _WEBHOOK, "Others."),
))  # fmt: skip
_ROUTE = Section(dict, (
    optional("receiver", _LINE, "The receiver of its notifications."),
    optional("group_wait", WAIT, "Time until the first message of a group."),
    optional("group_interval", INTERVAL, "Time between messages about news in it."),
    optional("repeat_interval", INTERVAL, "Time between repeated notifications."),
    optional("mute", TEXT, "When the route is quiet: names of mute times.", several=True),
))  # fmt: skip
_HOURS = Section(_hours, (
    optional("days", Text(".+", "write a day", words="day", check=_days), "Days of the week: monday, or monday:friday.", several=True),
    optional("times", Text(".+", "write 18:00-24:00", words="span", check=_times), "Spans of a day.", several=True),
))  # fmt: skip
_ZONE = _NotSecret("time zone", r"[A-Za-z]+(?:[/_+-][A-Za-z0-9]+)*", "write UTC, or a name such as Europe/Berlin", "time zone")
_MUTE_TIME = Section(_mute_time, (
    optional("hours", _HOURS, "Days and spans of the day: `[{days: [monday:friday], times: ['18:00-24:00']}]`.", many=True),
    optional("location", _ZONE, "Whose clock counts; by default UTC."),
))  # fmt: skip
_SECRETS = _NotSecret("absolute path", "/.*", "Alertmanager looks from where it was started: write /etc/alertmanager/secrets", "absolute path")
_LABEL = Text(".+", "write names of labels", "label", words="label", quoted=True, check=_name)
ALERTMANAGER = (
    optional("secrets", _SECRETS, "The folder of the files that hold secrets."),
    optional("group_by", _LABEL, "Labels whose values alerts of one message have in common.", several=True),
    optional("receivers", Table(TEXT, _RECEIVER), "Receivers by name; `off` leaves an integration out."),
    optional("routes", Section(dict, tuple(optional(one, _ROUTE, "A severity.") for one in get_args(Severity))), "Routes by severity."),
    optional("mute_times", Table(TEXT, _MUTE_TIME), "When routes can be quiet."),
)
