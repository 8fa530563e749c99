"""What all connections share: the configuration, the backends, who is next, how much is under way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from balance.instruments import Instruments
from balance.lb.config import Config
from balance.lb.data.accesslog import AccessLog
from balance.lb.data.backend import Backend
from balance.lb.data.client import Client
from balance.lb.data.clock import TICK, Clock
from balance.lb.data.exchange import Exchange
from balance.lb.data.forwarding import Forwarding
from balance.lb.data.keyring import Keyring
from balance.lb.data.meters import BackendMeters, Meters, Unmetered, UnmeteredBackend
from balance.lb.data.plain import FORGET_SECONDS, Memo, Plain
from balance.lb.data.request import Examiner, Request
from balance.lb.data.response import Response
from balance.lb.data.tls import Tls
from balance.lb.data.tunnel import Tunnel
from balance.lb.logs import EventLog
from balance.lb.policy import select
from balance.lb.policy.faults import Fault


class Proxy:
    """One per configuration; made inside a running event loop."""

    def __init__(self, config: Config, instruments: Instruments, log: EventLog, access: AccessLog | None) -> None:
        self.config = config
        self.loop = asyncio.get_running_loop()
        self.log = log
        self.access = access
        self.timeouts = config.timeouts
        self.clock = Clock(self.loop, self._on_tick)
        self.forwarding = Forwarding(config.forwarding)
        self.via = self.forwarding.via()
        self.examiner = Examiner(self.forwarding, config.limits.max_request_size)
        limits = config.limits
        self.plain = Plain(limits.max_header_size, limits.max_headers, limits.max_request_line)
        self.requests: Memo[Request] = Memo()
        self.untold: Memo[Request] = Memo(heads=0)
        """for trusted peers, of whose heads nothing can be remembered: what becomes of them depends on the peer"""
        self.responses: Memo[Response] = Memo()
        self._forget_at = 0.0
        total, single = (Meters, BackendMeters) if config.metrics.enabled else (Unmetered, UnmeteredBackend)
        self.meters = total(instruments, config)
        self.keyring = Keyring(config, instruments, log)
        self.backends = [
            Backend(backend, config.circuit_breaker, single(instruments, backend.name), self.clock, log, self.keyring.backends.get(backend.name))
            for backend in config.backends
        ]
        self.clients: set[Client] = set()
        self.tunnels: set[Tunnel] = set()
        self.in_flight = 0
        self.retrying = 0
        self.draining = False
        self._weights = [backend.weight for backend in config.backends]
        self._accounts: Sequence[int] = [0] * len(self._weights)
        self._queue: deque[Exchange] = deque()
        self._empty = asyncio.Event()

    def __repr__(self) -> str:
        requests = f"{self.in_flight} requests, {len(self._queue)} queued, {len(self.tunnels)} tunnels"
        return f"<Proxy {len(self.clients)} clients, {requests}, {self.backends}>"

    # --- who serves ---

    def choose(self, tried: Sequence[Backend], *, first: bool) -> Backend | Fault:
        """The backend for the next attempt, one that has not been `tried` if possible; else why there is none. `first`: of the queue."""
        if self._queue and not first:  # nobody overtakes those who wait
            return Fault.QUEUE_TIMEOUT
        ranking = select.order(self._accounts, self._weights)
        best = self.backends[ranking[0]]
        if best.calm and not tried and (best.idle or best.open < best.config.max_connections):
            return self._charge(ranking, 0)
        second, full = -1, False
        for position, index in enumerate(ranking):
            backend = self.backends[index]
            if not backend.available:
                continue
            if not backend.has_room:
                full = True
            elif backend not in tried:
                return self._charge(ranking, position)
            elif second < 0:
                second = position
        if second >= 0:
            return self._charge(ranking, second)
        return Fault.QUEUE_TIMEOUT if full else Fault.NO_BACKEND

    def _charge(self, ranking: Sequence[int], position: int) -> Backend:
        if len(ranking) > 1:
            self._accounts = select.charge(self._accounts, self._weights, ranking, position)
        return self.backends[ranking[position]]

    def enqueue(self, exchange: Exchange, *, first: bool) -> None:
        """Let it wait until a backend has room; there is at most one per client, so the clients' limit bounds the queue."""
        exchange.waiting = True
        if first:
            self._queue.appendleft(exchange)
        else:
            self._queue.append(exchange)
        if not exchange.client.deadline:
            self.clock.set(exchange.client, self.config.timeouts.queue)

    def dequeue(self, exchange: Exchange) -> None:
        """It waits no longer."""
        exchange.waiting = False
        self._queue.remove(exchange)

    def wake(self) -> None:
        """A backend may have room: let the first in the queue try, after whatever is being done."""
        if self._queue:
            self.loop.call_soon(self._resume)

    def _resume(self) -> None:
        if not self._queue:
            return
        exchange = self._queue.popleft()
        exchange.waiting = False
        exchange.begin(first=True)
        if not exchange.waiting:
            self.wake()  # perhaps there is room for one more

    def _on_tick(self) -> None:
        self.wake()  # a backend may have recovered, or its breaker may let a probe pass: no event tells of the latter
        if self.clock.now >= self._forget_at:
            self._forget_at = self.clock.now + FORGET_SECONDS - TICK
            for memory in (self.plain, self.requests, self.responses):
                memory.forget()
        if self.access is not None:
            self.access.flush()

    @property
    def queued(self) -> int:
        """How many requests wait for room at a backend."""
        return len(self._queue)

    # --- who is served ---

    def admit(self, client: Client) -> bool:
        """Count a new connection; whether it is within the limit."""
        self.meters.accepted.value += 1
        if len(self.clients) >= self.config.limits.max_connections or self.draining:
            return False
        self.clients.add(client)
        self._empty.clear()
        self.meters.active.value = len(self.clients)
        return True

    def dismiss(self, client: Client) -> None:
        """A connection has ended."""
        self.clients.discard(client)
        self.meters.active.value = len(self.clients)
        if not self.clients:
            self._empty.set()

    def handshake_failed(self, connection: Tls, reason: str, cause: str) -> None:
        """A client and we did not agree on TLS."""
        self.meters.handshake_failed(reason)
        self.log("debug", "tls_handshake_failed", client=str(connection.get_extra_info("peername")), reason=reason, cause=cause)

    async def reload_certificates(self, *, force: bool = False) -> None:
        """Take up what has changed in the files of TLS, or all that is there by `force`; connections that are open are left as they are."""
        changed = await self.keyring.reload(force=force)
        for backend in self.backends:
            if backend.name in changed:
                backend.close_idle()

    async def drain(self, seconds: float) -> None:
        """Take no more requests, and wait so long for those in flight."""
        self.draining = True
        for client in list(self.clients):
            client.drain()
        if self.clients:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)

    def break_off(self) -> int:
        """Break every connection that is left. How many those were."""
        left = list(self.clients)
        for tunnel in list(self.tunnels):
            tunnel.end(Fault.SHUTDOWN)
        for client in left:
            client.break_off()
        return len(left)

    def close(self) -> None:
        """Close the idle connections to backends and stop the clock."""
        for backend in self.backends:
            backend.close_idle()
        self.clock.stop()
