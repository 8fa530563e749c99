"""Reloads the configuration without a restart: read, validated, built, then activated at once; an error changes nothing."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import Protocol

from balance.errors import BalanceError
from balance.instruments import Instruments
from balance.lb.config import Config, parse, read
from balance.lb.config.files import POLL_SECONDS, FileWatch
from balance.lb.data.meters import ConfigMeters
from balance.lb.logs import EventLog


class Reloadable(Protocol):
    """What can activate a configuration: the service of this process, or the supervisor of several."""

    config: Config
    instruments: Instruments

    async def apply(self, text: str, config: Config) -> None:
        """Activate `config`, which was read from `text`. Raises `BalanceError` if that fails; then nothing has changed."""


class Reloader:
    """Reloads the file on request, one reload at a time; further requests wait for their turn."""

    def __init__(self, source: str, text: str, target: Reloadable, log: EventLog) -> None:
        self._text = text
        """the text that was read last"""
        self._source, self._target, self._log = source, target, log
        self._meters = ConfigMeters(target.instruments)
        self._meters.loaded(target.config)
        self._started_with = target.config
        self._lock = asyncio.Lock()

    async def watch(self) -> None:
        """While the active configuration has `watch_config`, reload when the file has changed and settled."""
        watch = FileWatch([self._source], new=True)  # it may have changed since it was read
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if self._target.config.watch_config and await asyncio.to_thread(watch.changed):
                await self.reload("file", unless_same=True)

    async def reload(self, by: str, *, unless_same: bool = False) -> list[str]:
        """Reload the file. Returns the problems, one line each; if there are any, nothing has changed.

        `by`: who asked, for the log. `unless_same`: do nothing if the text is the same as the last one read.
        """
        async with self._lock:
            before, self._text = self._text, ""
            try:
                self._text = text = await asyncio.to_thread(read, self._source)
                if unless_same and text == before:
                    return []
                config = await asyncio.to_thread(parse, text, self._source, os.environ)
                await self._target.apply(text, config)
            except BalanceError as error:
                problems = [str(problem) for problem in error.problems]
                self._meters.refused()
                self._log("error", "config_not_reloaded", by=by, problems=problems)
                return problems
            self._meters.loaded(config)
            self._log("info", "config_reloaded", by=by, needs_restart=needs_restart(self._started_with, config))
            return []


def needs_restart(started_with: Config, config: Config) -> list[str]:
    """The keys that differ from those the process started with and take effect only after a restart."""
    before, now = (replace(one, log=replace(one.log, traceparent="")) for one in (started_with, config))  # traceparent takes effect at once
    return [key for key in ("workers", "admin", "metrics", "log") if getattr(before, key) != getattr(now, key)]
