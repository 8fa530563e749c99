"""What happens every second of the demo: a scrape, the rules, the panels; and the page that shows it."""

from __future__ import annotations

import asyncio
import time

import aiohttp

from balance.demo import traffic
from balance.demo.faults import World
from balance.demo.history import History
from balance.demo.page import Words, page
from balance.demo.watch import Asked, Board, Embedded
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

SPAN, STEP = 180, 2
"""Seconds that panels show, and between two of their points."""


class Live:
    """Watches the balancer whose admin port is `admin`. `asked` are Prometheus and Alertmanager, if the rules are theirs."""

    def __init__(self, bundle: Bundle, settings: Settings, session: aiohttp.ClientSession, world: World, admin: str, asked: Asked | None) -> None:
        self._session, self._world, self._admin, self._settings = session, world, admin, settings
        self._dashboard = next(dashboard for dashboard in bundle.dashboards if dashboard.main)
        exprs = [query.expr for panel in self._dashboard.panels for query in panel.queries] + [one.expr for one in self._dashboard.annotations]
        self._history = History({"job": settings.job, "instance": admin}, settings.scope, exprs, SPAN, STEP)
        self._rules = asked or Embedded(bundle, settings, self._history.database)
        self._board = Board(bundle.alerts)
        self._begun = time.monotonic()
        self._answers = asked is None
        self._one_at_a_time = asyncio.Lock()
        self.told = lambda message: self._board.told(message, time.time())

    async def watch(self) -> None:
        """Look every second, until cancelled."""
        now = drawn = 0
        while True:
            await asyncio.sleep(1 - time.time() % 1)
            now = max(now + 1, int(time.time()))  # a timer may be early
            text = await metrics(self._session, self._admin)
            async with self._one_at_a_time:
                await asyncio.to_thread(self._history.scraped, text, now)
                await self._judge(now)
                if now >= drawn + STEP:
                    drawn = now - now % STEP
                    await asyncio.to_thread(self._history.draw, drawn)

    async def _judge(self, now: int) -> None:
        """Evaluate the rules, or ask who does."""
        try:
            seen = await self._rules.look() if isinstance(self._rules, Asked) else await asyncio.to_thread(self._rules.look, now)
            self._answers = True
        except (aiohttp.ClientError, TimeoutError):
            self._answers = False
            return
        self._board.update(seen, time.time())
        firing = [
            (one.name, {**one.labels, "severity": self._board.alerts[one.name].severity}) for one in self._board.alarms if one.stage == "firing"
        ]
        self._history.fired(firing, now)

    async def page(self) -> str:
        """The page as of now."""
        hour = traffic.hour(time.monotonic() - self._begun)
        source = f"a day in {traffic.DAY / 60:g} minutes: it is {int(hour):02d}:{int(hour * 60 % 60):02d}"
        words = Words(self._rules.words + ("" if self._answers else ", which do not answer yet"), source)
        async with self._one_at_a_time:
            return await asyncio.to_thread(
                page, self._dashboard, self._history, self._settings.scope, self._board, self._world.active, words, time.time()
            )  # fmt: skip


async def metrics(session: aiohttp.ClientSession, admin: str) -> str | None:
    """What the balancer shows; None if it does not answer."""
    try:
        async with session.get(f"http://{admin}/metrics") as answer:
            return await answer.text() if answer.ok else None
    except (aiohttp.ClientError, TimeoutError):
        return None
