"""Messages as Slack, PagerDuty and a mail server get them from a real Alertmanager, and `balance-gen test-alert`."""

from __future__ import annotations

import email
import email.policy
import json
import re
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from balance.commands.cli import main
from balance.live.alertmanager import Alertmanager

from .conftest import Inbox, alerting, eventually, free_port

pytestmark = pytest.mark.process
LINKS = {"runbook_url": "https://runbooks.test/BalanceDown.md", "dashboard_url": "https://grafana.test/d/balance?viewPanel=3"}
ALERT = {
    "labels": {"alertname": "BalanceDown", "severity": "critical", "job": "balance", "instance": "a:1"},
    "annotations": {"summary": "Load balancer a:1 is <down> & out", "description": "Down for 5m 3s.", **LINKS},
    "generatorURL": "http://prometheus.test/graph?g0.expr=up",
}  # fmt: skip


class Mail(socketserver.StreamRequestHandler):
    """As much SMTP as it takes to receive a message."""

    def handle(self) -> None:
        self.say("220 mail.test")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                self.say("354 go on")
                lines = iter(self.rfile.readline, b".\r\n")
                message = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
                self.server.messages.append(message)  # type: ignore[attr-defined]
            self.say("221 bye" if verb == b"QUIT" else "250 ok")

    def say(self, words: str) -> None:
        self.wfile.write(f"{words}\r\n".encode())


class MailServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Mail)
        self.messages: list[EmailMessage] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


class Office:
    """Where messages arrive, and the Alertmanager that sends them."""

    def __init__(self, inbox: Inbox, mail: MailServer, port: int) -> None:
        self.inbox, self.mail, self.url = inbox, mail, f"http://127.0.0.1:{port}"

    def posts(self, path: str) -> list[dict[str, Any]]:
        return [post for where, post in self.inbox.posts if where == path]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], str]) -> Iterator[Office]:
    folder, inbox, mail = tmp_path_factory.mktemp("office"), Inbox(), MailServer()
    (folder / "slack_api_url").write_text(f"{inbox.url}/slack")
    (folder / "pagerduty_routing_key").write_text("key-of-the-test")
    settings = {
        "alertmanager": {
            "secrets": str(folder),
            "receivers": {
                "page": {
                    "pagerduty": {"url": f"{inbox.url}/pagerduty"},
                    "webhook": {"url": f"{inbox.url}/webhook"},
                    "email": {
                        "to": "oncall@mail.test", "from": "balance@mail.test", "smarthost": f"127.0.0.1:{mail.server_address[1]}", "require_tls": False,
                    },
                },
                "inform": {"email": False, "slack": False, "webhook": {"url": f"{inbox.url}/inform"}},
            },
            "routes": {name: {"group_wait": "0s", "group_interval": "1s"} for name in ("critical", "warning")},
        }
    }  # fmt: skip
    (folder / "settings.yaml").write_text(json.dumps(settings))
    assert main(["alertmanager", "--out", str(folder), "--settings", str(folder / "settings.yaml")]) == 0
    with alerting(program("prometheus-alertmanager"), folder / "alertmanager" / "alertmanager.yml") as port:
        yield Office(inbox, mail, port)
    inbox.close()
    mail.shutdown()
    mail.server_close()


@pytest.fixture(scope="module")
def told(office: Office) -> Office:
    """After all integrations have told about one alert."""
    Alertmanager(office.url).post(ALERT)
    eventually("all have told", lambda: all(office.posts(path) for path in ("/slack", "/pagerduty", "/webhook")) and office.mail.messages)
    return office


def test_slack_notification(told: Office) -> None:
    post = next(post for post in told.posts("/slack") if "TEST" not in str(post))
    (message,) = post["attachments"]
    assert post["channel"] == "#alerts"
    assert message["title"] == "[FIRING:1] BalanceDown of balance: Load balancer a:1 is <down> & out"
    assert (message["color"], message["title_link"]) == ("danger", LINKS["dashboard_url"])
    assert message["text"] == (
        "*critical, firing*: Load balancer a:1 is &lt;down&gt; &amp; out\nDown for 5m 3s.\n"
        f"<{LINKS['runbook_url']}|Runbook>\n<{LINKS['dashboard_url']}|Dashboard>\n<{ALERT['generatorURL']}|Query>\n\n"
    )


def test_pagerduty_notification(told: Office) -> None:
    event = next(post for post in told.posts("/pagerduty") if "TEST" not in str(post))
    assert (event["routing_key"], event["event_action"], event["payload"]["severity"]) == ("key-of-the-test", "trigger", "critical")
    assert event["payload"]["summary"] == "[FIRING:1] BalanceDown of balance: Load balancer a:1 is <down> & out"
    assert event["client_url"] == LINKS["dashboard_url"]
    firing = event["payload"]["custom_details"]["firing"]
    for words in ("BalanceDown (critical, firing)", "Down for 5m 3s.", f"Runbook: {LINKS['runbook_url']}", f"Dashboard: {LINKS['dashboard_url']}"):
        assert words in firing


def test_mail_notification(told: Office) -> None:
    message = next(one for one in told.mail.messages if "TEST" not in one["Subject"])
    assert (message["To"], message["From"]) == ("oncall@mail.test", "balance@mail.test")
    assert message["Subject"] == "[FIRING:1] BalanceDown of balance: Load balancer a:1 is <down> & out"
    plain, html = (message.get_body((kind,)) for kind in ("plain", "html"))
    assert plain
    assert html
    for words in ("critical, firing", "Down for 5m 3s.", *LINKS.values()):
        assert words in plain.get_content()
        assert words in html.get_content()
    assert "<h3>Load balancer a:1 is &lt;down&gt; &amp; out</h3>" in html.get_content()


def test_webhook_notification(told: Office) -> None:
    assert ("/webhook", ALERT["labels"]) in told.inbox.alerts("firing")


def run(office: Office, capsys: pytest.CaptureFixture[str], *arguments: str, settings: str = "") -> tuple[int, str]:
    code = main(["test-alert", *arguments, *(["--settings", settings] if settings else [])])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_synthetic_alert_is_sent_and_resolved(told: Office, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = next(Path(tmp_path_factory.getbasetemp()).glob("office*/settings.yaml"))
    code, words = run(told, capsys, "BalanceDown", "--alertmanager", told.url, settings=str(settings))
    assert code == 0, words
    assert f"accepted by {told.url} for page: alertname=BalanceDown, instance=synthetic, job=balance, severity=critical, synthetic=true" in words
    assert re.findall(r"sent by (\w+)", words) == ["email", "pagerduty", "slack", "webhook"]
    assert words.splitlines()[-1] == "resolved"
    eventually("the end is told", lambda: [labels for _path, labels in told.inbox.alerts("resolved") if labels.get("synthetic")])
    texts = [json.dumps(post) for post in told.posts("/slack")]
    assert any("TEST: *critical, firing*: TEST of the notifications of BalanceDown" in text for text in texts)
    assert not Alertmanager(told.url).find({"alertname": "BalanceDown", "synthetic": "true"})


def test_synthetic_alert_and_inhibition(told: Office, capsys: pytest.CaptureFixture[str]) -> None:
    labels = {"alertname": "BalanceBackendDown", "severity": "warning", "job": "balance", "instance": "synthetic", "backend": "synthetic"}
    server = Alertmanager(told.url)
    server.post({"labels": {**ALERT["labels"], "instance": "synthetic", "synthetic": "true"}})  # type: ignore[dict-item]
    server.post({"labels": labels})
    shown = eventually("Alertmanager has it", lambda: server.find(labels))
    assert shown["status"]["inhibitedBy"] == []

    server.post({"labels": {**ALERT["labels"], "instance": "synthetic"}})  # type: ignore[dict-item]
    eventually("the real one silences", lambda: (server.find(labels) or {"status": {"inhibitedBy": []}})["status"]["inhibitedBy"])
    code, words = run(told, capsys, "BalanceBackendDown", "--alertmanager", told.url)
    assert code == 1
    assert "SUPPRESSED by alert " in words


def test_broken_integration_is_reported(told: Office, capsys: pytest.CaptureFixture[str]) -> None:
    def quiet() -> bool:
        """Whether nothing was sent for longer than a group waits before it tells its news."""
        before = Alertmanager(told.url).sent()
        time.sleep(1.5)
        return Alertmanager(told.url).sent() == before

    eventually("the messages of tests before are sent", quiet)
    told.inbox.status = 400
    try:
        code, words = run(told, capsys, "BalanceHighLatency", "--alertmanager", told.url, "--timeout", "0.5")
        assert code == 1
        assert "NOT sent by " in words, "the default receivers are not those of this Alertmanager"
        code, words = run(
            told, capsys, "BalanceHighRetryRate", "--alertmanager", told.url, "--set",
            f"alertmanager.receivers.inform={{slack: off, email: off, webhook: {{url: '{told.inbox.url}/inform'}}}}",
        )  # fmt: skip
        assert code == 1
        assert "FAILED: 1 of 1 attempts by webhook; see the log of Alertmanager" in words
    finally:
        told.inbox.status = 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["BalanceDow", "--alertmanager", "{url}"], "no alert 'BalanceDow' (did you mean 'BalanceDown'?"),
        (["BalanceDown", "--alertmanager", "localhost:9093"], "--alertmanager: invalid Alertmanager address (write http://HOST:9093"),
        (["BalanceDown", "--alertmanager", "http://me:secret@127.0.0.1:9093"], "--alertmanager: invalid Alertmanager address"),
        (["BalanceDown", "--alertmanager", "{url}/elsewhere"], "does not respond like an Alertmanager"),
        (["BalanceDown", "--alertmanager", "http://127.0.0.1:{free}"], "cannot be reached: Connection refused"),
        (["BalanceDown", "--alertmanager", "{inbox}"], "answered 501"),
    ],
)
def test_unusable_alertmanager_is_one_line(office: Office, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    filled = [word.format(url=office.url, free=free_port(), inbox=office.inbox.url) for word in arguments]
    code, words = run(office, capsys, *filled)
    assert code == 2
    assert message in words
    assert words.count("\n") == 1
    assert "secret" not in words
