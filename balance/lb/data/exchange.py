"""A request and its response: attempts at backends, passing the response on, counting and logging at the end.

Theory. The client's side (`client`) and the backend's (`upstream`) report events by plain calls; nothing here waits. An exchange ends
exactly once, in `_finish` (or in `switch`, for a tunnel). Until the first byte of a response has been passed on, a failed attempt may be
followed by another (`policy.retry` decides) or by an error response of our own; after that only the client's connection can be broken,
so that a truncated response cannot be taken for a complete one.

Times are from `perf_counter`, read only where something takes time: `started` at the first byte of the request, `sent_at` and `first_at`
before and after the backend's work. All other waiting of the request adds up in `_waiting_seconds`, which stays 0 for most requests.
"""

from __future__ import annotations

import asyncio
import math
import random
from time import perf_counter, time
from typing import TYPE_CHECKING

from balance.lb.data.accesslog import Entry
from balance.lb.data.backend import Backend
from balance.lb.data.meters import BATCH
from balance.lb.data.replies import reply, status_of
from balance.lb.data.request import Body, Request
from balance.lb.data.response import Response, switched
from balance.lb.data.tunnel import Tunnel
from balance.lb.data.upstream import Upstream
from balance.lb.data.wire import ResponseHead
from balance.lb.policy import retry
from balance.lb.policy.ending import COMPLETE, RequestPhase, termination
from balance.lb.policy.faults import ABORT_STATUSES, LOCAL_FAULTS, Fault
from balance.lb.policy.latency import observed
from balance.lb.policy.pickers.table import digest
from balance.lb.policy.ratelimit import client_of
from balance.lb.policy.sticky import Sessions, set_cookie

if TYPE_CHECKING:
    from balance.lb.data.client import Client
    from balance.lb.data.pool import Pool


MAX_EARLY_BYTES = 2**16
"""Maximum of bytes to buffer; below it reading continues, so that a client that closes the connection is noticed."""
_NONE, _CHUNKED, _CLOSE = Body.NONE, Body.CHUNKED, Body.CLOSE
_TAILS = {
    (chunked, keep, http10): b"Transfer-Encoding: chunked\r\n" * chunked
    + (b"Connection: keep-alive\r\n" * http10 if keep else b"Connection: close\r\n")
    + b"\r\n"
    for chunked in (False, True)
    for keep in (False, True)
    for http10 in (False, True)
}
"""The end of the head of a response, by chunked, keep-alive and HTTP/1.0: transfer coding, Connection, and the empty line."""


class Exchange:
    """Created by a client's connection for each request; `begin` starts it."""

    __slots__ = (
        "_attempts",
        "_body_sent",
        "_chunked",
        "_connect",
        "_first_byte",
        "_judged",
        "_keep",
        "_passed_at",
        "_pending",
        "_probe",
        "_proxy",
        "_queued",
        "_repeating",
        "_since",
        "_stage",
        "_status",
        "_tallied",
        "_timer",
        "_tried",
        "_waited",
        "_waiting_seconds",
        "active_config",
        "backend",
        "client",
        "fault",
        "first_at",
        "pool",
        "received",
        "request",
        "response",
        "sent",
        "sent_at",
        "session",
        "started",
        "uploaded",
        "upstream",
        "waiting",
    )  # fmt: skip

    def __init__(self, client: Client, request: Request, started: float, waited: float = 0.0) -> None:
        self._proxy = proxy = client.proxy
        self.client = client
        self.request = request
        self.active_config = proxy.active_config
        self.pool = pool = request.route.pool
        self.backend: Backend | None = None
        self.upstream: Upstream | None = None
        self.response: Response | None = None
        self.uploaded = request.body is _NONE
        self.received = 0
        self.sent = 0
        self.fault = Fault.NO_BACKEND
        self.waiting = False
        self.session = ""
        """name of the backend in the client's cookie"""
        self.started = started
        self.sent_at = 0.0
        """when the head was sent to the current backend, 0 if it was not"""
        self.first_at = 0.0
        """when the first byte of the response arrived, 0 before"""
        self._waiting_seconds = self._waited = waited
        self._queued = 0.0
        self._connect: float | None = None
        self._first_byte: float | None = None
        """seconds of each phase, for the access log"""
        self._since = 0.0
        """since when it has been waiting in the queue or for a connection"""
        self._passed_at = 0.0
        self._stage = RequestPhase.QUEUE
        """its phase while `sent_at` is 0"""
        self._keep = False
        self._chunked = False
        self._status = 0
        self._attempts = 0
        self._tried: tuple[Backend, ...] = ()
        self._pending = b""
        self._body_sent = False
        self._probe = 0
        self._judged = True
        self._repeating = False
        self._tallied = False
        self._timer: asyncio.TimerHandle | None = None
        pool.in_flight += 1
        if pool.sessions is not None:
            self.session = pool.backend_of(request.session, time())

    def __repr__(self) -> str:
        return f"<Exchange {self.request.method} attempt {self._attempts} at {self.backend} {self._status or 'unanswered'}>"

    @property
    def address(self) -> str:
        """Address of the client, also behind a trusted proxy."""
        return self.request.client or self.client.peer.name

    @property
    def key(self) -> int:
        """The key for consistent-hash."""
        return digest(self.address.encode() if self.request.key is None else self.request.key)

    def admitted(self) -> bool:
        """Apply the limits of the route and of the client. Returns False if the request was refused; then the response has been sent."""
        client, route = client_of(self.address), self.request.route
        if not self.active_config.client_requests.enter(client):
            self.refuse(Fault.CLIENT_LIMIT)
            return False
        self._tallied = True
        wait = route.limiter.ask(client, self._proxy.loop.time()) if route.limiter is not None else 0.0
        if wait:
            self.refuse(Fault.RATE_LIMITED, retry_after=max(1, math.ceil(wait)))
        return not wait

    # --- towards the backend ---

    def begin(self, *, first: bool = False) -> None:
        """Send the request to a backend, queue it, or refuse it. `first`: it is the first in the queue."""
        backend = self.pool.choose(self, self._tried, first=first)
        if first and backend is not Fault.QUEUE_TIMEOUT:
            self._leave_queue()
        if isinstance(backend, Backend):
            self._attempts += 1
            self._probe = 0 if backend.ready else backend.begin()
            if self._repeating:
                backend.meters.retries.value += 1
                self._waiting_seconds = perf_counter() - self.started
            self._attempt(backend, backend.take())
        elif backend is Fault.QUEUE_TIMEOUT and (first or not self.pool.full):
            self._since = self._since if first else perf_counter()
            self.pool.enqueue(self, first=first)
        elif backend is Fault.QUEUE_TIMEOUT:
            self.pool.meters.full.value += 1
            self.refuse(Fault.QUEUE_FULL)
        else:
            self.refuse(self.fault)

    def _attempt(self, backend: Backend, idle: Upstream | None) -> None:
        self.backend = backend
        self.client.deadline = 0.0
        self._judged = False
        self.upstream = upstream = idle or Upstream(self._proxy, backend)
        upstream.exchange = self
        upstream.begun = False
        if idle:
            self._connect = 0.0
            self.connected()
        else:
            self._stage, self._connect, self.sent_at = RequestPhase.CONNECT, None, 0.0
            self._since = perf_counter()
            upstream.dial()

    def _leave_queue(self) -> None:
        now = perf_counter()
        self._queued += now - self._since
        self._waiting_seconds = now - self.started
        self.pool.meters.duration.observe(now - self._since)

    def opened(self) -> None:
        """The new connection is open."""
        now = perf_counter()
        self._connect = now - self._since
        self._waiting_seconds = now - self.started
        if self.backend is not None:
            self.backend.meters.connect.observe(self._connect)
        self.connected()

    def connected(self) -> None:
        """A connection is ready: send the head and what has arrived of the body."""
        upstream = self.upstream
        if upstream is None or upstream.transport is None:
            return
        data = self.request.head + self.client.peer.suffix
        if self._pending:
            data += self._pending
            self._pending = b""
            self._body_sent = True
        upstream.transport.write(data)
        self.sent_at = perf_counter()
        if self.uploaded:
            self._proxy.clock.set(upstream, self.pool.first_byte)
        else:
            self.await_backend()

    @property
    def can_buffer_body(self) -> bool:
        """True if more of the body may be buffered until there is a backend; reading continues, so that a client that leaves is noticed."""
        return (self.upstream is None or self.upstream.transport is None) and len(self._pending) < MAX_EARLY_BYTES

    @property
    def takes_body(self) -> bool:
        """True if more of the body can be sent to the backend now."""
        upstream = self.upstream
        return upstream is not None and upstream.transport is not None and not upstream.write_paused

    def upload(self, data: bytes, done: bool) -> None:
        """Pass on a piece of the request's body; `done`: it was the last one."""
        self.received += len(data)
        self.uploaded = done
        if 0 < self.active_config.config.limits.max_request_size < self.received:
            self.give_up(Fault.BODY_TOO_LARGE)
            return
        if self.request.body is _CHUNKED:
            data = _chunk(data, done)
        if not data and not done:
            return
        upstream = self.upstream
        if upstream is None or upstream.transport is None:
            if data:
                self._pending += data
                self.client.regulate()
            return
        self._body_sent = True
        upstream.transport.write(data)
        self.await_backend()

    def await_backend(self) -> None:
        """Set the deadline of the side that has to act next: the client while it is sending, else the backend."""
        timeouts = self.active_config.timeouts
        upstream = self.upstream
        if upstream is not None and not self.uploaded and self.takes_body:
            self._proxy.clock.set(self.client, timeouts.body_idle)
            upstream.deadline = 0.0
        elif upstream is not None and not self.client.write_paused:
            self.client.deadline = 0.0
            first_byte = self.pool.first_byte if self.uploaded else timeouts.first_byte  # a response is not late while the request is being sent
            self._proxy.clock.set(upstream, first_byte if self.response is None else timeouts.response_idle)
        if self.request.body is not _NONE:
            self.client.regulate()

    # --- towards the client ---

    def interim(self, head: bytes) -> None:
        """Pass on a 1xx response."""
        self.first_at = 0.0
        if not self.request.http10:
            self.client.write(head)

    def switch(self, message: ResponseHead) -> None:
        """Switch protocols (101): the connections become a tunnel, and this exchange ends, except for its line in the access log.

        Raises `WireError` if the client did not offer the protocol.
        """
        head, upstream = switched(message, self.request), self.upstream
        if upstream is None or upstream.closing:
            self.failed(Fault.CLOSED_EARLY)
            return
        self.upstream = None
        self._status = message.code
        self._judge(failed=False)
        self._proxy.meters.switched(self.request.method)
        self.pool.in_flight -= 1
        self._settle()
        Tunnel(self, upstream).begin(head)

    def answer(self, response: Response, body: bytes, done: bool) -> None:
        """Pass on the head of a response and what has arrived of its `body`; `done`: it is complete."""
        request, pool = self.request, self.pool
        self._status = status = response.status
        if pool.learns:
            self._learn(self.first_at - self.sent_at, failed=status in pool.failure_statuses)
        if status in pool.retry_statuses and self._exchanged(response, done):
            return
        self.response = response
        keep = request.keep_alive and self.uploaded and not self._proxy.draining
        if response.body is _CHUNKED or response.body is _CLOSE:
            self._chunked = not request.http10
            keep = keep and not request.http10
        self._keep = keep
        if self._probe:  # the breaker must not stay half open during a long response
            self._judge(failed=status in pool.failure_statuses)
        usual = keep and not self._chunked and not request.http10
        head = response.usual if usual else response.head + _TAILS[self._chunked, keep, request.http10]
        if pool.sessions is not None and self.backend is not None and self.session != self.backend.name:
            head = response.head + self._cookie(pool.sessions, self.backend.name) + _TAILS[self._chunked, keep, request.http10]
        self._pass(response, head, body, done)
        if not done:
            self._passed_at = perf_counter()

    def _cookie(self, sessions: Sessions, backend: str) -> bytes:
        """The Set-Cookie line for a sticky session with this backend."""
        sticky = self.pool.config.load_balancer.sticky
        if sticky is None:
            return b""
        value = set_cookie(sticky.cookie, sessions.issue(backend, time()), sticky.max_age, secure=self.client.peer.proto == b"https")
        return b"Set-Cookie: " + value + b"\r\n"

    def stream(self, body: bytes, done: bool) -> None:
        """Pass on more of the response's body; `done`: it is complete."""
        response = self.response
        if response is not None and (body or done):
            self._pass(response, b"", body, done)

    def _pass(self, response: Response, head: bytes, body: bytes, done: bool) -> None:
        self.sent += len(body)
        transport, data = self.client.transport, head + (_chunk(body, done) if self._chunked else body)
        if transport is not None and data:
            transport.write(data)
        if done:
            self._complete(response)
        elif self.upstream is not None and not self.client.write_paused:
            if self.uploaded:
                self._proxy.clock.set(self.upstream, self.active_config.timeouts.response_idle)
            else:
                self.await_backend()  # bytes are moving, even if none of the request's body

    def download_paused(self) -> None:
        """The client's buffer is full: pause reading from the backend."""
        if self.upstream is not None:
            self.upstream.read(False)
            self.upstream.deadline = 0.0

    def download_resumed(self) -> None:
        """The client's buffer has room again: resume reading from the backend."""
        if self.upstream is not None:
            self.upstream.read(True)
            self.await_backend()

    def _complete(self, response: Response) -> None:
        self._judge(failed=self._status in self.pool.failure_statuses)
        self._leave(response)
        self._finish(Fault.OK, keep=self._keep)

    def _leave(self, response: Response) -> None:
        """Release the backend connection after a complete response."""
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            if response.reusable and self.uploaded and not upstream.closing and not upstream.write_paused:
                upstream.release()
            else:
                upstream.close()

    # --- when something goes wrong ---

    def failed(self, fault: Fault) -> None:
        """The attempt failed because of the backend: retry or end the exchange."""
        upstream, backend = self.upstream, self.backend
        if upstream is None or backend is None:
            return
        raced = fault is Fault.CLOSED_EARLY and upstream.reused and not upstream.begun
        self.upstream = None
        upstream.close()
        self.fault = fault
        if self.response is not None:
            self._judge(failed=True)
            self.client.abort()
            self._finish(fault, keep=False)
            return
        replayable = not self._body_sent
        if raced and retry.may_repeat(fault, self.request.method, replayable=replayable):
            self._attempt(backend, None)  # it closed the idle connection just as we used it: not a failure
            return
        self._judge(failed=None if raced or fault in LOCAL_FAULTS else True)
        if not self._repeat(fault, replayable=replayable):
            self.refuse(fault)

    def _exchanged(self, response: Response, done: bool) -> bool:
        """Try to retry a response whose status is in `retry.on_status`. Returns True if there will be another attempt."""
        self.fault = Fault.NO_BACKEND  # the fault if no backend is left after the pause
        self._judge(failed=self._status in self.pool.failure_statuses)
        if not self._repeat(Fault.BAD_STATUS, replayable=not self._body_sent, elsewhere=self.pool.open):
            return False
        if done:
            self._leave(response)
        elif self.upstream is not None:
            self.upstream.close()
            self.upstream = None
        self._status, self._first_byte = 0, None
        return True

    def _repeat(self, fault: Fault, *, replayable: bool, elsewhere: bool = True) -> bool:
        """Schedule another attempt if policy and budget allow it. Returns False if not; then the reason has been counted."""
        pool, policy = self.pool, self.pool.config.retry
        decision = retry.permit(policy, fault, self.request.method, replayable=replayable, attempts=self._attempts, elsewhere=elsewhere)
        if policy is not None and decision is retry.Decision.RETRY:
            decision = pool.afford(policy, repeating=self._repeating)
        if policy is None or decision is not retry.Decision.RETRY:
            self._proxy.meters.exhausted[decision].value += 1
            return False
        if self.backend is not None:
            self._tried += (self.backend,)
        self._proxy.meters.retried[fault].value += 1
        self._stage, self.sent_at = RequestPhase.QUEUE, 0.0
        pool.retrying += not self._repeating
        self._repeating = True
        self.client.deadline = 0.0
        self._timer = self._proxy.loop.call_later(retry.backoff(policy, self._attempts, random.random()), self._again)  # noqa: S311 -- jitter
        return True

    def _again(self) -> None:
        """Start another attempt, with the backends of the active configuration."""
        heir = self._proxy.active_config.pools.get(self.pool.name)
        if heir is not None:
            self.move(heir)
        self.begin()

    def move(self, pool: Pool) -> None:
        """Move the exchange and its counts to another pool."""
        self.pool.in_flight -= 1
        self.pool.retrying -= self._repeating
        self.pool = pool
        pool.in_flight += 1
        pool.retrying += self._repeating

    def _learn(self, seconds: float, *, failed: bool) -> None:
        """Update the latency of the backend with the seconds until its response began, or it failed."""
        if self.backend is not None:
            self.backend.latency = observed(self.backend.latency, seconds, self._proxy.clock.now, failed=failed)

    def _judge(self, *, failed: bool | None) -> None:
        """Report the result of the attempt to the backend, once; `failed` None: the attempt says nothing about the backend."""
        if self._judged or self.backend is None:
            return
        self._judged = True
        first_byte, status = None, self._status
        if status:
            self._first_byte = first_byte = self.first_at - self.sent_at
        self._proxy.meters.attempts.append((self.backend.meters, status, first_byte))
        if failed is None:
            self.backend.forgotten(probe=self._probe)
        elif failed:
            if self.pool.learns and self.sent_at and self.response is None:
                self._learn(perf_counter() - self.sent_at, failed=True)
            self.backend.failed(probe=self._probe)
            self.pool.failed(self.backend)
        else:
            self.backend.succeeded(probe=self._probe)

    def give_up(self, fault: Fault) -> None:
        """End the exchange because of the client or the load balancer, with an error response if nothing has been passed on yet."""
        self._let_go()
        if self.response is None and fault not in ABORT_STATUSES:
            self.refuse(fault)
        else:
            self._status = self._status or ABORT_STATUSES[fault]
            self.client.abort()
            self._finish(fault, keep=False)

    def _let_go(self) -> None:
        """Cancel everything in progress, without a failure for the backend."""
        if self._timer is not None:
            self._timer.cancel()
        if self.waiting:
            self.pool.dequeue(self)
            self._leave_queue()
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.close()
        self._judge(failed=None)

    def refuse(self, fault: Fault, *, retry_after: int = 1) -> None:
        """End the exchange with our own error response. `retry_after`: seconds for its Retry-After field, if it has one."""
        keep = self.request.keep_alive and self.uploaded and not self._proxy.draining
        head, body = reply(fault, close=not keep, http10=self.request.http10, retry_after=retry_after)
        if self.request.method == "HEAD":
            body = b""
        self.sent = len(body)
        self._status = status_of(fault)
        self.client.write(head + body)
        self._finish(fault, keep=keep)

    def _finish(self, fault: Fault, *, keep: bool) -> None:
        self.pool.in_flight -= 1
        if self._tallied or self._repeating:
            self._settle()
        proxy, request, ended, first_byte = self._proxy, self.request, perf_counter(), self._first_byte
        seconds = ended - self.started
        overhead = -1.0 if first_byte is None else (self._passed_at or ended) - self.started - self._waiting_seconds - first_byte
        meters = proxy.meters
        meters.answers.append((request.method, self._status, seconds, self.received, self.sent, overhead, request.trace))
        if len(meters.answers) >= BATCH:
            meters.count()
        if fault is not Fault.OK or proxy.access is not None:
            self.account(fault, seconds)
        self.client.finished(keep)

    def _settle(self) -> None:
        """Remove the exchange from the in-flight, per-client and retry counts."""
        if self._tallied:
            self.active_config.client_requests.leave(client_of(self.address))
        if self._repeating:
            self.pool.retrying -= 1
            if self._first_byte is not None and self._status not in self.pool.failure_statuses:
                self._proxy.meters.retry_success.value += 1

    def account(self, fault: Fault, seconds: float) -> None:
        """Count a failure and write the access log line; `seconds`: duration of the request."""
        proxy = self._proxy
        if fault is not Fault.OK:
            proxy.meters.failed(fault)
        if proxy.access is not None:
            request, attempts = self.request, self._attempts
            proxy.access.add(Entry(
                request.client or self.client.peer.name, request.method, request.target, self._status, self.backend.name if self.backend else "-",
                self.received, self.sent, seconds, attempts, fault.value,
                COMPLETE if fault is Fault.OK else termination(fault, self._phase), request.trace,
                self._waited, self._queued if attempts or self._queued else None, self._connect, self._first_byte,
            ))  # fmt: skip

    @property
    def _phase(self) -> RequestPhase:
        if self._status == 101:
            return RequestPhase.TUNNEL
        if self.response is not None:
            return RequestPhase.BODY
        if not self.sent_at:
            return self._stage
        return RequestPhase.RESPONSE if self.uploaded else RequestPhase.REQUEST


def _chunk(data: bytes, done: bool) -> bytes:
    """A piece of a body in chunked coding (RFC 9112 section 7.1), with the end if `done`."""
    end = b"0\r\n\r\n" if done else b""
    return b"%x\r\n%b\r\n%b" % (len(data), data, end) if data else end
