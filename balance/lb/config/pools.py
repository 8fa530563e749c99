"""The keys of pools: backends, how they are found, chosen, checked and protected."""

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
    Field("ca", File(), "", "PEM file of the trusted authorities; absent: the system's"),
    Field("server_name", Text(r"([A-Za-z0-9][A-Za-z0-9.:_-]{0,252})?", "a host name or an IP address", "host"), "",
          "name that its certificate must have, also sent as SNI; absent: the host of the address"),
    Field("verify", Flag(), "true", "verify its certificate; false only for experiments"),
    Field("certificate", File(), "", "PEM file of a client certificate, for backends that require one"),
    Field("key", File(), "", "PEM file of its private key"),
), on_demand=True, may_be_off=True, check=checks.backend_tls)  # fmt: skip

BACKEND = Section(model.BackendConfig, (
    Field("name", NAME, None, "name in metrics and logs"),
    Field("address", Endpoint(listening=False), None, "where it serves HTTP/1.1"),
    Field("weight", WEIGHT, "1", "share of the requests, relative to the other backends"),
    Field("max_connections", CONNECTIONS, "1000", "maximum open connections to it; further requests wait up to timeouts.queue"),
    Field("backup", Flag(), "false", "gets requests only while no other backend of its pool can take them"),
    Field("tls", BACKEND_TLS, "", "use TLS; on: verified with the system's authorities and the host of the address"),
), check=checks.backend)  # fmt: skip

DISCOVER = Section(model.Discovery, (
    Field("dns", HostPort(), "", "name:port; each A and AAAA record of the name becomes a backend"),
    Field("srv", Text(r"(_[A-Za-z0-9-]{1,62}\._tcp(\.[A-Za-z0-9_-]{1,63})+)?", "write it like _http._tcp.example.org", "service"), "",
          "a service name; each SRV record becomes a backend with its port and weight"),
    Field("file", File(), "", "YAML or JSON file with a list of backends as in `backends`; read again when it changes"),
    Field("interval", DURATION, "30s", "longest time between two updates; a shorter TTL of the records wins"),
    Field("weight", WEIGHT, "1", "weight of each backend found in DNS, unless SRV records have one"),
    Field("max_connections", CONNECTIONS, "1000", "max_connections of each backend found in DNS"),
    Field("tls", BACKEND_TLS, "", "use TLS for backends found in DNS; certificates must have the looked-up name or tls.server_name"),
    Field("server", HostPort(), "", "DNS server to ask, address:port; absent: those of /etc/resolv.conf"),
), on_demand=True, one_of=("dns", "srv", "file"), check=checks.discover)  # fmt: skip

STICKY = Section(model.Sticky, (
    Field("cookie", Text(TOKEN, "a token of 1 to 256 characters", "name"), None, "name of the cookie"),
    Field("secret", File(), None, "file with the key that signs it, at least 16 bytes, the same for all load balancers of the service"),
    Field("max_age", OPTIONAL, "off", "lifetime of the cookie; off: until the browser is closed"),
), on_demand=True, check=checks.sticky)  # fmt: skip


def _load_balancer(hash_key: str, **others: Any) -> model.LoadBalancer:
    return model.LoadBalancer(hash_key=hash_key or "client", **others)


LOAD_BALANCER = Section(_load_balancer, (
    Field("algorithm", Choice("round-robin", "least-requests", "peak-ewma", "consistent-hash", "first"), "round-robin", "how a backend is chosen"),
    Field("hash_key", Text(rf"(client|path|header:{TOKEN}|cookie:{TOKEN})?", "choices: client, path, header:NAME, cookie:NAME"), "",
          "what consistent-hash hashes; absent: client, the client's address", only=("algorithm", "consistent-hash")),
    Field("balance_factor", Number(1.01, 100), "1.25", "how far above the average consistent-hash may load a backend"),
    Field("slow_start", OPTIONAL, "off", "time until a new or recovered backend gets its full share of requests"),
    Field("panic_threshold", Integer(0, 100), "50", "percent of healthy backends below which health is ignored; 0: never"),
    Field("sticky", STICKY, "", "send clients back to their backend with a signed cookie"),
))  # fmt: skip

_HTTP = ("type", "http")
HEALTH_CHECK = Section(model.HealthCheck, (
    Field("type", Choice("http", "tcp"), "http", "http: a request gets the expected response; tcp: a connection can be opened"),
    Field("method", Choice("GET", "HEAD", "OPTIONS"), "GET", "method of an http check", only=_HTTP),
    Field("path", RequestTarget(r"/[!-~]*", "an absolute path, printable ASCII without spaces", "path"), "/health",
          "path of an http check", only=_HTTP),
    Field("host", Text(r"([A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?)?",
          "write it like example.org or example.org:8080", "host"), "",
          "Host header of an http check; absent: the address", only=_HTTP),
    Field("expected_status", Statuses(), "200-399", "status codes and ranges that pass", several=True, only=_HTTP),
    Field("expected_body", Text(r"[\s\S]{0,1024}", "at most 1024 characters"), "", "text in the first 64 KiB of the body; empty: any body",
          only=_HTTP),
    Field("interval", DURATION, "10s", "pause between two checks, varied by 10 %"),
    Field("timeout", DURATION, "3s", "maximum duration of a check"),
    Field("healthy_threshold", THRESHOLD, "2", "passed checks in a row until a backend is healthy"),
    Field("unhealthy_threshold", THRESHOLD, "3", "failed checks in a row until a backend is unhealthy"),
), may_be_off=True, absent={"type": "tcp"}, check=checks.health_check)  # fmt: skip

OUTLIER_DETECTION = Section(model.OutlierDetection, (
    Field("consecutive_failures", THRESHOLD, "5", "failed requests in a row that eject a backend"),
    Field("error_percent", Integer(0, 100), "0", "percentage of failed requests that ejects a backend; 0: never"),
    Field("minimum_requests", Integer(1, 1_000_000), "20", "minimum requests within interval for error_percent to apply"),
    Field("interval", DURATION, "10s", "period over which error_percent is counted"),
    Field("base_ejection", DURATION, "30s", "duration of the first ejection; the second in a row lasts twice as long, and so on"),
    Field("max_ejection", DURATION, "300s", "longest duration of an ejection"),
    Field("max_ejected_percent", Integer(1, 100), "50", "percentage of a pool that may be ejected at a time; one backend always may"),
), on_demand=True, may_be_off=True, check=checks.outlier_detection)  # fmt: skip

CIRCUIT_BREAKER = Section(model.CircuitBreaker, (
    Field("failure_threshold", THRESHOLD, "5", "failures in a row that open it: no response, or a status in failing_status"),
    Field("success_threshold", THRESHOLD, "2", "successful probes that close it again"),
    Field("open_for", DURATION, "60s", "time without requests before it lets probes through"),
), may_be_off=True)  # fmt: skip

RETRY = Section(model.Retry, (
    Field("max_attempts", Integer(1, 10), "3", "maximum attempts for one request, including the first"),
    Field("backoff_base", DURATION, "100ms", "longest pause before the first retry, doubled for each further one; the actual pause is random"),
    Field("backoff_max", DURATION, "5s", "longest pause before any retry"),
    Field("budget_percent", Integer(0, 100), "20", "maximum retries in progress, as a percentage of the requests in flight"),
    Field("budget_per_second", Integer(0, 100_000), "20", "retries allowed per second in addition to budget_percent"),
    Field("per_try_timeout", OPTIONAL, "off", "time until the response to an attempt begins; off: only timeouts.first_byte applies"),
    Field("on_status", Statuses(), "", "statuses after which an idempotent request is tried again; absent: none", several=True),
), may_be_off=True, check=checks.retry)  # fmt: skip

PARTS = (
    Field("load_balancer", LOAD_BALANCER, "", "how requests are distributed"),
    Field("failing_status", Statuses(), "502-504", "statuses that outlier_detection and circuit_breaker count as failures", several=True),
    Field("health_check", HEALTH_CHECK, "", "active checks; absent: type tcp; off: none"),
    Field("outlier_detection", OUTLIER_DETECTION, "", "ejects backends whose requests fail; absent: never"),
    Field("circuit_breaker", CIRCUIT_BREAKER, "", "keeps requests away from a failing backend; off: never"),
    Field("retry", RETRY, "", "tries failed requests again if that is safe, preferably on another backend; off: never"),
)
"""Keys of each pool. At the top level they apply to all pools; in a pool they replace the top-level value as a whole."""

POOL = Section(SimpleNamespace, (
    Field("name", NAME, None, "name in routes, metrics and logs"),
    Field("backends", BACKEND, "", "the backends of the pool", many=True),
    Field("discover", DISCOVER, "", "where to find more backends"),
    *(replace(part, inherited=True, doc=f"{part.doc.partition(';')[0]}; absent: as at the top level") for part in PARTS),
), any_of=("backends", "discover"))  # fmt: skip
