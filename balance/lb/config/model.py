"""What a configuration says, once read: frozen values. Durations are seconds, sizes are bytes."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or connect: a host and port, or the path of a Unix socket. An empty host means every interface."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Admin:
    listen: Address


@dataclass(frozen=True, slots=True)
class Pair:
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
    certificates: tuple[Pair, ...]
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
    name: str
    address: Address
    weight: int
    max_connections: int
    tls: BackendTls | None = None


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    algorithm: str


@dataclass(frozen=True, slots=True)
class HealthCheck:
    type: str
    path: str
    interval: float
    timeout: float
    healthy_threshold: int
    unhealthy_threshold: int


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    failure_threshold: int
    success_threshold: int
    open_for: float


@dataclass(frozen=True, slots=True)
class Retry:
    max_attempts: int
    backoff_base: float
    backoff_max: float
    budget_percent: int


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
    max_connections: int
    max_header_size: int
    max_headers: int
    max_request_line: int
    max_request_size: int


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


@dataclass(frozen=True, slots=True)
class Config:
    """One consistent configuration. `None` for a part means that it is switched off."""

    listen: tuple[Address, ...]
    tls: Tls | None
    workers: int
    admin: Admin
    backends: tuple[BackendConfig, ...]
    load_balancer: LoadBalancer
    health_check: HealthCheck | None
    circuit_breaker: CircuitBreaker | None
    retry: Retry | None
    timeouts: Timeouts
    limits: Limits
    forwarding: Forwarding
    metrics: Metrics
    log: Log
