"""The loop of the demo: every second a scrape, the rules and the panels; and the page that shows them."""

from __future__ import annotations

import asyncio
import time

import aiohttp

from balance.demo import traffic
from balance.demo.faults import DemoEnvironment
from balance.demo.history import History
from balance.demo.page import PageTexts, page
from balance.demo.watch import Board, Embedded, External
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings

SPAN, STEP = 180, 2
"""Seconds that panels show, and seconds between two of their points."""


class Live:
    """Watches the balancer with the admin address `admin`. `external` is given if Prometheus and Alertmanager evaluate the rules."""

    def __init__(
        self, bundle: Bundle, settings: Settings, session: aiohttp.ClientSession, environment: DemoEnvironment, admin: str, external: External | None
    ) -> None:
        self._session, self._environment, self._admin, self._settings = session, environment, admin, settings
        self._dashboard = next(dashboard for dashboard in bundle.dashboards if dashboard.main)
        exprs = [query.expr for panel in self._dashboard.panels for query in panel.queries] + [one.expr for one in self._dashboard.annotations]
        self._history = History({"job": settings.job, "instance": admin}, settings.scope, exprs, SPAN, STEP)
        self._rules = external or Embedded(bundle, settings, self._history.database)
        self._board = Board(bundle.alerts)
        self._begun = time.monotonic()
        self._answers = external is None
        self._one_at_a_time = asyncio.Lock()
        self.notified = lambda message: self._board.notified(message, time.time())

    async def watch(self) -> None:
        """Scrape and evaluate every second, until cancelled."""
        now = drawn = 0
        while True:
            await asyncio.sleep(1 - time.time() % 1)
            now = max(now + 1, int(time.time()))  # a timer may be early
            text = await metrics(self._session, self._admin)
            async with self._one_at_a_time:
                await asyncio.to_thread(self._history.scraped, text, now)
                await self._evaluate(now)
                if now >= drawn + STEP:
                    drawn = now - now % STEP
                    await asyncio.to_thread(self._history.draw, drawn)

    async def _evaluate(self, now: int) -> None:
        """Evaluate the rules, or query Prometheus and Alertmanager."""
        try:
            seen = await self._rules.active() if isinstance(self._rules, External) else await asyncio.to_thread(self._rules.active, now)
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
        texts = PageTexts(self._rules.name + ("" if self._answers else ", which do not answer yet"), source)
        async with self._one_at_a_time:
            return await asyncio.to_thread(
                page, self._dashboard, self._history, self._settings.scope, self._board, self._environment.active, texts, time.time()
            )  # fmt: skip


async def metrics(session: aiohttp.ClientSession, admin: str) -> str | None:
    """A scrape of the balancer; None if it does not answer."""
    try:
        async with session.get(f"http://{admin}/metrics") as answer:
            return await answer.text() if answer.ok else None
    except (aiohttp.ClientError, TimeoutError):
        return None
