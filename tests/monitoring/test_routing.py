from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from balance.errors import BalanceError, MonitoringError, SettingsError
from balance.monitoring.bundle import Bundle
from balance.monitoring.routing import Hours, Inhibition, PagerDuty, Receiver, Route, Routing, Slack, applied
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
def test_a_routing_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MonitoringError) as refused:
        replace(GOOD, **changes)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("inhibition", "message"),
    [
        (Inhibition("BalanceDow", ("BalanceBackendDown",)), "inhibition by BalanceDow: BalanceDow is no alert (did you mean 'BalanceDown'?"),
        (Inhibition("BalanceDown", ("BalanceDown",)), "inhibition by BalanceDown: would silence itself"),
        (
            Inhibition("BalanceBackendDown", ("BalanceHighErrorRate",), equal=("job", "instance")),
            "inhibition by BalanceBackendDown: can never silence BalanceHighErrorRate",
        ),
        (
            Inhibition("BalanceBackendDown", ("BalanceHighRetryRate",), source_without=("instance",)),
            "inhibition by BalanceBackendDown: can never silence BalanceHighRetryRate",
        ),
        (
            Inhibition("BalanceDown", ("BalanceBackendDown",), targets_without=("backend",)),
            "inhibition by BalanceDown: can never silence BalanceBackendDown",
        ),
    ],
)
def test_an_inhibition_that_can_never_work_is_refused(bundle: Bundle, inhibition: Inhibition, message: str) -> None:
    assert bundle.routing
    with pytest.raises(MonitoringError) as refused:
        replace(bundle, routing=replace(bundle.routing, inhibitions=(inhibition,)))
    assert message in str(refused.value)


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
def test_a_part_that_cannot_be_is_refused(made: object) -> None:
    with pytest.raises(BalanceError):
        made()  # type: ignore[operator]


def test_settings_change_fields_add_leave_out_and_replace(bundle: Bundle) -> None:
    assert bundle.routing
    chosen = AlertmanagerSettings(
        receivers={
            "page": {"pagerduty": {"service_key_file": "old"}, "slack": None},
            "inform": {"slack": {"channel": "#quiet"}},
            "night": {"webhook": {"url": "http://night.test"}},
        },
        routes={"warning": {"receiver": "night", "mute": ("off-hours",)}},
    )
    routing = applied(bundle.routing, Settings(alertmanager=chosen))
    receivers = {receiver.name: dict(receiver.integrations) for receiver in routing.receivers}
    assert receivers["page"] == {"pagerduty": PagerDuty(service_key_file="old")}
    assert receivers["inform"]["slack"] == Slack("#quiet", "slack_api_url")
    assert (routing.route("warning").receiver, routing.route("warning").mute) == ("night", ("off-hours",))
    assert routing.route("critical") == bundle.routing.route("critical")


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"receivers": {"page": {"pagerduty": None, "slack": None}}}, "alertmanager.receivers.page: would tell nobody"),
        ({"receivers": {"new": {"email": {"to": "a@b.test"}}}}, "alertmanager.receivers.new.email: needs from, smarthost"),
        ({"routes": {"warning": {"receiver": "informs"}}}, "alertmanager.routes.warning.receiver: 'informs' is not declared (did you mean 'inform'?"),
        ({"routes": {"warning": {"mute": ("of-hours",)}}}, "alertmanager.routes.warning.mute: 'of-hours' is not declared (did you mean 'off-hours'?"),
    ],
)
def test_settings_that_cannot_be_applied_are_told(bundle: Bundle, chosen: dict[str, Any], message: str) -> None:
    assert bundle.routing
    with pytest.raises(SettingsError) as refused:
        applied(bundle.routing, Settings(alertmanager=AlertmanagerSettings(**chosen)))
    assert message in str(refused.value)
