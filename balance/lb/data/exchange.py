"""One request and what becomes of it: attempts at backends, the response on its way through, the account at the end.

Theory. The client's side (`client`) and the backend's (`upstream`) report what happens by plain calls; nothing here waits. An exchange
ends exactly once, in `_finish`. Until the first byte of a response has been passed on, a failed attempt may be followed by
another (`policy.retry` decides) or by a reply of our own; afterwards there is nothing left but to break the client's connection, so
that a response that was cut off cannot be mistaken for a whole one.
"""

from __future__ import annotations

import asyncio
import random
from time import perf_counter
from typing import TYPE_CHECKING

from balance.lb.data.accesslog import Entry
from balance.lb.data.backend import Backend
from balance.lb.data.replies import reply, status_of
from balance.lb.data.request import Body, Request
from balance.lb.data.response import Response, switched
from balance.lb.data.tunnel import Tunnel
from balance.lb.data.upstream import Upstream
from balance.lb.data.wire import ResponseHead
from balance.lb.policy import retry
from balance.lb.policy.faults import BROKEN_OFF, FAILING_STATUSES, OWN, Fault

if TYPE_CHECKING:
    from balance.lb.data.client import Client


EARLY_BYTES = 2**16
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
    """Made by a client's connection for each request; `begin` sets it going. What seldom changes begins as the class has it."""

    backend: Backend | None = None
    upstream: Upstream | None = None
    response: Response | None = None
    fault = Fault.NO_BACKEND
    waiting = False
    received = 0
    sent = 0
    _keep = False
    _chunked = False
    _status = 0
    _attempts = 0
    _tried: tuple[Backend, ...] = ()
    _pending = b""
    _body_sent = False
    _probe = 0
    _judged = True
    _repeating = False
    _timer: asyncio.TimerHandle | None = None

    def __init__(self, client: Client, request: Request, started: float) -> None:
        self._proxy = proxy = client.proxy
        self.client = client
        self.request = request
        self.uploaded = request.body is _NONE
        self.started = started
        proxy.in_flight += 1

    def __repr__(self) -> str:
        return f"<Exchange {self.request.method} attempt {self._attempts} at {self.backend} {self._status or 'unanswered'}>"

    # --- towards the backend ---

    def begin(self, *, first: bool = False) -> None:
        """Send the request to the best backend that can take it, wait for one, or say that there is none. `first`: of those that wait."""
        backend = self._proxy.choose(self._tried, first=first)
        if isinstance(backend, Backend):
            self._attempts += 1
            self._probe = 0 if backend.calm else backend.begin()
            if self._repeating:
                backend.meters.retries.value += 1
            self._attempt(backend, backend.take())
        elif backend is Fault.QUEUE_TIMEOUT:
            self._proxy.enqueue(self, first=first)
        else:
            self.refuse(self.fault)

    def _attempt(self, backend: Backend, idle: Upstream | None) -> None:
        self.backend = backend
        self.client.deadline = 0.0
        self._judged = False
        self.upstream = upstream = idle or Upstream(self._proxy, backend)
        upstream.serve(self)
        if idle:
            self.connected()
        else:
            upstream.dial()

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
        if self.uploaded:
            self._proxy.clock.set(upstream, self._proxy.timeouts.first_byte)
        else:
            self.await_backend()

    @property
    def hoards(self) -> bool:
        """Whether more of the body may be kept here until there is a backend; reading goes on meanwhile, so a client that leaves is noticed."""
        return (self.upstream is None or self.upstream.transport is None) and len(self._pending) < EARLY_BYTES

    @property
    def takes_body(self) -> bool:
        """Whether more of the request's body can be sent on now."""
        upstream = self.upstream
        return upstream is not None and upstream.transport is not None and not upstream.write_paused

    def upload(self, data: bytes, done: bool) -> None:
        """The client sent a piece of the body, perhaps the last one."""
        self.received += len(data)
        self.uploaded = done
        if 0 < self._proxy.config.limits.max_request_size < self.received:
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
        timeouts = self._proxy.timeouts
        upstream = self.upstream
        if upstream is not None and not self.uploaded and self.takes_body:
            self._proxy.clock.set(self.client, timeouts.body_idle)
            upstream.deadline = 0.0
        elif upstream is not None and not self.client.write_paused:
            self.client.deadline = 0.0
            self._proxy.clock.set(upstream, timeouts.first_byte if self.response is None else timeouts.response_idle)
        if self.request.body is not _NONE:
            self.client.regulate()

    # --- towards the client ---

    def interim(self, head: bytes) -> None:
        """The backend sent a 1xx response."""
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
        self._retire()
        Tunnel(self, upstream).begin(head)

    def answer(self, response: Response, body: bytes, done: bool) -> None:
        """The backend sent the head of its response and `body` with it; `done`: that is all."""
        request = self.request
        self.response = response
        self._status = status = response.status
        keep = request.keep_alive and self.uploaded and not self._proxy.draining
        if response.body is _CHUNKED or response.body is _CLOSE:
            self._chunked = not request.http10
            keep = keep and not request.http10
        self._keep = keep
        if self._probe:  # a long response must not keep the breaker half open
            self._judge(failed=status in FAILING_STATUSES)
        usual = keep and not self._chunked and not request.http10
        head = response.usual if usual else response.head + _TAILS[self._chunked, keep, request.http10]
        self._pass(response, head, body, done)

    def stream(self, body: bytes, done: bool) -> None:
        """The backend sent more of the body."""
        response = self.response
        if response is not None and (body or done):
            self._pass(response, b"", body, done)

    def _pass(self, response: Response, head: bytes, body: bytes, done: bool) -> None:
        self.sent += len(body)
        self.client.write(head + (_chunk(body, done) if self._chunked else body))
        if done:
            self._complete(response)
        elif self.upstream is not None and not self.client.write_paused:
            if self.uploaded:
                self._proxy.clock.set(self.upstream, self._proxy.timeouts.response_idle)
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
        upstream, self.upstream = self.upstream, None
        self._judge(failed=self._status in FAILING_STATUSES)
        if upstream is not None:
            if response.reusable and self.uploaded and not upstream.closing and not upstream.write_paused:
                upstream.release()
            else:
                upstream.close()
        self._finish(Fault.OK, keep=self._keep)

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
        self._judge(failed=None if raced or fault in OWN else True)
        self._retry_or_refuse(replayable)

    def _retry_or_refuse(self, replayable: bool) -> None:
        proxy, policy = self._proxy, self._proxy.config.retry
        decision = retry.decide(
            policy, self.fault, self.request.method,
            replayable=replayable, attempts=self._attempts, retrying=proxy.retrying - self._repeating, in_flight=proxy.in_flight,
        )  # fmt: skip
        if policy is None or decision is not retry.Decision.RETRY:
            self.refuse(self.fault)
            return
        if self.backend is not None:
            self._tried += (self.backend,)
        proxy.retrying += not self._repeating
        self._repeating = True
        self.client.deadline = 0.0
        self._timer = proxy.loop.call_later(retry.backoff(policy, self._attempts, random.random()), self.begin)  # noqa: S311 -- jitter

    def _judge(self, *, failed: bool | None) -> None:
        """Tell the backend, once per attempt, how it did; None: that there is no telling."""
        if self._judged or self.backend is None:
            return
        self._judged = True
        self.backend.meters.attempted(self._status)
        if failed is None:
            self.backend.forgotten(probe=self._probe)
        elif failed:
            self.backend.failed(probe=self._probe)
        else:
            self.backend.succeeded(probe=self._probe)

    def give_up(self, fault: Fault) -> None:
        """End it by the client's or our own fault: with a reply if nothing has been passed on yet."""
        self._let_go()
        if self.response is None and fault not in BROKEN_OFF:
            self.refuse(fault)
        else:
            self._status = self._status or BROKEN_OFF[fault]
            self.client.abort()
            self._finish(fault, keep=False)

    def _let_go(self) -> None:
        """Stop whatever is under way, blaming nobody."""
        if self._timer is not None:
            self._timer.cancel()
        if self.waiting:
            self._proxy.dequeue(self)
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.close()
        self._judge(failed=None)

    def refuse(self, fault: Fault) -> None:
        """Reply ourselves."""
        keep = self.request.keep_alive and self.uploaded and not self._proxy.draining
        head, body = reply(fault, close=not keep, http10=self.request.http10)
        if self.request.method == "HEAD":
            body = b""
        self.sent = len(body)
        self._status = status_of(fault)
        self.client.write(head + body)
        self._finish(fault, keep=keep)

    def _finish(self, fault: Fault, *, keep: bool) -> None:
        self._retire()
        seconds, proxy = perf_counter() - self.started, self._proxy
        proxy.meters.answered(self.request.method, self._status, seconds, self.received, self.sent)
        if fault is not Fault.OK or proxy.access is not None:
            self.account(fault, seconds)
        self.client.finished(keep)

    def _retire(self) -> None:
        """It is a request in flight no more."""
        self._proxy.in_flight -= 1
        if self._repeating:
            self._proxy.retrying -= 1

    def account(self, fault: Fault, seconds: float) -> None:
        """Count a failure and write the line of the access log."""
        proxy = self._proxy
        if fault is not Fault.OK:
            proxy.meters.failed(fault)
        if proxy.access is not None:
            name = self.backend.name if self.backend else "-"
            proxy.access.add(Entry(
                self.request.client or self.client.peer.name, self.request.method, self.request.target, self._status, name,
                self.received, self.sent, seconds, self._attempts, fault.value,
            ))  # fmt: skip


def _chunk(data: bytes, done: bool) -> bytes:
    """A piece of a body in chunked coding (RFC 9112 section 7.1)."""
    end = b"0\r\n\r\n" if done else b""
    return b"%x\r\n%b\r\n%b" % (len(data), data, end) if data else end
