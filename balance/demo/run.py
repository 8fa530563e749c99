"""`balance demo`: three backends, the balancer as a process in front of them, traffic, and a word on where to look."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import yaml

from balance.demo import origins, traffic
from balance.lb.config.kinds import Duration, KindError
from balance.lb.errors import StartError

PATIENCE = 10.0
"""Seconds that the balancer may take to stop."""

LOOK = """\
The balancer answers at {front} and spreads requests over three backends:
  {backends}

Look at, in another terminal:
  curl -i {front}/           what the client gets; again: another backend, and now and then an error
  curl {admin}/metrics       every series of the catalog (/health, /ready and /version are there too)
  curl {admin}/status        backends, circuit breakers and connections now
  {generator} dashboards > grafana-dashboard.json    the dashboard over these series; import it in Grafana
  {generator} alerts > prometheus-alerts.yaml        the alerts over the same series
  {generator} prometheus --set 'prometheus.targets=[{target}]' > prometheus.yml

{end}
"""


def run(port: int, admin_port: int, duration: str | None) -> int:
    """Run the demo until a signal comes or, if given, for the duration; returns an exit code. Raises `StartError`."""
    try:
        seconds = Duration().parse(duration) if duration else None
    except KindError as error:
        raise StartError(error.what, where="--duration", cure=error.cure) from None
    return asyncio.run(_demo(port, admin_port, seconds))


async def _demo(port: int, admin_port: int, seconds: float | None) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        ports = {}
        for name in origins.CHARACTERS:
            runner, ports[name] = await origins.start(name)
            stack.push_async_callback(runner.cleanup)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="balance-demo-")))
        config = directory / "balance.yaml"
        config.write_text(yaml.safe_dump(_configuration(port, admin_port, ports)))
        balancer, started = await stack.enter_async_context(_balancer(config))
        front, admin = f"http://{started['listen'][0]}", f"http://{started['admin']}"
        backends = ", ".join(f"{name} http://127.0.0.1:{number}" for name, number in ports.items())
        end = f"Ends after {seconds:g} s." if seconds else "Ctrl-C ends it."
        print(LOOK.format(front=front, admin=admin, backends=backends, target=started["admin"], generator=_generator(), end=end), flush=True)
        sender = asyncio.create_task(traffic.send(front))
        stack.push_async_callback(_cancel, sender)
        died = asyncio.create_task(balancer.wait())
        told = asyncio.create_task(stop.wait())
        await asyncio.wait((died, told), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        ended_itself = died.done()
        await _cancel(died)
        await _cancel(told)
    if ended_itself:
        raise StartError(f"the balancer ended by itself with exit code {balancer.returncode}", where="demo", cure="see its last lines above")
    return 0


def _generator() -> str:
    """How the reader calls `balance-gen`: the one beside this interpreter, if it is not on the PATH."""
    beside = os.path.relpath(Path(sys.executable).with_name("balance-gen"))
    return "balance-gen" if shutil.which("balance-gen") else beside


def _configuration(port: int, admin_port: int, ports: dict[str, int]) -> dict[str, object]:
    return {
        "listen": f"127.0.0.1:{port}",
        "admin": {"listen": f"127.0.0.1:{admin_port}"},
        "backends": [{"name": name, "address": f"127.0.0.1:{number}"} for name, number in ports.items()],
        "health_check": {"type": "http", "interval": "2s", "timeout": "1s"},
        "log": {"access": False},
        "timeouts": {"shutdown": "5s"},
    }


@asynccontextmanager
async def _balancer(config: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, list[str]]]]:
    """The balancer's process and the event by which it said that it had started; stopped at the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BALANCE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "balance.lb.cli", "serve", "-c", str(config), stderr=asyncio.subprocess.PIPE, env=environment, start_new_session=True
    )
    relay: asyncio.Task[None] | None = None
    try:
        started = await _started(process)
        relay = asyncio.create_task(_relay(process))
        yield process, started
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)  # process.terminate() would reap it behind asyncio's back
        try:
            await asyncio.wait_for(process.wait(), PATIENCE)
        except TimeoutError:
            process.kill()
            await process.wait()
        if relay is not None:
            await relay


async def _started(process: asyncio.subprocess.Process) -> dict[str, list[str]]:
    lines = []
    while process.stderr and (line := (await process.stderr.readline()).decode().strip()):
        lines.append(line)
        if '"event":"started"' in line:
            found: dict[str, list[str]] = json.loads(line)
            return found
    where, _, rest = (lines[-1] if lines else "demo: the balancer did not start").partition(": ")
    raise StartError(rest.partition(" (")[0], where=where, cure="choose other ports: --port, --admin-port")


async def _relay(process: asyncio.subprocess.Process) -> None:
    """Show what else the balancer has to say."""
    while process.stderr and (line := await process.stderr.readline()):
        print(line.decode().rstrip(), file=sys.stderr, flush=True)


async def _cancel(task: asyncio.Task[object] | asyncio.Task[None] | asyncio.Task[int]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
