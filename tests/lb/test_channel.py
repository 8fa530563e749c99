"""The request channel between supervisor and workers; here both ends run in one event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from balance.errors import Problem
from balance.lb.control.channel import Channel, Command
from balance.lb.errors import StartError


def run_with_channels(commands: dict[str, Command], talk: Callable[[Channel, Channel], Awaitable[None]]) -> None:
    """Run `talk` with both ends; the second one serves the commands."""

    async def run() -> None:
        first, second = socket.socketpair()
        ends = await Channel.over(first, {}), await Channel.over(second, commands)
        await talk(*ends)
        for end in ends:
            await end.close()

    asyncio.run(run())


async def echo(**arguments: Any) -> Any:
    return arguments


async def refuse() -> None:
    raise StartError(problems=[Problem("here", "is wrong", "mend it"), Problem("there", "as well")])


async def fail() -> None:
    raise ZeroDivisionError("by zero")


@pytest.mark.parametrize("value", [{("GET", "200"): (1.0, 2.5), (): (0.0,)}, "a" * 3_000_000, None, [True, 1, -1.5]])
def test_arguments_arrive_unchanged(value: object) -> None:
    async def talk(ours: Channel, _theirs: Channel) -> None:
        assert await ours.ask("echo", value=value) == {"value": value}

    run_with_channels({"echo": echo}, talk)


def test_slow_command_does_not_block_others() -> None:
    go_on = asyncio.Event()

    async def slow() -> str:
        await go_on.wait()
        return "slow"

    async def talk(ours: Channel, _theirs: Channel) -> None:
        late = asyncio.create_task(ours.ask("slow"))
        assert await ours.ask("echo", number=1) == {"number": 1}
        assert not late.done()
        go_on.set()
        assert await late == "slow"

    run_with_channels({"slow": slow, "echo": echo}, talk)


REFUSALS = {
    "problems": ("refuse", "here: is wrong (mend it)\nthere: as well"),
    "exception": ("fail", "fail: ZeroDivisionError: by zero"),
    "unknown command": ("what", "what: KeyError: 'what'"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal_carries_reason(case: str) -> None:
    command, words = REFUSALS[case]

    async def talk(ours: Channel, _theirs: Channel) -> None:
        with pytest.raises(StartError) as caught:
            await ours.ask(command)
        assert str(caught.value) == words

    run_with_channels({"refuse": refuse, "fail": fail}, talk)


def test_closing_wakes_waiting_requests() -> None:
    """Closing one end raises ConnectionError for pending and new requests at the other."""

    async def never() -> None:
        await asyncio.Event().wait()

    async def talk(ours: Channel, theirs: Channel) -> None:
        asked = asyncio.create_task(ours.ask("never"))
        await ours.ask("echo")
        await theirs.close()
        with pytest.raises(ConnectionError):
            await asked
        await ours.closed.wait()
        with pytest.raises(ConnectionError):
            await ours.ask("echo")

    run_with_channels({"never": never, "echo": echo}, talk)


def test_cancelled_request_is_forgotten() -> None:
    go_on = asyncio.Event()

    async def slow() -> str:
        await go_on.wait()
        return "slow"

    async def talk(ours: Channel, _theirs: Channel) -> None:
        asked = asyncio.create_task(ours.ask("slow"))
        await ours.ask("echo")
        asked.cancel()
        go_on.set()
        assert await ours.ask("echo", number=2) == {"number": 2}

    run_with_channels({"slow": slow, "echo": echo}, talk)
