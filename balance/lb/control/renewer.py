"""Reloads renewed certificates without a restart, by polling their files."""

from __future__ import annotations

import asyncio

from balance.lb.config.files import POLL_SECONDS
from balance.lb.data.proxy import Proxy


class Renewer:
    """Polls until it is stopped."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start polling."""
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop polling."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if self._proxy.active_config.keyring.watched:
                await self._proxy.reload_certificates()
