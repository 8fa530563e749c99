"""One request and what becomes of it: attempts at backends, the response on its way through, the account at the end.

Theory. The client's side (`client`) and the backend's (`upstream`) report what happens by plain calls; nothing here waits. An exchange
ends exactly once, in `_finish` (a tunnel's in `switch`). Until the first byte of a response has been passed on, a failed attempt may be followed by
another (`policy.retry` decides) or by a reply of our own; afterwards there is nothing left but to break the client's connection, so
that a response that was cut off cannot be mistaken for a whole one.

Times are those of `perf_counter`, read only where something happens that takes time: `started` with the first byte of the request, `sent_at`
and `first_at` around the backend's thinking. Whatever else the request had to wait for is summed up in `_waiting_seconds`, which most never touch.
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
"""How much of what comes too early may wait; while less is there, reading goes on, so that a client that hangs up is noticed."""
_NONE, _CHUNKED, _CLOSE = Body.NONE, Body.CHUNKED, Body.CLOSE
_TAILS = {
    (chunked, keep, http10): b"Transfer-Encoding: chunked\r\n" * chunked
    + (b"Connection: keep-alive\r\n" * http10 if keep else b"Connection: close\r\n")
    + b"\r\n"
    for chunked in (False, True)
    for keep in (False, True)
    for http10 in (False, True)
}
"""How the head of a response ends: what it says about the client's connection, the empty line."""


class Exchange:
    """Made by a client's connection for each request; `begin` sets it going."""

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
        """the backend that the client's cookie names"""
        self.started = started
        self.sent_at = 0.0
        """when the head was passed on to the present backend, 0 if it was not"""
        self.first_at = 0.0
        """when the first byte of the response arrived"""
        self._waiting_seconds = self._waited = waited
        self._queued = 0.0
        self._connect: float | None = None
        self._first_byte: float | None = None
        """seconds of each phase, as the access log has them"""
        self._since = 0.0
        """since when it waits in the queue or for a connection"""
        self._passed_at = 0.0
        self._stage = RequestPhase.QUEUE
        """how far it has come, as long as `sent_at` is 0"""
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
        """Of the client, also if it is behind a trusted proxy."""
        return self.request.client or self.client.peer.name

    @property
    def key(self) -> int:
        """What consistent-hash goes by."""
        return digest(self.address.encode() if self.request.key is None else self.request.key)

    def admitted(self) -> bool:
        """Whether the limits of the route and of the client let it pass; if not, that has been answered."""
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
        """Send the request to the best backend that can take it, wait for one, or say that there is none. `first`: of those that wait."""
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
        """The connection that was dialled is open."""
        now = perf_counter()
        self._connect = now - self._since
        self._waiting_seconds = now - self.started
        if self.backend is not None:
            self.backend.meters.connect.observe(self._connect)
        self.connected()

    def connected(self) -> None:
        """The connection is open: send what there is."""
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
        """Whether more of the body may be kept here until there is a backend; reading goes on meanwhile, so a client that leaves is noticed."""
        return (self.upstream is None or self.upstream.transport is None) and len(self._pending) < MAX_EARLY_BYTES

    @property
    def takes_body(self) -> bool:
        """Whether more of the request's body can be sent on now."""
        upstream = self.upstream
        return upstream is not None and upstream.transport is not None and not upstream.write_paused

    def upload(self, data: bytes, done: bool) -> None:
        """The client sent a piece of the body, perhaps the last one."""
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
        """Watch whoever has to act next: the client while it still sends, else the backend."""
        timeouts = self.active_config.timeouts
        upstream = self.upstream
        if upstream is not None and not self.uploaded and self.takes_body:
            self._proxy.clock.set(self.client, timeouts.body_idle)
            upstream.deadline = 0.0
        elif upstream is not None and not self.client.write_paused:
            self.client.deadline = 0.0
            first_byte = self.pool.first_byte if self.uploaded else timeouts.first_byte  # no answer is late before it could begin
            self._proxy.clock.set(upstream, first_byte if self.response is None else timeouts.response_idle)
        if self.request.body is not _NONE:
            self.client.regulate()

    # --- towards the client ---

    def interim(self, head: bytes) -> None:
        """The backend sent a 1xx response."""
        self.first_at = 0.0
        if not self.request.http10:
            self.client.write(head)

    def switch(self, message: ResponseHead) -> None:
        """The backend goes on in another protocol (101): so do the connections, as a tunnel, which ends this exchange except for its account.

        Raises `WireError` if nobody asked for that.
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
        """The backend sent the head of its response and `body` with it; `done`: that is all."""
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
        if self._probe:  # a long response must not keep the breaker half open
            self._judge(failed=status in pool.failure_statuses)
        usual = keep and not self._chunked and not request.http10
        head = response.usual if usual else response.head + _TAILS[self._chunked, keep, request.http10]
        if pool.sessions is not None and self.backend is not None and self.session != self.backend.name:
            head = response.head + self._cookie(pool.sessions, self.backend.name) + _TAILS[self._chunked, keep, request.http10]
        self._pass(response, head, body, done)
        if not done:
            self._passed_at = perf_counter()

    def _cookie(self, sessions: Sessions, backend: str) -> bytes:
        """The line that lets the client come back to this backend."""
        sticky = self.pool.config.load_balancer.sticky
        if sticky is None:
            return b""
        value = set_cookie(sticky.cookie, sessions.issue(backend, time()), sticky.max_age, secure=self.client.peer.proto == b"https")
        return b"Set-Cookie: " + value + b"\r\n"

    def stream(self, body: bytes, done: bool) -> None:
        """The backend sent more of the body."""
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
                self.await_backend()  # it gives bytes or the client takes them, even if neither sends or takes any of the request

    def download_paused(self) -> None:
        """The client takes no more for now."""
        if self.upstream is not None:
            self.upstream.read(False)
            self.upstream.deadline = 0.0

    def download_resumed(self) -> None:
        """The client takes more again."""
        if self.upstream is not None:
            self.upstream.read(True)
            self.await_backend()

    def _complete(self, response: Response) -> None:
        self._judge(failed=self._status in self.pool.failure_statuses)
        self._leave(response)
        self._finish(Fault.OK, keep=self._keep)

    def _leave(self, response: Response) -> None:
        """Give the connection back, all of the response having come."""
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            if response.reusable and self.uploaded and not upstream.closing and not upstream.write_paused:
                upstream.release()
            else:
                upstream.close()

    # --- when something goes wrong ---

    def failed(self, fault: Fault) -> None:
        """The attempt failed by the backend's fault."""
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
            self._attempt(backend, None)  # it closed an idle connection while we took it: nobody's fault
            return
        self._judge(failed=None if raced or fault in LOCAL_FAULTS else True)
        if not self._repeat(fault, replayable=replayable):
            self.refuse(fault)

    def _exchanged(self, response: Response, done: bool) -> bool:
        """Whether another response will be had in place of this one, whose status is one of `retry.on_status`."""
        self.fault = Fault.NO_BACKEND  # what may have become of it when the pause is over
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
        """After an attempt that ended so: whether there will be another; if not, why not has been counted."""
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
        """Begin another attempt, at the backends that are configured by now."""
        heir = self._proxy.active_config.pools.get(self.pool.name)
        if heir is not None:
            self.move(heir)
        self.begin()

    def move(self, pool: Pool) -> None:
        """From now on it is another pool's, with all that is counted there."""
        self.pool.in_flight -= 1
        self.pool.retrying -= self._repeating
        self.pool = pool
        pool.in_flight += 1
        pool.retrying += self._repeating

    def _learn(self, seconds: float, *, failed: bool) -> None:
        """Remember how long the backend took to begin its response, or to fail."""
        if self.backend is not None:
            self.backend.latency = observed(self.backend.latency, seconds, self._proxy.clock.now, failed=failed)

    def _judge(self, *, failed: bool | None) -> None:
        """Tell the backend, once per attempt, how it did; None: that there is no telling."""
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
        """End it by the client's or our own fault: with a reply if nothing has been passed on yet."""
        self._let_go()
        if self.response is None and fault not in ABORT_STATUSES:
            self.refuse(fault)
        else:
            self._status = self._status or ABORT_STATUSES[fault]
            self.client.abort()
            self._finish(fault, keep=False)

    def _let_go(self) -> None:
        """Stop whatever is under way, blaming nobody."""
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
        """Reply ourselves. `retry_after`: seconds, where the reply says that it may be tried again."""
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
        """It is in flight no more: nor is it one of its client's, or one that is repeated."""
        if self._tallied:
            self.active_config.client_requests.leave(client_of(self.address))
        if self._repeating:
            self.pool.retrying -= 1
            if self._first_byte is not None and self._status not in self.pool.failure_statuses:
                self._proxy.meters.retry_success.value += 1

    def account(self, fault: Fault, seconds: float) -> None:
        """Count a failure and write the line of the access log."""
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
    """A piece of a body in chunked coding (RFC 9112 section 7.1)."""
    end = b"0\r\n\r\n" if done else b""
    return b"%x\r\n%b\r\n%b" % (len(data), data, end) if data else end
