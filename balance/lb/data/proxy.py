"""The state that outlives configurations: connections, counts, the clock, and the active configuration."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from math import inf
from weakref import WeakSet

from balance.instruments import Instruments
from balance.lb.config import Config
from balance.lb.config.files import FileError, read_secret
from balance.lb.config.model import BackendConfig
from balance.lb.data.accesslog import AccessLog
from balance.lb.data.activeconfig import ActiveConfig
from balance.lb.data.backend import Backend
from balance.lb.data.client import Client
from balance.lb.data.clock import TICK, Clock
from balance.lb.data.fastheads import FORGET_SECONDS
from balance.lb.data.keyring import Keyring
from balance.lb.data.meters import BackendMeters, DisabledMeters, Meters, PoolMeters
from balance.lb.data.pool import Pool
from balance.lb.data.tls import TlsTransport
from balance.lb.data.tunnel import Tunnel
from balance.lb.errors import StartError
from balance.lb.logs import EventLog
from balance.lb.policy.discovery import admitted
from balance.lb.policy.faults import Fault
from balance.lb.policy.networks import covered
from balance.lb.policy.ratelimit import client_of

IDLE_GRACE_SECONDS = 1.0
"""Grace period in seconds before idle connections are closed at shutdown: busy clients have sent their next request by then."""
DiscoveredBackends = Mapping[str, Iterable[BackendConfig]]
"""The discovered backends, by the name of the pool."""


@dataclass(frozen=True)
class Draft:
    """A configuration with all its files read, so that activating it cannot fail. `members`: the backends of each pool; `secrets`: the keys
    for its cookies."""

    config: Config
    keyring: Keyring
    members: Mapping[str, tuple[BackendConfig, ...]]
    secrets: Mapping[str, bytes]


class Proxy:
    """The data plane of a process; create it inside a running event loop. `drained`: names of drained backends."""

    def __init__(self, config: Config, instruments: Instruments, log: EventLog, access: AccessLog | None, drained: Collection[str] = ()) -> None:
        self.loop = asyncio.get_running_loop()
        self.log = log
        self.access = access
        self.clock = Clock(self.loop, self._on_tick)
        self.instruments = instruments
        metered = config.metrics.enabled
        self.meters = (Meters if metered else DisabledMeters)(instruments, config)
        self.backends: dict[str, Backend] = {}
        """backends of the active configuration, by name"""
        self._to_drain = set(drained)
        """drained backends that have not been discovered yet"""
        self.clients: set[Client] = set()
        self.tunnels: set[Tunnel] = set()
        self._connections: Counter[str] = Counter()
        """number of connections per client"""
        self.waiting: set[Pool] = set()
        """pools that may have requests in their queues"""
        self._former: list[Pool] = []
        """pools of former configurations that still have requests in flight"""
        self.draining = False
        self.closing = False
        """True once clients may send no more requests"""
        self._forget_at = 0.0
        self._remembering: WeakSet[ActiveConfig] = WeakSet()
        """every configuration that a connection still uses, including the active one"""
        self._empty = asyncio.Event()
        self._adopt(self.build(config, {}), {})

    def __repr__(self) -> str:
        return f"<Proxy {len(self.clients)} clients, {self.in_flight} requests, {len(self.tunnels)} tunnels, {self.active_config}>"

    # --- configuration ---

    def build(self, config: Config, found: DiscoveredBackends) -> Draft:
        """Prepare a configuration for `adopt`, with the backends discovered for its pools; nothing changes yet. Raises `StartError` for files
        that have become unreadable."""
        taken = {backend.name for backend in config.backends}
        members: dict[str, tuple[BackendConfig, ...]] = {}
        for pool in config.pools:
            discovered = admitted(found.get(pool.name, ()), taken)
            members[pool.name] = pool.backends + discovered
            taken.update(backend.name for backend in discovered)
        sticky = {pool.name: pool.load_balancer.sticky for pool in config.pools}
        try:
            secrets = {name: read_secret("secret", policy.secret) if policy else b"" for name, policy in sticky.items()}
            keyring = Keyring(config, chain.from_iterable(members.values()), self.instruments, self.log)
        except FileError as error:  # the configuration was valid when it was read a moment ago
            raise StartError(error.what, where=error.key, cure=error.cure) from None
        return Draft(config, keyring, members, secrets)

    def adopt(self, draft: Draft) -> None:
        """Activate a draft. Requests in progress keep the configuration that they began with."""
        self._adopt(draft, self.active_config.pools)

    def _adopt(self, draft: Draft, former: Mapping[str, Pool]) -> None:
        config, before = draft.config, self.backends
        self._former += former.values()
        everybody = list(chain.from_iterable(draft.members.values()))
        self._retire_removed(before.values(), everybody)
        self.instruments.retain("pool", draft.members)
        self.backends = {}
        pools = {}
        for one in config.pools:
            meters = PoolMeters(self.instruments, one.name)
            pool = pools[one.name] = Pool(self, meters, one, draft.secrets[one.name], config.timeouts.first_byte)
            predecessor = former.get(one.name)
            if predecessor is not None:
                pool.inherit(predecessor)
            self._build_backends(pool, draft.members[one.name], before, draft.keyring, warm=bool(predecessor and predecessor.backends))
            pool.show()
        self.active_config = ActiveConfig(config, draft.keyring, pools)
        self._remembering.add(self.active_config)
        self.meters.limit.set(config.limits.max_connections)
        draft.keyring.show()
        self.wake()

    def set_discovered(self, name: str, found: Iterable[BackendConfig]) -> None:
        """Set the discovered backends of a pool, in addition to its configured ones. Existing backends keep their state; names that other
        backends have are left out. Raises `FileError`; then nothing has changed."""
        pool, keyring = self.active_config.pools[name], self.active_config.keyring
        others = {backend.name: backend for one in self.active_config.pools.values() if one is not pool for backend in one.backends}
        stated = pool.config.backends
        members = stated + admitted(found, others.keys() | {backend.name for backend in stated})
        everybody = [*members, *(backend.config for backend in others.values())]
        keyring.follow(everybody)
        before = self.backends
        self._retire_removed(before.values(), everybody)
        self.backends = others
        self._build_backends(pool, members, before, keyring, warm=bool(pool.backends))
        keyring.show()
        self.wake()

    def _retire_removed(self, before: Iterable[Backend], members: Iterable[BackendConfig]) -> None:
        """Retire the backends that are no longer members, and drop the metrics of those without a successor, to make room for others."""
        wanted = {member.name: member for member in members}
        for backend in before:
            member = wanted.get(backend.name)
            if member is None or not backend.same(member):
                backend.retire()
        self.instruments.retain("backend", wanted)

    def _build_backends(self, pool: Pool, members: Iterable[BackendConfig], before: Mapping[str, Backend], keyring: Keyring, *, warm: bool) -> None:
        """Build the backends of a pool: reuse those in `before` with the same name and place, create the others; `warm`: with slow start."""
        backends = []
        for member in members:
            backend = before.get(member.name)
            if backend is None or not backend.same(member):
                meters = BackendMeters(self.instruments, member.name, pool.name)
                backend = Backend(member, pool.config, meters, self.clock, self.log, self.loop.time() if warm else -inf)
                if member.name in self._to_drain:
                    backend.drain(drained=True)
                    self._to_drain.discard(member.name)
            backend.configure(member, pool.config, keyring.towards(member))
            self.backends[member.name] = backend
            backends.append(backend)
        pool.follow(backends)

    @property
    def drained(self) -> list[str]:
        """The names of drained backends, including those that have not been discovered yet."""
        return sorted(self._to_drain.union(backend.name for backend in self.backends.values() if backend.drained))

    def drain_backend(self, name: str, *, drained: bool) -> bool:
        """Take a backend out of rotation, or back in. Returns False if the name is unknown."""
        self._to_drain.discard(name)
        if name in self.backends:
            self.backends[name].drain(drained=drained)
        return name in self.backends

    def panicked(self, pool: Pool) -> None:
        """Count and log that a pool's panic mode has changed."""
        self.meters.panicking(pool.name, pool.panicking)
        self.log("warning" if pool.panicking else "info", "panic" if pool.panicking else "panic_over", pool=pool.name)

    # --- queues ---

    def wake(self) -> None:
        """Let queued requests try again soon, since a backend may have room."""
        for pool in self.waiting:
            self.loop.call_soon(pool.resume)

    def _on_tick(self) -> None:
        self.wake()  # a backend may have recovered, or its breaker may let a probe pass, for which there is no event
        for pool in self.active_config.pools.values():
            pool.tick(self.clock.now)
        self._former = [pool for pool in self._former if pool.in_flight]
        self.meters.count()
        if self.clock.now >= self._forget_at:
            self._forget_at = self.clock.now + FORGET_SECONDS - TICK
            for site in self._remembering:
                site.forget()
        if self.access is not None:
            self.access.flush()
            self.meters.dropped.value = self.access.dropped

    @property
    def in_flight(self) -> int:
        """Number of requests whose response is not complete."""
        return sum(pool.in_flight for pool in chain(self.active_config.pools.values(), self._former))

    @property
    def queued(self) -> int:
        """Number of queued requests."""
        return sum(len(pool.queue) for pool in self.waiting)

    # --- clients ---

    def allowed(self, client: Client) -> bool:
        """True if a new connection is allowed by its network and by the limit per client; if not, that is counted."""
        limits, address = self.active_config.config.limits, client.peer.name
        if limits.deny and covered(address, limits.deny):
            self.meters.rejected("denied")
        elif limits.max_connections_per_client and self._connections[client_of(address)] >= limits.max_connections_per_client:
            self.meters.rejected("client_limit")
        else:
            return True
        return False

    def register(self, client: Client) -> bool:
        """Count a new connection. Returns False if it is over the limit or the proxy is draining; then it is not registered."""
        self.meters.accepted.value += 1
        limits = self.active_config.config.limits
        if len(self.clients) >= limits.max_connections or self.draining:
            self.meters.rejected("stopping" if self.draining else "limit")
            return False
        self.clients.add(client)
        self._connections[client_of(client.peer.name)] += 1
        self._empty.clear()
        self.meters.active.value = len(self.clients)
        return True

    def unregister(self, client: Client) -> None:
        """Remove a connection that has ended."""
        if client in self.clients:
            self.clients.discard(client)
            of = client_of(client.peer.name)
            self._connections[of] -= 1
            if not self._connections[of]:
                del self._connections[of]
        self.meters.active.value = len(self.clients)
        if not self.clients:
            self._empty.set()

    def handshake_failed(self, connection: TlsTransport, reason: str, cause: str) -> None:
        """Count and log a failed TLS handshake with a client; `reason`: for the metric, `cause`: OpenSSL's message."""
        self.meters.handshake_failed(reason)
        self.log("debug", "tls_handshake_failed", client=str(connection.get_extra_info("peername")), reason=reason, cause=cause)

    async def reload_certificates(self, *, force: bool = False) -> None:
        """Reload changed TLS files, or all with `force`; open connections of clients stay, idle ones to changed backends are closed."""
        changed = await self.active_config.keyring.reload(force=force)
        self.active_config.keyring.show()
        for backend in self.backends.values():
            if backend.identity in changed:
                backend.close_idle()

    async def drain(self, seconds: float) -> None:
        """Accept one more request per connection for a moment (it may be on its way), with a response that closes the connection; then accept
        no more, and wait for requests in flight. Takes at most `seconds`."""
        self.draining = True
        last = min(IDLE_GRACE_SECONDS, seconds / 2)
        await self._emptied(last)
        self.closing = True
        for client in list(self.clients):
            client.drain()
        await self._emptied(seconds - last)

    async def _emptied(self, seconds: float) -> None:
        if self.clients:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)

    def break_off(self) -> int:
        """Break all remaining connections. Returns their number."""
        left = list(self.clients)
        for tunnel in list(self.tunnels):
            tunnel.end(Fault.SHUTDOWN)
        for client in left:
            client.break_off()
        return len(left)

    def close(self) -> None:
        """Close the idle connections to backends and stop the clock."""
        for backend in self.backends.values():
            backend.close_idle()
        self.clock.stop()
