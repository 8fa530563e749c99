from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from balance.errors import BalanceError, MonitoringError, SettingsError
from balance.monitoring.bundle import Bundle
from balance.monitoring.routing import Hours, Inhibition, PagerDuty, Receiver, Route, Routing, Slack, apply_settings
from balance.monitoring.settings import AlertmanagerSettings, Settings

GOOD = Routing((Receiver("page"), Receiver("inform")), (Route("critical", "page"), Route("warning", "inform")), "inform")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"receivers": (Receiver("page"),)}, "routing: has no receiver 'inform' (choices: page)"),
        ({"fallback": "nobody"}, "routing: has no receiver 'nobody'"),
        ({"routes": (Route("critical", "page"),)}, "routing: has no route for severity warning"),
        ({"routes": (*GOOD.routes, Route("warning", "page"))}, "routing: routes of critical, warning, warning declared twice"),
        ({"routes": (GOOD.routes[0], Route("warning", "inform", mute=("night",)))}, "route warning: has no mute time 'night'"),
    ],
)
def test_contradictory_routing_is_rejected(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MonitoringError) as caught:
        replace(GOOD, **changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("inhibition", "message"),
    [
        (Inhibition("BalanceDow", ("BalanceBackendDown",)), "inhibition by BalanceDow: unknown alert 'BalanceDow' (did you mean 'BalanceDown'?"),
        (Inhibition("BalanceDown", ("BalanceDown",)), "inhibition by BalanceDown: would inhibit itself"),
        (
            Inhibition("BalanceBackendDown", ("BalanceHighErrorRate",), equal=("job", "instance")),
            "inhibition by BalanceBackendDown: can never inhibit BalanceHighErrorRate",
        ),
        (
            Inhibition("BalanceBackendDown", ("BalanceHighRetryRate",), source_without=("instance",)),
            "inhibition by BalanceBackendDown: can never inhibit BalanceHighRetryRate",
        ),
        (
            Inhibition("BalanceDown", ("BalanceBackendDown",), targets_without=("backend",)),
            "inhibition by BalanceDown: can never inhibit BalanceBackendDown",
        ),
    ],
)
def test_impossible_inhibitions_are_rejected(bundle: Bundle, inhibition: Inhibition, message: str) -> None:
    assert bundle.routing
    with pytest.raises(MonitoringError) as caught:
        replace(bundle, routing=replace(bundle.routing, inhibitions=(inhibition,)))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "made",
    [
        lambda: PagerDuty(),
        lambda: PagerDuty("a", "b"),
        lambda: PagerDuty(service_key_file="a", url="http://pager.test"),
        lambda: Receiver("page", {"pager": PagerDuty("a")}),
        lambda: Receiver("page", {"slack": PagerDuty("a")}),
        lambda: Hours(("someday",)),
        lambda: Hours(("monday",), 60, 60),
        lambda: Route("warning", "inform", repeat_interval=0),
    ],
)
def test_invalid_parts_are_rejected(made: object) -> None:
    with pytest.raises(BalanceError):
        made()  # type: ignore[operator]


def test_settings_change_add_and_remove_integrations(bundle: Bundle) -> None:
    assert bundle.routing
    chosen = AlertmanagerSettings(
        receivers={
            "page": {"pagerduty": {"service_key_file": "old"}, "slack": None},
            "inform": {"slack": {"channel": "#quiet"}},
            "night": {"webhook": {"url": "http://night.test"}},
        },
        routes={"warning": {"receiver": "night", "mute": ("off-hours",)}},
    )
    routing = apply_settings(bundle.routing, Settings(alertmanager=chosen))
    receivers = {receiver.name: dict(receiver.integrations) for receiver in routing.receivers}
    assert receivers["page"] == {"pagerduty": PagerDuty(service_key_file="old")}
    assert receivers["inform"]["slack"] == Slack("#quiet", "slack_api_url")
    assert (routing.route("warning").receiver, routing.route("warning").mute) == ("night", ("off-hours",))
    assert routing.route("critical") == bundle.routing.route("critical")


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"receivers": {"page": {"pagerduty": None, "slack": None}}}, "alertmanager.receivers.page: has no integrations left"),
        ({"receivers": {"new": {"email": {"to": "a@b.test"}}}}, "alertmanager.receivers.new.email: needs from, smarthost"),
        ({"routes": {"warning": {"receiver": "informs"}}}, "alertmanager.routes.warning.receiver: 'informs' is not declared (did you mean 'inform'?"),
        ({"routes": {"warning": {"mute": ("of-hours",)}}}, "alertmanager.routes.warning.mute: 'of-hours' is not declared (did you mean 'off-hours'?"),
    ],
)
def test_invalid_routing_settings_are_reported(bundle: Bundle, chosen: dict[str, Any], message: str) -> None:
    assert bundle.routing
    with pytest.raises(SettingsError) as caught:
        apply_settings(bundle.routing, Settings(alertmanager=AlertmanagerSettings(**chosen)))
    assert message in str(caught.value)
