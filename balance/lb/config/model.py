"""The values of a configuration: immutable dataclasses. Durations are in seconds, sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from balance.config.address import Address

MAX_BACKENDS = 1000
"""Maximum number of backends in all pools, including discovered ones."""
MAX_POOLS = 100
"""Maximum number of pools."""


@dataclass(frozen=True, slots=True)
class Admin:
    """The admin server. `token`: file with the token needed for changes; empty: changes only through a Unix socket."""

    listen: Address
    token: str = ""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Paths of a PEM certificate, optionally with its chain, and of its key."""

    certificate: str
    key: str

    def __str__(self) -> str:
        return self.certificate


@dataclass(frozen=True, slots=True)
class ClientAuth:
    """Mutual TLS. `mode`: "none", "optional" or "required". `ca`: PEM file of the authorities for client certificates."""

    mode: str
    ca: str


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS for clients. `min_version`: "1.2" or "1.3"."""

    listen: tuple[Address, ...]
    certificates: tuple[CertificateFiles, ...]
    min_version: str
    client_auth: ClientAuth


@dataclass(frozen=True, slots=True)
class BackendTls:
    """TLS to a backend. Empty `ca`: the system's authorities; `server_name`: the host of the address; `certificate`, `key`: no client certificate."""

    ca: str
    server_name: str
    verify: bool
    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class BackendConfig:
    """A backend. `backup`: it gets requests only when no other backend of its pool can."""

    name: str
    address: Address
    weight: int
    max_connections: int
    tls: BackendTls | None = None
    backup: bool = False

    @property
    def server_name(self) -> str | None:
        """The name that its certificate must have; None for a Unix socket without a configured name."""
        return (self.tls.server_name if self.tls else "") or self.address.host or None


@dataclass(frozen=True, slots=True)
class Sticky:
    """Sticky sessions by a signed cookie. `secret`: path of the file with the key. `max_age`: seconds, 0 for the browser's session."""

    cookie: str
    secret: str
    max_age: float


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """How requests are distributed.

    `hash_key`: "client", "path", "header:NAME" or "cookie:NAME". `balance_factor`: how far above the average consistent-hash may load a
    backend. `slow_start`: seconds, 0 for none. `panic_threshold`: percentage of healthy backends below which health is ignored, 0 for never.
    """

    algorithm: str
    hash_key: str = "client"
    balance_factor: float = 1.25
    slow_start: float = 0.0
    panic_threshold: int = 50
    sticky: Sticky | None = None


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Active health checks.

    `expected_status`: inclusive ranges. `expected_body`: text that the first 64 KiB of the body must contain, empty for any body. `host`:
    the Host header, empty for the address.
    """

    type: str
    path: str
    interval: float
    timeout: float
    healthy_threshold: int
    unhealthy_threshold: int
    method: str = "GET"
    expected_status: tuple[tuple[int, int], ...] = ((200, 399),)
    expected_body: str = ""
    host: str = ""


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """When failing requests take a backend out of rotation, see `balance.lb.policy.outlier`.

    After `consecutive_failures`, or `error_percent` of at least `minimum_requests` within `interval`. An ejection lasts `base_ejection` times
    the number of ejections in a row, at most `max_ejection`. At most `max_ejected_percent` of a pool at a time, but one always may.
    """

    consecutive_failures: int
    error_percent: int
    minimum_requests: int
    interval: float
    base_ejection: float
    max_ejection: float
    max_ejected_percent: int


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """When a backend gets no requests for `open_for` seconds, see `balance.lb.policy.breaker`."""

    failure_threshold: int
    success_threshold: int
    open_for: float


@dataclass(frozen=True, slots=True)
class Retry:
    """When failed requests are tried again, see `balance.lb.policy.retry`.

    `backoff_base`, `backoff_max`: longest first pause and longest pause. `budget_percent`: retries as a percentage of the requests in flight;
    `budget_per_second` retries are always allowed. `per_try_timeout`: seconds until the response to an attempt begins, 0 for
    `timeouts.first_byte` alone. `on_status`: inclusive ranges of statuses that are tried again.
    """

    max_attempts: int
    backoff_base: float
    backoff_max: float
    budget_percent: int
    budget_per_second: int = 20
    per_try_timeout: float = 0.0
    on_status: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Discovery:
    """Where the backends of a pool come from.

    One of `dns` (host and port, A and AAAA records), `srv` (a service name) and `file` (a watched list of backends in YAML or JSON).
    `weight`, `max_connections` and `tls` apply to backends found in DNS. `interval`: longest time between two updates, a shorter TTL of the
    records wins. `server`: the DNS server to ask, None for the system's.
    """

    dns: Address | None
    srv: str
    file: str
    interval: float
    weight: int
    max_connections: int
    tls: BackendTls | None
    server: Address | None = None

    @property
    def source(self) -> str:
        """The kind and name of the source, for people, for example "srv _http._tcp.example.org"."""
        kind = "dns" if self.dns else "srv" if self.srv else "file"
        return f"{kind} {self.dns or self.srv or self.file}"


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """A pool of interchangeable backends. A part that is None is switched off. `failing_status`: inclusive ranges of statuses that count as
    failures of the backend."""

    name: str
    backends: tuple[BackendConfig, ...]
    discover: Discovery | None
    load_balancer: LoadBalancer
    failing_status: tuple[tuple[int, int], ...]
    health_check: HealthCheck | None
    outlier_detection: OutlierDetection | None
    circuit_breaker: CircuitBreaker | None
    retry: Retry | None


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """Conditions of a route, all of which must be met.

    `hosts`: names without a port, in lower case; ``*.example.org`` for all subdomains; empty for any. `path`: a prefix of whole segments.
    `methods`: empty for any. `headers`: names in lower case with values, an empty value for any.
    """

    hosts: tuple[str, ...] = ()
    path: str = "/"
    methods: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Edits:
    """Header fields to remove, then to set (replacing existing ones), then to add, with names and values as sent."""

    remove: tuple[str, ...] = ()
    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A token bucket: `rate` requests per second, up to `burst` at once. `per`: "client" for one bucket per client address, or "route"."""

    rate: float
    burst: int
    per: str


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """Sends matching requests to a pool; the first matching route wins. `replace_prefix`: replaces the matched path prefix; None: no rewrite."""

    name: str
    match: RouteMatch
    pool: str
    replace_prefix: str | None = None
    request_headers: Edits = Edits()
    response_headers: Edits = Edits()
    rate_limit: RateLimit | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Time limits in seconds; the keys of `timeouts` describe them (`balance.lb.config.schema.TIMEOUTS`)."""

    request_header: float
    connect: float
    first_byte: float
    response_idle: float
    body_idle: float
    keep_alive: float
    queue: float
    tunnel: float
    shutdown: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits; sizes in bytes. `max_queue`: waiting requests per pool. `max_request_size`, `max_connections_per_client` and
    `max_requests_per_client`: 0 for no limit. `deny`: networks whose connections are closed at once."""

    max_connections: int
    max_header_size: int
    max_headers: int
    max_request_line: int
    max_request_size: int
    max_queue: int = 1000
    max_connections_per_client: int = 0
    max_requests_per_client: int = 0
    deny: tuple[IPv4Network | IPv6Network | str, ...] = ()


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Headers that tell backends about clients. `trusted_proxies`: networks, or "unix" for clients on a Unix socket."""

    x_forwarded: bool
    forwarded: bool
    via: str
    trusted_proxies: tuple[IPv4Network | IPv6Network | str, ...]


@dataclass(frozen=True, slots=True)
class Metrics:
    """Whether metrics are collected."""

    enabled: bool


@dataclass(frozen=True, slots=True)
class Log:
    """Events and access log. `traceparent`: "off", "keep" or "make"."""

    level: str
    format: str
    access: bool
    traceparent: str


@dataclass(frozen=True, slots=True)
class Config:
    """One consistent configuration, with all defaults.

    The short forms are expanded: `backends` are a pool named "default", and without `routes` there is one to the first pool. Names of backends
    are unique across pools. `workers` 0: one per processor. `watch_config`: reload the file when it changes.
    """

    listen: tuple[Address, ...]
    tls: Tls | None
    workers: int
    admin: Admin
    pools: tuple[PoolConfig, ...]
    routes: tuple[RouteConfig, ...]
    timeouts: Timeouts
    limits: Limits
    forwarding: Forwarding
    metrics: Metrics
    log: Log
    watch_config: bool = False

    @property
    def backends(self) -> tuple[BackendConfig, ...]:
        """The configured backends of all pools, without discovered ones."""
        return tuple(backend for pool in self.pools for backend in pool.backends)
