"""Looks up the backends of a pool in DNS.

Theory. An update asks several questions: A and AAAA, or SRV and then A and AAAA of each target. A question that gets no answer (no such name,
a failing server, no reply) falls back on its last answer; the update as a whole fails when SRV or all addresses remain unanswered, and then
the pool keeps what it has. An answer without records is an answer: a pool may become empty by it. dnspython does the queries: the system's
configuration and search list, retries, EDNS, TCP where an answer is too long for UDP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from ipaddress import ip_address
from math import inf
from typing import NamedTuple

import dns.asyncresolver
import dns.exception
import dns.resolver
from dns.rdata import Rdata
from dns.rdtypes.IN.SRV import SRV

from balance.config.address import Address
from balance.lb.config.model import Discovery
from balance.lb.control.discovery import Discovered, DiscoveryError
from balance.lb.policy.discovery import SrvTarget, by_address, by_service, pause

ANSWER_SECONDS = 4.0
"""Maximum seconds for a query, with all servers and retries."""
RETRY_SECONDS = 2.0
"""Seconds of pause after a query without an answer, unless the interval is shorter."""
_AT_ONCE = 16
"""Maximum number of concurrent queries."""
_PAYLOAD = 1232
"""Maximum bytes of a UDP answer that is not fragmented (DNS flag day 2020)."""


class Records(NamedTuple):
    """The answer to a query; `ttl` in seconds. `cause`: why there was no answer; then `rows` are those of the previous answer."""

    rows: tuple[Rdata, ...] = ()
    ttl: float = inf
    cause: str = ""


Question = tuple[str, str]
"""A name and a record type."""


class DnsSource:
    """The source of backends for `discover.dns` and `discover.srv`."""

    def __init__(self, pool: str, discover: Discovery) -> None:
        self._pool, self._discover = pool, discover
        self.retry = min(RETRY_SECONDS, discover.interval)
        self._last: dict[Question, Records] = {}

    def __repr__(self) -> str:
        return f"<DnsSource for {self._pool}: {self._discover.dns or self._discover.srv}>"

    async def update(self) -> Discovered:
        """Look up the backends. Raises `DiscoveryError`."""
        discover = self._discover
        questions = _Questions(discover.server, self._last)
        if discover.dns:
            found = by_address(self._pool, discover, discover.dns, await questions.addresses(discover.dns.host))
        else:
            service = await questions.ask(discover.srv, "SRV")
            if service.cause:
                raise DiscoveryError(service.cause)
            records = [row for row in service.rows if isinstance(row, SRV) and len(row.target) > 1]  # ".": the service does not exist (RFC 2782)
            names = list(dict.fromkeys(record.target for record in records))
            hosts = dict(zip(names, await asyncio.gather(*(questions.addresses(name.to_text()) for name in names)), strict=True))
            targets = [SrvTarget(one.priority, one.weight, host, one.port) for one in records for host in hosts[one.target]]
            found = by_service(self._pool, discover, targets)
        causes = [answer.cause for answer in questions.answers.values() if answer.cause]
        if causes and not any(answer.rows and not answer.cause for (_name, kind), answer in questions.answers.items() if kind != "SRV"):
            raise DiscoveryError(causes[0])
        self._last = questions.answers
        ttl = min([answer.ttl for answer in questions.answers.values()], default=inf)
        return Discovered(found, pause(ttl, discover.interval))


class _Questions:
    """The queries of one update, and their answers."""

    def __init__(self, server: Address | None, last: Mapping[Question, Records]) -> None:
        self.answers: dict[Question, Records] = {}
        self._last = last
        self._server = server
        self._slots = asyncio.Semaphore(_AT_ONCE)
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=server is None)
        except dns.exception.DNSException as error:
            raise DiscoveryError(_words(error)) from None
        self._resolver.use_edns(0, 0, _PAYLOAD)
        if server:
            self._resolver.nameservers, self._resolver.port = [server.host], server.port

    async def addresses(self, name: str) -> tuple[str, ...]:
        """All IP addresses of a name; an IP address as it is."""
        try:
            return (str(ip_address(name)),)
        except ValueError:
            answers = await asyncio.gather(self.ask(name, "A"), self.ask(name, "AAAA"))
        return tuple(row.to_text() for answer in answers for row in answer.rows)

    async def ask(self, name: str, kind: str) -> Records:
        """The answer to a query, or the previous answer if there is none."""
        async with self._slots:
            answer = await self._ask(name, kind)
        self.answers[name, kind] = answer
        return answer

    async def _ask(self, name: str, kind: str) -> Records:
        try:
            answer = await self._resolver.resolve(
                name, kind, raise_on_no_answer=False, lifetime=ANSWER_SECONDS, search=self._server is None,
            )  # fmt: skip
        except (dns.exception.DNSException, OSError) as error:
            return Records(self._last.get((name, kind), Records()).rows, RETRY_SECONDS, f"{name}: {_words(error)}")
        return Records(tuple(answer), answer.chaining_result.minimum_ttl)


def _words(error: Exception) -> str:
    """Why there was no answer, in words that stay the same for the same cause."""
    match error:
        case dns.resolver.NXDOMAIN():
            return "no such name"
        case dns.exception.Timeout():
            return f"no answer within {ANSWER_SECONDS:g} s"
    return " ".join(str(error).split()) or type(error).__name__
