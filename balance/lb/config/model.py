"""What a configuration says, once read: frozen values. Durations are seconds, sizes are bytes."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from balance.config.address import Address

MAX_BACKENDS = 1000
"""Of all pools together, discovered ones included."""
MAX_POOLS = 100


@dataclass(frozen=True, slots=True)
class Admin:
    """`token`: the file that holds what callers must show to change anything; empty: nobody may, but by a Unix socket."""

    listen: Address
    token: str = ""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Files of a certificate, its chain perhaps after it, and of its key."""

    certificate: str
    key: str

    def __str__(self) -> str:
        return self.certificate


@dataclass(frozen=True, slots=True)
class ClientAuth:
    mode: str
    ca: str


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS for clients."""

    listen: tuple[Address, ...]
    certificates: tuple[CertificateFiles, ...]
    min_version: str
    client_auth: ClientAuth


@dataclass(frozen=True, slots=True)
class BackendTls:
    """TLS to a backend. An empty text: the system's authorities, the host of the address, no certificate of our own."""

    ca: str
    server_name: str
    verify: bool
    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class BackendConfig:
    """`backup`: it gets requests only when no other backend of its pool can."""

    name: str
    address: Address
    weight: int
    max_connections: int
    tls: BackendTls | None = None
    backup: bool = False

    @property
    def server_name(self) -> str | None:
        """The name that its certificate must bear; None for a Unix socket."""
        return (self.tls.server_name if self.tls else "") or self.address.host or None


@dataclass(frozen=True, slots=True)
class Sticky:
    """A client comes back to its backend by a cookie, signed with the secret in a file. `max_age` 0: for the browser's session."""

    cookie: str
    secret: str
    max_age: float


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """`hash_key`: "client", "path", "header:NAME" or "cookie:NAME". `balance_factor`: how far above the average a backend may be loaded
    before consistent-hash goes on to the next. `slow_start` in seconds, 0 for none. `panic_threshold` in percent: with fewer healthy
    backends health is ignored; 0 for never."""

    algorithm: str
    hash_key: str = "client"
    balance_factor: float = 1.25
    slow_start: float = 0.0
    panic_threshold: int = 50
    sticky: Sticky | None = None


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """`expected_status`: inclusive ranges. `expected_body`: a text that the first 64 KiB of the body must hold; empty for any. `host`: the
    Host to ask for; empty for the address."""

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
    """When the outcomes of requests take a backend out of rotation. `error_percent` of at least `minimum_requests` within `interval`; an
    ejection lasts `base_ejection` times the number of ejections in a row, at most `max_ejection`; at most `max_ejected_percent` of a pool at
    a time, but always one."""

    consecutive_failures: int
    error_percent: int
    minimum_requests: int
    interval: float
    base_ejection: float
    max_ejection: float
    max_ejected_percent: int


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    failure_threshold: int
    success_threshold: int
    open_for: float


@dataclass(frozen=True, slots=True)
class Retry:
    """`budget_percent` of the requests in flight, but `budget_per_second` retries each second are always allowed. `per_try_timeout`: until
    an attempt's response begins, 0 for `timeouts.first_byte` alone. `on_status`: inclusive ranges of statuses that are tried again."""

    max_attempts: int
    backoff_base: float
    backoff_max: float
    budget_percent: int
    budget_per_second: int = 20
    per_try_timeout: float = 0.0
    on_status: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Discovery:
    """Where the backends of a pool come from: one of `dns` (host and port, A and AAAA records), `srv` (a service's name) or `file` (a list
    of backends in YAML or JSON, watched). `weight`, `max_connections` and `tls` hold for what DNS finds; `interval` is the longest
    between two looks, the records' own TTL may be shorter. `server`: the DNS server to ask, None for the system's."""

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
        """In words."""
        kind = "dns" if self.dns else "srv" if self.srv else "file"
        return f"{kind} {self.dns or self.srv or self.file}"


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """Backends that can do the same. `None` for a part means that it is switched off. `failing_status`: inclusive ranges of statuses that count
    as failures of the backend."""

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
    """All that is given must hold. `hosts`: names without a port, in lower case; ``*.example.org`` for all below it. `path`: a prefix, by whole
    segments. `headers`: name in lower case and value, an empty value for any."""

    hosts: tuple[str, ...] = ()
    path: str = "/"
    methods: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Edits:
    """Header fields to remove, then to set (in place of those that are there), then to add. Names and values as they are to be sent."""

    remove: tuple[str, ...] = ()
    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A token bucket: `rate` requests per second, up to `burst` at once; one for each client address where `per` is "client"."""

    rate: float
    burst: int
    per: str


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """Requests that match go to a pool; the first route that matches wins. `replace_prefix` stands in for the matched path, None: as it is."""

    name: str
    match: RouteMatch
    pool: str
    replace_prefix: str | None = None
    request_headers: Edits = Edits()
    response_headers: Edits = Edits()
    rate_limit: RateLimit | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
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
    """`max_queue`: requests that may wait for a backend with room, in each pool. Per client address: open connections and requests in flight,
    0 for no limit. `deny`: networks whose connections are closed at once."""

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
    """`trusted_proxies`: networks, and the word "unix" for whoever comes by a Unix socket."""

    x_forwarded: bool
    forwarded: bool
    via: str
    trusted_proxies: tuple[IPv4Network | IPv6Network | str, ...]


@dataclass(frozen=True, slots=True)
class Metrics:
    enabled: bool


@dataclass(frozen=True, slots=True)
class Log:
    level: str
    format: str
    access: bool
    traceparent: str


@dataclass(frozen=True, slots=True)
class Config:
    """One consistent configuration: what the file says, with every default. Without `pools` in it, its `backends` make one pool named
    "default"; without `routes`, everything goes to the first pool. Names of backends are unique over all pools. `workers` 0: as many as there
    are processors. `watch_config`: the file is read anew when it changes."""

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
        """The configured backends of all pools; discovered ones come on top."""
        return tuple(backend for pool in self.pools for backend in pool.backends)
