"""The keys of the configuration as data: name, kind, default and description. Pools and routes are in `pools` and `routes`."""

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
    Field("certificate", File(), None, "PEM file with the certificate, then its chain; relative paths start at the configuration file's folder"),
    Field("key", File(), None, "PEM file of its unencrypted private key"),
), check=checks.certificate_files)  # fmt: skip

CLIENT_AUTH = Section(model.ClientAuth, (
    Field("mode", Choice("none", "optional", "required"), "none", "whether clients may or must present a certificate"),
    Field("ca", File(), "", "PEM file of the authorities that must have signed client certificates"),
), check=checks.client_auth)  # fmt: skip

TLS = Section(model.Tls, (
    Field("listen", Endpoint(listening=True), None, "where clients connect with TLS", several=True),
    Field("certificates", PAIR, None, "selected by SNI and their DNS names; the first one if no name matches", many=True),
    Field("min_version", Choice("1.2", "1.3"), "1.2", "oldest accepted version of TLS"),
    Field("client_auth", CLIENT_AUTH, "", "mutual TLS"),
), on_demand=True)  # fmt: skip

ADMIN = Section(model.Admin, (
    Field("listen", Endpoint(listening=True), "127.0.0.1:9090", "address of /metrics, /ready, /status, /config and others, see /openapi.json"),
    Field("token", File(), "", "file with a token of at least 16 bytes, needed for changes; absent: changes only through a Unix socket"),
), check=checks.secret_in("token"))  # fmt: skip

TIMEOUTS = Section(model.Timeouts, (
    Field("request_header", DURATION, "10s", "time until the whole head of a request has arrived"),
    Field("connect", DURATION, "5s", "time until a backend has accepted a connection"),
    Field("first_byte", DURATION, "30s", "time from the end of the request until the response begins"),
    Field("response_idle", DURATION, "30s", "maximum pause within a response from the backend"),
    Field("body_idle", DURATION, "30s", "maximum pause while a client sends or receives a body"),
    Field("keep_alive", DURATION, "60s", "maximum idle time of a client connection between requests"),
    Field("queue", DURATION, "5s", "maximum wait of a request while all backends are at max_connections"),
    Field("tunnel", DURATION, "1h", "maximum idle time of an upgraded connection (WebSocket and others)"),
    Field("shutdown", DURATION, "30s", "time for requests in flight to finish after SIGTERM"),
))  # fmt: skip

LIMITS = Section(model.Limits, (
    Field("max_connections", Integer(1, 1_000_000), "10000", "maximum open client connections; further ones get 503"),
    Field("max_header_size", Size(1024, 2**20), "32KiB", "maximum size of the head of a request (431) or response (502)"),
    Field("max_headers", Integer(1, 10_000), "128", "maximum header fields of a request (431) or response (502)"),
    Field("max_request_line", Size(64, 2**20), "16KiB", "maximum length of the request line (414)"),
    Field("max_request_size", Size(), "0", "maximum size of a request body (413); 0: no limit"),
    Field("max_queue", Integer(0, 1_000_000), "1000", "maximum requests of each pool that wait for a backend; further ones get 503"),
    Field("max_connections_per_client", Integer(0, 1_000_000), "0", "maximum open connections of a client address; 0: no limit"),
    Field("max_requests_per_client", Integer(0, 1_000_000), "0", "maximum requests in flight of a client address (429); 0: no limit"),
    Field("deny", Network(), "", "networks of clients whose connections are closed at once", several=True),
))  # fmt: skip

FORWARDING = Section(model.Forwarding, (
    Field("x_forwarded", Flag(), "true", "send X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host to backends"),
    Field("forwarded", Flag(), "false", "send Forwarded (RFC 7239) to backends"),
    Field("via", Text(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64})?", "a token of 1 to 64 characters", "name"), "",
          "name in the Via header, both ways; empty: no Via"),
    Field("trusted_proxies", Network(), "", "proxies whose forwarding headers are trusted and extended", several=True),
))  # fmt: skip

METRICS = Section(model.Metrics, (
    Field("enabled", Flag(), "true", "collect metrics; if false, /metrics answers 404"),
))  # fmt: skip

LOG = Section(model.Log, (
    Field("level", Choice("debug", "info", "warning", "error"), "info", "lowest level of events to log, on stderr"),
    Field("format", Choice("json", "text"), "json", "format of the lines for events and requests"),
    Field("access", Flag(), "true", "one line per request, on stdout"),
    Field("traceparent", Choice("off", "keep", "make"), "keep", "keep: valid trace ids are in the access log and on the histogram of durations; "
          "make: also start a trace for requests without one; off: ignore the header"),
))  # fmt: skip


def _config(
    *, backends: tuple[model.BackendConfig, ...], pools: tuple[SimpleNamespace, ...], routes: tuple[model.RouteConfig, ...], **others: Any
) -> model.Config:
    """Expand the short forms: one pool of all backends, one route to the first pool, and in each pool the top-level parts that it does not set."""
    parts = {part.key: others.pop(part.key) for part in PARTS}
    stated = [vars(pool) for pool in pools] or [{"name": "default", "backends": backends, "discover": None}]
    full = tuple(model.PoolConfig(**{**parts, **pool}) for pool in stated)
    return model.Config(pools=full, routes=routes or (model.RouteConfig("default", model.RouteMatch(), full[0].name),), **others)


CONFIG = Section(_config, (
    Field("listen", Endpoint(listening=True), "", "where clients connect; optional with tls.listen", several=True),
    Field("tls", TLS, "", "TLS for clients"),
    Field("workers", WorkerCount(), "1", "number of worker processes; auto: one per processor"),
    Field("watch_config", Flag(), "false", "reload this file when it changes, as on SIGHUP"),
    Field("admin", ADMIN, "", "the admin server"),
    Field("backends", BACKEND, "", "the backends; short for one pool named default", many=True),
    Field("pools", POOL, "", "groups of interchangeable backends", many=True),
    Field("routes", ROUTE, "", "which requests go to which pool, the first match wins; absent: all to the first pool", many=True),
    *PARTS,
    Field("timeouts", TIMEOUTS, "", "time limits"),
    Field("limits", LIMITS, "", "limits on connections, requests and sizes"),
    Field("forwarding", FORWARDING, "", "headers that tell backends about clients"),
    Field("metrics", METRICS, "", "the admin server's /metrics"),
    Field("log", LOG, "", "events and access log"),
), any_of=("listen", "tls"), one_of=("backends", "pools"), check=checks.config, check_keys=("backends", "pools", "routes"))  # fmt: skip


def json_schema() -> dict[str, Any]:
    """The JSON Schema 2020-12 of the configuration file, for editors and other programs."""
    return schema.json_schema(CONFIG, "Configuration of balance serve")
