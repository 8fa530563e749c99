"""The keys of pools: who answers, how they are chosen, checked and spared."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from balance.config.address import Endpoint
from balance.config.kinds import Choice, Duration, File, Flag, Integer, Number, Text
from balance.config.schema import Field, Section
from balance.lb.config import checks, model
from balance.lb.config.httpkinds import TOKEN, RequestTarget, Statuses
from balance.lb.config.netkinds import HostPort

DURATION = Duration()
OPTIONAL = Duration(may_be_off=True)
THRESHOLD = Integer(1, 1000)
CONNECTIONS = Integer(1, 1_000_000)
WEIGHT = Integer(1, 1000)
NAME = Text(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "1 to 63 letters, digits, dots, dashes or underscores", "name")

BACKEND_TLS = Section(model.BackendTls, (
    Field("ca", File(), "", "PEM file of the authorities to trust; absent: the system's"),
    Field("server_name", Text(r"([A-Za-z0-9][A-Za-z0-9.:_-]{0,252})?", "a host name or an IP address", "host"), "",
          "the name its certificate must bear, and that is asked for by SNI; absent: the host of the address"),
    Field("verify", Flag(), "true", "whether its certificate is verified; false is for experiments"),
    Field("certificate", File(), "", "PEM file of our own certificate, for a backend that asks for one"),
    Field("key", File(), "", "PEM file of its private key"),
), on_demand=True, may_be_off=True, check=checks.backend_tls)  # fmt: skip

BACKEND = Section(model.BackendConfig, (
    Field("name", NAME, None, "name in metrics and logs"),
    Field("address", Endpoint(listening=False), None, "where it answers HTTP/1.1"),
    Field("weight", WEIGHT, "1", "share of the requests, relative to the others"),
    Field("max_connections", CONNECTIONS, "1000", "open connections to it; requests beyond wait for timeouts.queue"),
    Field("backup", Flag(), "false", "it gets requests only while no other backend of its pool can take them"),
    Field("tls", BACKEND_TLS, "", "speak TLS to it; on: verified by the system's authorities and the host of the address"),
), check=checks.backend)  # fmt: skip

DISCOVER = Section(model.Discovery, (
    Field("dns", HostPort(), "", "name:port; each A and AAAA record of the name is a backend"),
    Field("srv", Text(r"(_[A-Za-z0-9-]{1,62}\._tcp(\.[A-Za-z0-9_-]{1,63})+)?", "write it like _http._tcp.example.org", "service"), "",
          "a service; each SRV record is a backend with its port and weight"),
    Field("file", File(), "", "a list of backends as in `backends`, in YAML or JSON; read again when it changes"),
    Field("interval", DURATION, "30s", "longest time between two looks; the TTL of records may be shorter"),
    Field("weight", WEIGHT, "1", "of each backend that DNS finds, unless SRV records say"),
    Field("max_connections", CONNECTIONS, "1000", "of each backend that DNS finds"),
    Field("tls", BACKEND_TLS, "", "speak TLS to those that DNS finds; their certificates must bear the name that was asked for, or tls.server_name"),
    Field("server", HostPort(), "", "the DNS server to ask, address:port; absent: those of /etc/resolv.conf"),
), on_demand=True, one_of=("dns", "srv", "file"), check=checks.discover)  # fmt: skip

STICKY = Section(model.Sticky, (
    Field("cookie", Text(TOKEN, "a token of 1 to 256 characters", "name"), None, "name of the cookie"),
    Field("secret", File(), None, "file of at least 16 bytes that sign it, the same for all balancers of the service"),
    Field("max_age", OPTIONAL, "off", "how long it holds; off: until the browser ends"),
), on_demand=True, check=checks.sticky)  # fmt: skip


def _load_balancer(hash_key: str, **others: Any) -> model.LoadBalancer:
    return model.LoadBalancer(hash_key=hash_key or "client", **others)


LOAD_BALANCER = Section(_load_balancer, (
    Field("algorithm", Choice("round-robin", "least-requests", "peak-ewma", "consistent-hash", "first"), "round-robin", "who gets a request"),
    Field("hash_key", Text(rf"(client|path|header:{TOKEN}|cookie:{TOKEN})?", "choices: client, path, header:NAME, cookie:NAME"), "",
          "what consistent-hash hashes; absent: client, its address", only=("algorithm", "consistent-hash")),
    Field("balance_factor", Number(1.01, 100), "1.25", "how far above the average consistent-hash may load a backend"),
    Field("slow_start", OPTIONAL, "off", "how long the share of a new or recovered backend takes to become whole"),
    Field("panic_threshold", Integer(0, 100), "50", "percent of healthy backends below which health is ignored; 0: never"),
    Field("sticky", STICKY, "", "clients come back to their backend by a signed cookie"),
))  # fmt: skip

_HTTP = ("type", "http")
HEALTH_CHECK = Section(model.HealthCheck, (
    Field("type", Choice("http", "tcp"), "http", "http: a request is answered as expected; tcp: the connection opens"),
    Field("method", Choice("GET", "HEAD", "OPTIONS"), "GET", "method of an http check", only=_HTTP),
    Field("path", RequestTarget(r"/[!-~]*", "an absolute path, printable ASCII without spaces", "path"), "/health",
          "what an http check asks for", only=_HTTP),
    Field("host", Text(r"([A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?)?",
          "write it like example.org or example.org:8080", "host"), "",
          "the Host of an http check; absent: the address", only=_HTTP),
    Field("expected_status", Statuses(), "200-399", "codes and ranges that pass", several=True, only=_HTTP),
    Field("expected_body", Text(r"[\s\S]{0,1024}", "at most 1024 characters"), "", "a text within the first 64 KiB of the body; empty: any body",
          only=_HTTP),
    Field("interval", DURATION, "10s", "pause between two checks, varied by 10 percent"),
    Field("timeout", DURATION, "3s", "how long a check may take"),
    Field("healthy_threshold", THRESHOLD, "2", "passed checks in a row that bring a backend back"),
    Field("unhealthy_threshold", THRESHOLD, "3", "failed checks in a row that take a backend out"),
), may_be_off=True, absent={"type": "tcp"}, check=checks.health_check)  # fmt: skip

OUTLIER_DETECTION = Section(model.OutlierDetection, (
    Field("consecutive_failures", THRESHOLD, "5", "failed requests in a row that eject a backend"),
    Field("error_percent", Integer(0, 100), "0", "share of failed requests that ejects a backend; 0: none does"),
    Field("minimum_requests", Integer(1, 1_000_000), "20", "requests within interval before error_percent is looked at"),
    Field("interval", DURATION, "10s", "over which error_percent is counted"),
    Field("base_ejection", DURATION, "30s", "length of the first ejection; the second in a row is twice as long, and so on"),
    Field("max_ejection", DURATION, "300s", "length of the longest"),
    Field("max_ejected_percent", Integer(1, 100), "50", "share of a pool that may be ejected at a time, but always one"),
), on_demand=True, may_be_off=True, check=checks.outlier_detection)  # fmt: skip

CIRCUIT_BREAKER = Section(model.CircuitBreaker, (
    Field("failure_threshold", THRESHOLD, "5", "failures in a row that open it: no response, or one of failing_status"),
    Field("success_threshold", THRESHOLD, "2", "successful probes that close it again"),
    Field("open_for", DURATION, "60s", "how long it keeps requests away before it lets probes through"),
), may_be_off=True)  # fmt: skip

RETRY = Section(model.Retry, (
    Field("max_attempts", Integer(1, 10), "3", "attempts for one request, the first included"),
    Field("backoff_base", DURATION, "100ms", "longest pause before the first retry; doubles for each further one; the real pause is random below it"),
    Field("backoff_max", DURATION, "5s", "longest pause at all"),
    Field("budget_percent", Integer(0, 100), "20", "retries at any moment, as a share of the requests in flight"),
    Field("budget_per_second", Integer(0, 100_000), "20", "retries that are allowed each second whatever budget_percent says"),
    Field("per_try_timeout", OPTIONAL, "off", "until the response to an attempt begins; off: timeouts.first_byte alone"),
    Field("on_status", Statuses(), "", "responses after which an idempotent request is tried again; absent: none", several=True),
), may_be_off=True, check=checks.retry)  # fmt: skip

PARTS = (
    Field("load_balancer", LOAD_BALANCER, "", "how requests are spread"),
    Field("failing_status", Statuses(), "502-504", "responses that outlier_detection and circuit_breaker count as failures", several=True),
    Field("health_check", HEALTH_CHECK, "", "active checks; absent: type tcp; off: none"),
    Field("outlier_detection", OUTLIER_DETECTION, "", "ejects backends by the outcome of requests; absent: never"),
    Field("circuit_breaker", CIRCUIT_BREAKER, "", "keeps requests from a failing backend; off: never"),
    Field("retry", RETRY, "", "repeats what may be repeated, on another backend if there is one; off: never"),
)
"""What each pool has. Said at the top level it holds for all pools; said in a pool it stands, as a whole, in place of that."""

POOL = Section(SimpleNamespace, (
    Field("name", NAME, None, "name in routes, metrics and logs"),
    Field("backends", BACKEND, "", "who answers the requests", many=True),
    Field("discover", DISCOVER, "", "where to look for more of them"),
    *(replace(part, inherited=True, doc=f"{part.doc.partition(';')[0]}; absent: as at the top level") for part in PARTS),
), any_of=("backends", "discover"))  # fmt: skip
