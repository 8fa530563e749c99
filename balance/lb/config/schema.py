"""The keys of the configuration as data: name, kind, default and meaning of each. Those of pools and routes have files of their own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from balance.config import schema
from balance.config.address import Endpoint
from balance.config.kinds import Choice, File, Flag, Integer, Size, Text
from balance.config.schema import Field, Section
from balance.lb.config import checks, model
from balance.lb.config.netkinds import Network, WorkerCount
from balance.lb.config.pools import BACKEND, DURATION, PARTS, POOL
from balance.lb.config.routes import ROUTE

PAIR = Section(model.CertificateFiles, (
    Field("certificate", File(), None, "PEM file, its chain after it; a relative path starts at the configuration file's folder"),
    Field("key", File(), None, "PEM file of its private key, not encrypted"),
), check=checks.pair)  # fmt: skip

CLIENT_AUTH = Section(model.ClientAuth, (
    Field("mode", Choice("none", "optional", "required"), "none", "whether clients may or must show a certificate"),
    Field("ca", File(), "", "PEM file of the authorities that clients' certificates must come from"),
), check=checks.client_auth)  # fmt: skip

TLS = Section(model.Tls, (
    Field("listen", Endpoint(listening=True), None, "where clients connect with TLS", several=True),
    Field("certificates", PAIR, None, "chosen by SNI among the DNS names in them; the first where none fits", many=True),
    Field("min_version", Choice("1.2", "1.3"), "1.2", "oldest version of TLS that is spoken"),
    Field("client_auth", CLIENT_AUTH, "", "mutual TLS"),
), on_demand=True)  # fmt: skip

ADMIN = Section(model.Admin, (
    Field("listen", Endpoint(listening=True), "127.0.0.1:9090", "where /metrics, /ready, /status, /config and others answer: see /openapi.json"),
    Field("token", File(), "", "file of at least 16 bytes that whoever changes anything must show, but for a Unix socket; without it none else may"),
), check=checks.secret_in("token"))  # fmt: skip

TIMEOUTS = Section(model.Timeouts, (
    Field("request_header", DURATION, "10s", "until the whole head of a request has arrived"),
    Field("connect", DURATION, "5s", "until a backend has accepted a connection"),
    Field("first_byte", DURATION, "30s", "from the end of the request until the backend begins to answer"),
    Field("response_idle", DURATION, "30s", "between two pieces of a response from the backend"),
    Field("body_idle", DURATION, "30s", "how long a client may neither send nor take a byte of a body"),
    Field("keep_alive", DURATION, "60s", "how long a client connection may be idle between requests"),
    Field("queue", DURATION, "5s", "how long a request waits while all backends are at max_connections"),
    Field("tunnel", DURATION, "1h", "how long an upgraded connection (WebSocket and others) may be idle in both directions"),
    Field("shutdown", DURATION, "30s", "how long requests in flight may take after SIGTERM"),
))  # fmt: skip

LIMITS = Section(model.Limits, (
    Field("max_connections", Integer(1, 1_000_000), "10000", "open client connections; further ones get 503"),
    Field("max_header_size", Size(1024, 2**20), "32KiB", "head of a request (431) or response (502)"),
    Field("max_headers", Integer(1, 10_000), "128", "header fields of a request (431) or response (502)"),
    Field("max_request_line", Size(64, 2**20), "16KiB", "first line of a request (414)"),
    Field("max_request_size", Size(), "0", "body of a request (413); 0: no limit"),
    Field("max_queue", Integer(0, 1_000_000), "1000", "requests of each pool that may wait for a backend with room; further ones get 503"),
    Field("max_connections_per_client", Integer(0, 1_000_000), "0", "open connections of one client address; 0: no limit"),
    Field("max_requests_per_client", Integer(0, 1_000_000), "0", "requests in flight of one client address (429); 0: no limit"),
    Field("deny", Network(), "", "clients whose connections are closed at once", several=True),
))  # fmt: skip

FORWARDING = Section(model.Forwarding, (
    Field("x_forwarded", Flag(), "true", "tell backends X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host"),
    Field("forwarded", Flag(), "false", "tell backends Forwarded (RFC 7239)"),
    Field("via", Text(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64})?", "a token of 1 to 64 characters", "name"), "",
          "our name in Via, both ways; none if empty"),
    Field("trusted_proxies", Network(), "", "whose statements about clients are believed and passed on with ours appended", several=True),
))  # fmt: skip

METRICS = Section(model.Metrics, (
    Field("enabled", Flag(), "true", "count and time; if not, /metrics answers 404"),
))  # fmt: skip

LOG = Section(model.Log, (
    Field("level", Choice("debug", "info", "warning", "error"), "info", "least severe event to log, on stderr"),
    Field("format", Choice("json", "text"), "json", "one line per event and request in this form"),
    Field("access", Flag(), "true", "one line per request, on stdout"),
    Field("traceparent", Choice("off", "keep", "make"), "keep", "keep: the trace id of requests with a valid one is in the access log and on the "
          "histogram of durations; make: other requests begin a new trace; off: a header like any other"),
))  # fmt: skip


def _config(
    *, backends: tuple[model.BackendConfig, ...], pools: tuple[SimpleNamespace, ...], routes: tuple[model.RouteConfig, ...], **others: Any
) -> model.Config:
    """The short forms written out: one pool of all backends, one route to the first pool; in each pool the parts that it doesn't state itself."""
    parts = {part.key: others.pop(part.key) for part in PARTS}
    stated = [vars(pool) for pool in pools] or [{"name": "default", "backends": backends, "discover": None}]
    full = tuple(model.PoolConfig(**{**parts, **pool}) for pool in stated)
    return model.Config(pools=full, routes=routes or (model.RouteConfig("default", model.RouteMatch(), full[0].name),), **others)


CONFIG = Section(_config, (
    Field("listen", Endpoint(listening=True), "", "where clients connect, unless there is tls.listen", several=True),
    Field("tls", TLS, "", "TLS for clients"),
    Field("workers", WorkerCount(), "1", "worker processes; auto: one for each processor"),
    Field("watch_config", Flag(), "false", "read this file anew when it changes, as at SIGHUP"),
    Field("admin", ADMIN, "", "the admin server"),
    Field("backends", BACKEND, "", "who answers the requests: short for one pool named default", many=True),
    Field("pools", POOL, "", "groups of backends that can do the same", many=True),
    Field("routes", ROUTE, "", "which requests go to which pool, the first that matches wins; absent: everything to the first pool", many=True),
    *PARTS,
    Field("timeouts", TIMEOUTS, "", "how long anything may take"),
    Field("limits", LIMITS, "", "how much anything may be"),
    Field("forwarding", FORWARDING, "", "what backends are told about clients"),
    Field("metrics", METRICS, "", "the admin server's /metrics"),
    Field("log", LOG, "", "what is written where"),
), any_of=("listen", "tls"), one_of=("backends", "pools"), check=checks.config, about=("backends", "pools", "routes"))  # fmt: skip


def json_schema() -> dict[str, Any]:
    """The configuration file as JSON Schema 2020-12, for editors and other programs."""
    return schema.json_schema(CONFIG, "Configuration of balance serve")
