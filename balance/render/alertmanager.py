"""Alertmanager's configuration (0.25 and later) and its notification templates. Secrets are written as paths of files, never as values."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from balance.monitoring.routing import (
    SYNTHETIC,
    WEEK,
    Email,
    Hours,
    Inhibition,
    Integration,
    MuteTime,
    PagerDuty,
    Route,
    Routing,
    Slack,
    Webhook,
    apply_settings,
)
from balance.monitoring.settings import Settings
from balance.promql.text import duration, quoted
from balance.render.artifact import HEADER, Json, yaml_text

TEMPLATES = "templates/balance.tmpl"


def templates() -> str:
    """The notification templates of all integrations, as text."""
    return files("balance.render").joinpath("messages.tmpl").read_text(encoding="utf-8")


def configuration(routing: Routing, settings: Settings) -> str:
    """The text of ``alertmanager.yml`` for the routing with the settings applied."""
    routing = apply_settings(routing, settings)
    muted = [name for route in routing.routes for name in route.mute]
    times = [_mute_time(time) for time in routing.mute_times if time.name in muted]
    document = {
        "templates": [TEMPLATES],
        "route": {"receiver": routing.fallback, "group_by": list(routing.group_by), "routes": [_route(route) for route in routing.routes]},
        **({"time_intervals": times} if times else {}),
        "inhibit_rules": [_inhibition(inhibition) for inhibition in routing.inhibitions],
        "receivers": [
            {
                "name": receiver.name,
                **{f"{kind}_configs": [_integration(integration, settings)] for kind, integration in sorted(receiver.integrations.items())},
            }
            for receiver in routing.receivers
        ],
    }
    return HEADER + yaml_text(document)


def _route(route: Route) -> Json:
    return {
        "matchers": [_matcher("severity", route.severity)],
        "receiver": route.receiver,
        "group_wait": duration(route.group_wait),
        "group_interval": duration(route.group_interval),
        "repeat_interval": duration(route.repeat_interval),
        **({"mute_time_intervals": list(route.mute)} if route.mute else {}),
    }


def _inhibition(inhibition: Inhibition) -> Json:
    return {
        "source_matchers": [
            _matcher("alertname", inhibition.source),
            *(_matcher(label, "") for label in inhibition.source_without),
            _matcher(SYNTHETIC, ""),  # a test alert inhibits nothing
        ],
        "target_matchers": [f"alertname=~{quoted('|'.join(inhibition.targets))}", *(_matcher(label, "") for label in inhibition.targets_without)],
        "equal": list(inhibition.equal),
    }


def _matcher(label: str, value: str) -> str:
    return f"{label}={quoted(value)}"


def _mute_time(time: MuteTime) -> Json:
    return {"name": time.name, "time_intervals": [_hours(hours, time.location) for hours in time.hours]}


def _hours(hours: Hours, location: str) -> Json:
    times = [{"start_time": _time_of_day(hours.begin), "end_time": _time_of_day(hours.end)}]
    whole = (hours.begin, hours.end) == (0, 1440)
    return {"weekdays": [day for day in WEEK if day in hours.days], **({} if whole else {"times": times}), "location": location}


def _time_of_day(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _message(name: str) -> str:
    return f'{{{{ template "balance.{name}" . }}}}'


def _slack(slack: Slack, secret: Callable[[str], str]) -> Json:
    return {
        "channel": slack.channel,
        "api_url_file": secret(slack.api_url_file),
        "color": _message("slack.color"),
        "fallback": _message("title"),
        "title": _message("title"),
        "title_link": _message("link"),
        "text": _message("slack.text"),
    }


def _pagerduty(pagerduty: PagerDuty, secret: Callable[[str], str]) -> Json:
    key = "routing_key_file" if pagerduty.routing_key_file else "service_key_file"
    return {
        key: secret(pagerduty.routing_key_file or pagerduty.service_key_file),
        **({"url": pagerduty.url} if pagerduty.url else {}),
        "description": _message("title"),
        "severity": _message("pagerduty.severity"),
        "client_url": _message("link"),
        "details": {name: _message(f"pagerduty.{name}") for name in ("firing", "resolved")},
    }


def _email(email: Email, secret: Callable[[str], str]) -> Json:
    login = {"auth_username": email.auth_username} if email.auth_username else {}
    password = {"auth_password_file": secret(email.auth_password_file)} if email.auth_password_file else {}
    return {
        "to": email.to,
        "from": email.sender,
        "smarthost": email.smarthost,
        **login,
        **password,
        "require_tls": email.require_tls,
        "headers": {"Subject": _message("title")},
        "text": _message("email.text"),
        "html": _message("email.html"),
    }


def _webhook(webhook: Webhook, secret: Callable[[str], str]) -> Json:
    token = {"http_config": {"authorization": {"credentials_file": secret(webhook.credentials_file)}}} if webhook.credentials_file else {}
    return {"url": webhook.url, **token}


_WRITERS: dict[type, Callable[[Any, Callable[[str], str]], Json]] = {Slack: _slack, PagerDuty: _pagerduty, Email: _email, Webhook: _webhook}


def _integration(integration: Integration, settings: Settings) -> Json:
    """An entry of a receiver's ``KIND_configs``, resolved alerts included. Relative paths of secrets are below `alertmanager.secrets`."""

    def secret(name: str) -> str:
        return name if name.startswith("/") else f"{settings.alertmanager.secrets.rstrip('/')}/{name}"

    return {"send_resolved": True, **_WRITERS[type(integration)](integration, secret)}
