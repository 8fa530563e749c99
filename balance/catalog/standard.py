"""Metrics that any service may have: those that Prometheus adds to a scrape, and those of client libraries about process and runtime."""

from __future__ import annotations

from dataclasses import dataclass

from balance.catalog.model import BYTES, SECONDS, STATE, Counter, Gauge, Label, Merge, Metric, Unit
from balance.errors import SettingsError, suggestion

TASKS = Unit.of("tasks")
DESCRIPTORS = Unit.of("descriptors")
COLLECTIONS = Unit.of("collections")

PROCESS_CPU = Counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", SECONDS)
PROCESS_RESIDENT = Gauge("process_resident_memory_bytes", "Resident memory size in bytes.", BYTES)
PROCESS_VIRTUAL = Gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", BYTES)
PROCESS_START = Gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", SECONDS, merge=Merge.MIN)
PROCESS_OPEN_FDS = Gauge("process_open_fds", "Number of open file descriptors.", DESCRIPTORS)
PROCESS_MAX_FDS = Gauge("process_max_fds", "Maximum number of open file descriptors.", DESCRIPTORS)
PYTHON_TASKS = Gauge("python_asyncio_tasks", "Number of asyncio tasks that have not finished.", TASKS)
PYTHON_GC_COLLECTIONS = Counter(
    "python_gc_collections_total", "Number of times this generation was collected.",
    COLLECTIONS, (Label("generation", "Generation of the garbage collector.", values=("0", "1", "2")),),
)  # fmt: skip

UP = Gauge("up", "Whether Prometheus could scrape the target (1) or not (0).", STATE)

ALERTS = Gauge(
    "ALERTS", "Alerts that are pending or firing, as Prometheus records them; always 1.", STATE,
    (
        Label("alertname", "Name of the alert.", bound=1000),
        Label("alertstate", "Whether it waits for its `for` or fires.", values=("pending", "firing")),
        Label("severity", "Severity of the alert.", bound=10),
    ),
)  # fmt: skip

GO_GOROUTINES = Gauge("go_goroutines", "Number of goroutines that currently exist.", Unit.of("goroutines"))
GO_ALLOC = Gauge("go_memstats_alloc_bytes", "Number of bytes allocated and still in use.", BYTES)
GO_SYS = Gauge("go_memstats_sys_bytes", "Number of bytes obtained from system.", BYTES)


@dataclass(frozen=True)
class Runtime:
    """The metrics of a language's runtime: concurrent tasks, bytes of memory in use, and bytes obtained from the system."""

    tasks: Gauge
    allocated: Gauge
    system: Gauge


RUNTIMES = {
    "python": Runtime(PYTHON_TASKS, PROCESS_RESIDENT, PROCESS_VIRTUAL),
    "go": Runtime(GO_GOROUTINES, GO_ALLOC, GO_SYS),
}


def runtime(name: str) -> Runtime:
    """The metrics of the runtime `name` ("python", "go"). Raises `SettingsError` with the choices."""
    try:
        return RUNTIMES[name]
    except KeyError:
        raise SettingsError(f"unknown runtime {name!r}", where="runtime", cure=suggestion(name, RUNTIMES)) from None


PYTHON_RUNTIME: tuple[Metric, ...] = (
    PROCESS_CPU, PROCESS_RESIDENT, PROCESS_VIRTUAL, PROCESS_START, PROCESS_OPEN_FDS, PROCESS_MAX_FDS, PYTHON_TASKS, PYTHON_GC_COLLECTIONS,
)  # fmt: skip
GO_RUNTIME: tuple[Metric, ...] = (GO_GOROUTINES, GO_ALLOC, GO_SYS)
