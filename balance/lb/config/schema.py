"""The keys of the configuration as data: name, kind, default and meaning of each. Reader, JSON Schema and environment follow it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from balance.lb.config import checks, model
from balance.lb.config.checks import Check
from balance.lb.config.kinds import Choice, Duration, Endpoint, File, Flag, Integer, Kind, Network, Size, Text, Workers
from balance.record import Record


class Field(Record):
    """One key. `default` is a text of its kind, or ``None`` if the key is required, `unless` that other key is there.

    `many`: a list. `several`: one value or a list. `later`: known to the contract, refused by this version.
    """

    key: str
    kind: Kind | Section
    default: str | None
    doc: str
    many: bool = False
    several: bool = False
    later: bool = False
    unless: str = ""


class Section(Record):
    """A mapping of keys that becomes `make(**values)`; ``off`` instead of it becomes ``None`` where `may_be_off`.

    Not mentioned at all, it has its defaults, of which `absent` replaces some, or is ``None`` where `on_demand`; ``on`` is then short
    for an empty mapping.
    """

    make: Callable[..., Any]
    fields: tuple[Field, ...]
    may_be_off: bool = False
    on_demand: bool = False
    absent: Mapping[str, str] = {}
    check: Check = checks.nothing


def _later(key: str, doc: str) -> Field:
    return Field(key, Choice(), "", doc, later=True)


DURATION = Duration()
THRESHOLD = Integer(1, 1000)
TOKEN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"  # noqa: S105 -- a pattern

PAIR = Section(model.Pair, (
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

BACKEND_TLS = Section(model.BackendTls, (
    Field("ca", File(), "", "PEM file of the authorities to trust; absent: the system's"),
    Field("server_name", Text(r"([A-Za-z0-9][A-Za-z0-9.:_-]{0,252})?", "a host name or an IP address"), "", "the name its certificate must bear, "
          "and that is asked for by SNI; absent: the host of the address"),
    Field("verify", Flag(), "true", "whether its certificate is verified; false is for experiments"),
    Field("certificate", File(), "", "PEM file of our own certificate, for a backend that asks for one"),
    Field("key", File(), "", "PEM file of its private key"),
), on_demand=True, may_be_off=True, check=checks.backend_tls)  # fmt: skip

BACKEND = Section(model.BackendConfig, (
    Field("name", Text(TOKEN, "1 to 63 letters, digits, dots, dashes or underscores"), None, "name in metrics and logs"),
    Field("address", Endpoint(listening=False), None, "where it answers HTTP/1.1"),
    Field("weight", Integer(1, 1000), "1", "share of the requests, relative to the others"),
    Field("max_connections", Integer(1, 1_000_000), "1000", "open connections to it; requests beyond wait for timeouts.queue"),
    Field("tls", BACKEND_TLS, "", "speak TLS to it; on: verified by the system's authorities and the host of the address"),
), check=checks.backend)  # fmt: skip

ADMIN = Section(model.Admin, (
    Field("listen", Endpoint(listening=True), "127.0.0.1:9090", "where /metrics, /health, /ready, /status and /version answer"),
))  # fmt: skip

LOAD_BALANCER = Section(model.LoadBalancer, (
    Field("algorithm", Choice("round-robin", later=("least-requests", "peak-ewma", "consistent-hash", "first")), "round-robin", "who gets a request"),
    _later("hash_key", "what consistent-hash hashes"),
))  # fmt: skip

HEALTH_CHECK = Section(model.HealthCheck, (
    Field("type", Choice("http", "tcp"), "http", "http: GET answered with 200 to 399; tcp: the connection opens"),
    Field("path", Text(r"/[!-~]*", "an absolute path, printable ASCII without spaces"), "/health", "what an http check asks for"),
    Field("interval", DURATION, "10s", "pause between two checks, varied by 10 percent"),
    Field("timeout", DURATION, "3s", "how long a check may take"),
    Field("healthy_threshold", THRESHOLD, "2", "passed checks in a row that bring a backend back"),
    Field("unhealthy_threshold", THRESHOLD, "3", "failed checks in a row that take a backend out"),
), may_be_off=True, absent={"type": "tcp"})  # fmt: skip

CIRCUIT_BREAKER = Section(model.CircuitBreaker, (
    Field("failure_threshold", THRESHOLD, "5", "failures in a row that open it: no response, or 502, 503, 504"),
    Field("success_threshold", THRESHOLD, "2", "successful probes that close it again"),
    Field("open_for", DURATION, "60s", "how long it keeps requests away before it lets probes through"),
), may_be_off=True)  # fmt: skip

RETRY = Section(model.Retry, (
    Field("max_attempts", Integer(1, 10), "3", "attempts for one request, the first included"),
    Field("backoff_base", DURATION, "100ms", "longest pause before the first retry; doubles for each further one; the real pause is random below it"),
    Field("backoff_max", DURATION, "5s", "longest pause at all"),
    Field("budget_percent", Integer(0, 100), "20", "retries at any moment, as a share of the requests in flight; 3 are always allowed"),
), may_be_off=True, check=checks.retry)  # fmt: skip

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
))  # fmt: skip

FORWARDING = Section(model.Forwarding, (
    Field("x_forwarded", Flag(), "true", "tell backends X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host"),
    Field("forwarded", Flag(), "false", "tell backends Forwarded (RFC 7239)"),
    Field("via", Text(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64})?", "a token of 1 to 64 characters"), "", "our name in Via, both ways; none if empty"),
    Field("trusted_proxies", Network(), "", "whose statements about clients are believed and passed on with ours appended", several=True),
))  # fmt: skip

METRICS = Section(model.Metrics, (
    Field("enabled", Flag(), "true", "count and time; if not, /metrics answers 404"),
))  # fmt: skip

LOG = Section(model.Log, (
    Field("level", Choice("debug", "info", "warning", "error"), "info", "least severe event to log, on stderr"),
    Field("format", Choice("json", "text"), "json", "one line per event and request in this form"),
    Field("access", Flag(), "true", "one line per request, on stdout"),
))  # fmt: skip

CONFIG = Section(model.Config, (
    Field("listen", Endpoint(listening=True), None, "where clients connect, unless there is tls.listen", several=True, unless="tls"),
    Field("tls", TLS, "", "TLS for clients"),
    Field("workers", Workers(), "1", "worker processes"),
    Field("admin", ADMIN, "", "the admin server"),
    Field("backends", BACKEND, None, "who answers the requests", many=True),
    Field("load_balancer", LOAD_BALANCER, "", "how requests are spread"),
    Field("health_check", HEALTH_CHECK, "", "active checks; absent: type tcp; off: none"),
    Field("circuit_breaker", CIRCUIT_BREAKER, "", "keeps requests from a failing backend; off: never"),
    Field("retry", RETRY, "", "repeats what may be repeated, on another backend if there is one; off: never"),
    Field("timeouts", TIMEOUTS, "", "how long anything may take"),
    Field("limits", LIMITS, "", "how much anything may be"),
    Field("forwarding", FORWARDING, "", "what backends are told about clients"),
    Field("metrics", METRICS, "", "the admin server's /metrics"),
    Field("log", LOG, "", "what is written where"),
    _later("pools", "several groups of backends"),
    _later("routes", "which requests go to which pool"),
))  # fmt: skip


def json_schema() -> dict[str, Any]:
    """The configuration file as JSON Schema 2020-12, for editors and other programs."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Configuration of balance serve", **_object(CONFIG)}


def _object(section: Section) -> dict[str, Any]:
    either = {"anyOf": [{"required": [key]} for field in section.fields if field.unless for key in (field.key, field.unless)]}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [field.key for field in section.fields if field.default is None and not field.unless],
        "properties": {field.key: _property(field) for field in section.fields if not field.later},
        **(either if either["anyOf"] else {}),
    }


def _property(field: Field) -> dict[str, Any]:
    kind = field.kind
    form = _object(kind) if isinstance(kind, Section) else kind.schema()
    if isinstance(kind, Section) and kind.may_be_off:
        form = {"anyOf": [form, {"type": "boolean"} if kind.on_demand else {"const": False}]}
    if field.many:
        form = {"type": "array", "minItems": 1, "items": form}
    if field.several:
        form = {"anyOf": [form, {"type": "array", "minItems": 1, "items": form}]}
    note = f" (default {field.default})" if field.default else ""
    return {"description": field.doc + note, **form}
