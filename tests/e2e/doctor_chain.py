"""The chain that the tests of `doctor` look at: one balancer, one Alertmanager for each configuration, a stand-in for Grafana, and three instances of
Prometheus, all started at once. Where a cause lies in a scrape job or in rules, the job is called like the check that finds it, and one
Prometheus has them all."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from balance.commands.cli import main

from .conftest import Inbox, Origin, alerting, balancing, eventually, fetch, free_port, running
from .grafana_api import TOKEN, Grafana

Json = dict[str, Any]
OLD = "balance_backend_healthy"
"""What the older version of the service does not show."""
JOBS: dict[str, Json] = {
    "balance": {},
    "datasource-other": {},
    "datasource-interval": {"scrape_interval": "6s"},
    "scrape-interval": {"scrape_interval": "6s"},
    "target-dropped": {"relabel_configs": [{"action": "drop", "source_labels": ["__address__"], "regex": ".+"}]},
    "target-labels": {},
    "series-dropped": {"metric_relabel_configs": [{"action": "drop", "source_labels": ["__name__"], "regex": "balance_active_connections"}]},
    "label-missing": {"metric_relabel_configs": [{"action": "labeldrop", "regex": "backend"}]},
    "rule-differs": {},
    "rule-duplicate": {},
}
"""Scrape jobs of the balancer, and in what they differ from a healthy one."""
UNKNOWN = ("target-missing", "job-name")
"""Jobs that have rules and no scrape configuration."""
SET = {"scrape-interval": "rate_window=10s", "target-labels": 'selector=cluster="eu"'}
"""What is chosen for a job, for its rules and for doctor."""


class Older:
    """A service that shows what the balancer shows, without one family."""

    def __init__(self, admin: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _, body = fetch(admin, self.path)
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(b"".join(line for line in body.splitlines(keepends=True) if OLD.encode() not in line))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Chain:
    """Everything that runs, by address, and the healthy way to look at it."""

    def __init__(self, folder: Path, program: Callable[[str], str], stack: ExitStack) -> None:
        self.folder, self._program, self._stack = folder, program, stack
        self._made: dict[str, str] = {}
        self.inbox = stack.enter_context(_closing(Inbox()))
        self.closed = f"http://127.0.0.1:{free_port()}"
        self.admin = self._balancer("balance", "")
        self.without = self._balancer("without", "metrics: {enabled: false}\n")
        self.older = stack.enter_context(_closing(Older(port(self.admin))))
        (folder / "token").write_text(f"{TOKEN}\n")
        self.settings = self._settings("settings.yaml", self.inbox.url)
        self.manager = self._manager("manager", self.settings)
        self.elsewhere = self._manager("elsewhere", self.settings)
        self.refusing = self._manager("refusing", self._settings("refusing.yaml", self.closed))
        self.handwritten = self._manager("handwritten", None)
        known = [url.removeprefix("http://") for url in (self.manager, self.refusing, self.handwritten, self.closed)]
        self._rules("balance")
        for job in {*self.jobs(), *UNKNOWN} - SET.keys():  # rendering each would take longer than all tests
            self._made[job] = self._made["balance"].replace('job="balance"', f'job="{job}"')
        self.many = self._prometheus("many", self.jobs(), known, UNKNOWN)
        self.unalerting = self._prometheus(
            "unalerting", {"balance": self.jobs()["balance"]}, [], wrong="up * on (job) {__name__=~'up|scrape_samples_scraped'}"
        )
        self.bare = self._prometheus("bare", {"balance": self.jobs()["balance"]}, known[:1], bare=True)
        self._ready()
        (folder / "bare" / "prometheus.yml").write_text("scrape_configs: 1\n")
        assert fetch(port(self.bare), "/-/reload", "POST", b"")[0] == 500
        self.grafana = stack.enter_context(_closing(Grafana(self.many)))
        self.upload(self.options("balance"))

    def options(self, job: str) -> dict[str, str]:
        """Addresses and settings for a healthy look, at that job if there is one."""
        return {
            "balance": self.admin, "prometheus": self.many, "alertmanager": self.manager, "grafana": self.grafana.url,
            "settings": str(self.settings), "grafana-token-file": str(self.folder / "token"), "job": job if job in (*self.jobs(), *UNKNOWN) else "balance",
        }  # fmt: skip

    def upload(self, options: dict[str, str]) -> None:
        """Have the dashboards in Grafana as the job's settings make them."""
        given = [word for name in ("settings", "grafana", "grafana-token-file") for word in (f"--{name}", options[name])]
        assert main(["apply", *given, *chosen(options["job"])]) == 0

    def jobs(self) -> dict[str, Json]:
        """The scrape jobs of the first Prometheus."""
        targets = {**dict.fromkeys(JOBS, self.admin), "target-down": self.closed, "series-missing": f"http://127.0.0.1:{self.older.port}"}
        static = {job: [{"targets": [url.removeprefix("http://")]}] for job, url in targets.items()}
        return {job: {"static_configs": configs, **JOBS.get(job, {})} for job, configs in static.items()}

    def _balancer(self, name: str, more: str) -> str:
        origin = Origin()
        self._stack.callback(origin.stop)
        config = self.folder / f"{name}.yaml"
        config.write_text(
            f"listen: 127.0.0.1:0\nadmin: {{listen: '127.0.0.1:0'}}\nbackends: [{{name: a, address: '127.0.0.1:{origin.port}'}}]\n{more}"
        )
        return f"http://127.0.0.1:{self._stack.enter_context(balancing(config))[1]}"

    def _settings(self, name: str, inbox: str) -> Path:
        webhook = {"pagerduty": False, "slack": False, "email": False, "webhook": {"url": f"{inbox}/hook"}}
        file = self.folder / name
        routes = {severity: {"group_wait": "0s", "group_interval": "1s"} for severity in ("critical", "warning")}
        document = {
            "prometheus": {"scrape_interval": "1s", "evaluation_interval": "1m"},
            "alertmanager": {"receivers": {"page": webhook, "inform": webhook}, "routes": routes},
        }
        file.write_text(json.dumps(document))
        return file

    def _manager(self, name: str, settings: Path | None) -> str:
        folder = self.folder / name
        if settings:
            assert main(["alertmanager", "--out", str(folder), "--settings", str(settings)]) == 0
            config = folder / "alertmanager" / "alertmanager.yml"
        else:
            folder.mkdir()
            config = folder / "alertmanager.yml"
            config.write_text("route: {receiver: mine}\nreceivers: [{name: mine}]\n")
        return f"http://127.0.0.1:{self._stack.enter_context(alerting(self._program('prometheus-alertmanager'), config))}"

    def _prometheus(
        self, name: str, jobs: dict[str, Json], managers: list[str], more: tuple[str, ...] = (), *, wrong: str = "", bare: bool = False
    ) -> str:
        folder, listen = self.folder / name, free_port()
        (folder / "rules").mkdir(parents=True)
        for job in () if bare else (*jobs, *more):
            (folder / "rules" / f"{job}.yaml").write_text(self._rules(job, wrong))
        document = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1m"},
            "rule_files": [] if bare else ["rules/*.yaml"],
            "scrape_configs": [{"job_name": job, **config} for job, config in jobs.items()],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": managers}]}] if managers else []},
        }
        (folder / "prometheus.yml").write_text(json.dumps(document))
        command = [
            self._program("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{listen}", f"--storage.tsdb.retention.time={15 if bare else 40}d", "--web.enable-lifecycle",
        ]  # fmt: skip
        self._stack.enter_context(running(command, folder / "log"))
        return f"http://127.0.0.1:{listen}"

    def _rules(self, job: str, wrong: str = "") -> str:
        """The rules of a job, with what is wrong with them where the job is called so, or one with this expression instead of its own."""
        if job not in self._made:
            assert main(["rules", "--out", str(self.folder / "made"), "--settings", str(self.settings), *chosen(job)]) == 0
            self._made[job] = (self.folder / "made" / "rules.yaml").read_text()
        document = yaml.safe_load(self._made[job])
        group, rule = next((group, rule) for group in document["groups"] for rule in group["rules"] if rule.get("alert") == "BalanceHighErrorRate")
        if job == "rule-differs":
            rule["expr"] = rule["expr"].replace("0.05", "0.5")
        if wrong:
            group["interval"], rule["expr"] = "1s", wrong
        if job == "rule-duplicate":
            document["groups"].append({"name": "copy", "rules": [rule]})
        return json.dumps(document)

    def _ready(self) -> None:
        """Wait until each target has been scraped, Alertmanagers are known, and the rule that fails has failed."""

        def scraped(url: str, jobs: int) -> bool:
            status, body = fetch(port(url), "/api/v1/targets")
            active = json.loads(body)["data"]["activeTargets"] if status == 200 else []
            return len(active) == jobs and all(target["health"] != "unknown" for target in active)

        for url, jobs in ((self.many, len(self.jobs()) - 1), (self.unalerting, 1), (self.bare, 1)):
            eventually("all targets are scraped", lambda url=url, jobs=jobs: scraped(url, jobs))  # type: ignore[misc]
        for url in (self.many, self.bare):
            eventually("Alertmanagers are known", lambda url=url: b'"url"' in fetch(port(url), "/api/v1/alertmanagers")[1])  # type: ignore[misc]
        eventually("the rule fails that is to fail", lambda: b'"health":"err"' in fetch(port(self.unalerting), "/api/v1/rules")[1])


def chosen(job: str) -> list[str]:
    """What is chosen for a job, as words of a command line."""
    return [word for choice in (f"job={job}", *([SET[job]] if job in SET else [])) for word in ("--set", choice)]


def port(url: str) -> int:
    """The port of an address."""
    return int(url.rpartition(":")[2])


@contextmanager
def _closing(thing: Any) -> Iterator[Any]:
    yield thing
    thing.close()
