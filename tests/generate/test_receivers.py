"""What the settings say about receivers, and that no secret gets through."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from balance.commands.cli import main

SECRETS = {
    "webhook of Slack": "https://hooks.slack.com/services/" + "T00000000/B00000000/" + "x1" * 12,
    "token of Slack": "xoxb-" + "1234567890-abc",
    "key of PagerDuty": "0123456789abcdef" * 2,
    "token in letters and digits": "s3cr3t" * 4,
    "UUID": "01234567-89ab-cdef-0123-456789abcdef",
}


def told(capsys: pytest.CaptureFixture[str], *assignments: str) -> str:
    arguments = [word for assignment in assignments for word in ("--set", f"alertmanager.{assignment}")]
    assert main(["alertmanager", "--out", "out", *arguments]) == 2
    assert not Path("out").exists()
    return capsys.readouterr().err


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize(
    "key",
    [
        "slack.api_url_file", "slack.channel", "slack.api_url", "pagerduty.routing_key_file", "pagerduty.service_key", "email.auth_password",
        "email.auth_username", "webhook.credentials_file", "webhook.bearer_token",
    ],
)  # fmt: skip
def test_secrets_are_refused_and_not_repeated(key: str, secret: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = told(capsys, f"receivers.page.{key}={secret}")
    assert f"alertmanager.receivers.page.{key}: " in words
    assert "secret, which must not be in generated files (write it into a file that only Alertmanager can read" in words
    assert secret not in words


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (
            "receivers.page.slack.api_url_file=${SLACK_URL}",
            "refers to the environment, which Alertmanager does not expand (write the value into a file",
        ),
        ("receivers.page.email.to=$ONCALL@example.com", "refers to the environment"),
        ("receivers.page.webhook.url=http://user:pass@hook.test/", "contains a secret, which must not be in generated files"),
        ("receivers.page.webhook.url=http://hook.test/?token=abc", "contains a secret, which must not be in generated files"),
        (
            "receivers.page.webhook.url=hook.test",
            "--set: alertmanager.receivers.page.webhook.url: invalid URL (write it like http://host:port/path or https://host/path)",
        ),
        (
            "receivers.page.webhook.url=http://hook.test:99999/",
            "--set: alertmanager.receivers.page.webhook.url: invalid URL (write it like http://host:port/path or https://host/path)",
        ),
        (
            "receivers.page.pager.url=http://x",
            "--set: alertmanager.receivers.page.pager: unknown setting (did you mean 'pagerduty'?)",
        ),
        ("receivers.page.slack.chanel=x", "--set: alertmanager.receivers.page.slack.chanel: unknown setting (did you mean 'channel'?)"),
        (
            "receivers.page.email.smarthost=smtp",
            "--set: alertmanager.receivers.page.email.smarthost: invalid address 'smtp' (a port is missing: write it like smtp.example.com:587 or [::1]:8080)",
        ),
        (
            "receivers.page.email.to=somebody",
            "--set: alertmanager.receivers.page.email.to: invalid mail address 'somebody' (write name@example.com; several with commas)",
        ),
        (
            "receivers.page.email.require_tls=perhaps",
            "--set: alertmanager.receivers.page.email.require_tls: invalid value 'perhaps' (must be true or false)",
        ),
        ("receivers.page.slack.channel=", "--set: alertmanager.receivers.page.slack.channel: must be a string (put it in quotes)"),
        (
            "secrets=secrets",
            "--set: alertmanager.secrets: invalid absolute path 'secrets' (Alertmanager looks from where it was started: write /etc/alertmanager/secrets)",
        ),
        ("routes.info.receiver=page", "--set: alertmanager.routes.info: unknown setting (choices: critical, warning)"),
        (
            "routes.warning.repeat_interval=0s",
            "--set: alertmanager.routes.warning.repeat_interval: invalid duration '0s' (must be more than 0s, at most 1000w)",
        ),
        ("routes.warning.mute=[nights]", "'nights' is not declared (choices: off-hours)"),
        ("mute_times.nights.location=UTC", "mute_times.nights: has no hours"),
        (
            "mute_times.nights.hours=[{times: ['22:00-06:00']}]",
            "--set: alertmanager.mute_times.nights.hours[0].times[0]: invalid times '22:00-06:00' (write 18:00-24:00; a night is two: 18:00-24:00 and 00:00-08:00)",
        ),
        (
            "mute_times.nights.hours=[{days: [sunday:monday]}]",
            "--set: alertmanager.mute_times.nights.hours[0].days[0]: invalid day 'sunday:monday' (write it like sunday or monday:friday)",
        ),
        (
            "mute_times.nights={hours: [{days: [sunday]}], location: ../UTC}",
            "--set: alertmanager.mute_times.nights.location: invalid time zone '../UTC' (write UTC, or a name such as Europe/Berlin)",
        ),
        ("group_by=[alert-name]", "--set: alertmanager.group_by[0]: invalid label 'alert-name' (write names of labels: [alertname, job, cluster])"),
        ("receivers={page: {pagerduty: off, slack: off}}", "alertmanager.receivers.page: has no integrations left"),
    ],
)
def test_invalid_values_are_one_line(assignment: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = told(capsys, assignment)
    assert message in words
    assert words.count("\n") == 1


def test_settings_reach_the_configuration() -> None:
    Path("s.yaml").write_text("""
alertmanager:
  secrets: /run/secrets
  group_by: [alertname, job, cluster]
  receivers:
    page: {pagerduty: {service_key_file: pagerduty}, slack: off, webhook: {url: "https://hook.test/a", credentials_file: /run/token}}
    inform: {email: {to: "a@b.test, c@d.test", from: x@y.test, smarthost: "mail.test:25", auth_username: me, auth_password_file: mail, require_tls: false}}
  routes: {warning: {mute: [nights], group_wait: 0s}}
  mute_times: {nights: {hours: [{days: [monday:wednesday, sunday], times: ["22:00-24:00", "00:00-06:30"]}], location: Europe/Berlin}}
""")
    assert main(["alertmanager", "--out", "out", "--settings", "s.yaml"]) == 0
    made = yaml.safe_load(Path("out/alertmanager/alertmanager.yml").read_text())
    assert made["route"]["group_by"] == ["alertname", "job", "cluster"]
    page, inform = made["receivers"]
    assert page["pagerduty_configs"][0]["service_key_file"] == "/run/secrets/pagerduty"
    assert "routing_key_file" not in page["pagerduty_configs"][0]
    assert "slack_configs" not in page
    assert page["webhook_configs"] == [
        {"send_resolved": True, "url": "https://hook.test/a", "http_config": {"authorization": {"credentials_file": "/run/token"}}}
    ]
    mail = inform["email_configs"][0]
    assert (mail["to"], mail["auth_password_file"], mail["require_tls"]) == ("a@b.test, c@d.test", "/run/secrets/mail", False)
    assert inform["slack_configs"][0]["api_url_file"] == "/run/secrets/slack_api_url"
    assert made["route"]["routes"][1]["mute_time_intervals"] == ["nights"]
    (times,) = made["time_intervals"]
    assert times["name"] == "nights"
    assert times["time_intervals"][1] == {
        "weekdays": ["monday", "tuesday", "wednesday", "sunday"], "times": [{"start_time": "00:00", "end_time": "06:30"}], "location": "Europe/Berlin",
    }  # fmt: skip


def test_documented_settings_are_the_defaults(repository: Path) -> None:
    page = (repository / "docs" / "alerting.md").read_text()
    Path("s.yaml").write_text("alertmanager:" + page.partition("```yaml\n# settings.yaml\nalertmanager:")[2].partition("```")[0])
    assert "repeat_interval" in Path("s.yaml").read_text()
    assert main(["alertmanager", "--out", "out", "--settings", "s.yaml"]) == 0
    for name in ("alertmanager.yml", "templates/balance.tmpl"):
        assert (Path("out/alertmanager") / name).read_bytes() == (repository / "generated" / "alertmanager" / name).read_bytes()


def test_documented_quiet_hours_are_accepted(repository: Path) -> None:
    page = (repository / "docs" / "alerting.md").read_text()
    times = next(line for line in page.splitlines() if "`mute_times: " in line).partition("`mute_times: ")[2].partition("`")[0]
    assert (
        main(["alertmanager", "--out", "out", "--set", f"alertmanager.mute_times={times}", "--set", "alertmanager.routes.warning.mute=nights"]) == 0
    )
    made = yaml.safe_load(Path("out/alertmanager/alertmanager.yml").read_text())
    assert {time["location"] for time in made["time_intervals"][0]["time_intervals"]} == {"Europe/Berlin"}
