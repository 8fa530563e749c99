"""The cache of rule tests saves time and changes nothing: `check` says the same whatever is in it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

import balance
from balance.catalog.model import Gauge, Merge, Unit
from balance.commands.cli import main
from balance.errors import RenderError
from balance.generate import cache, collect, settings
from balance.generate.cache import PACKAGES, SWITCH, Cache, Fingerprints, code_digest
from balance.monitoring.settings import Settings
from balance.render import ruletests
from balance.render.ruletests.timeline import AlertUnderTest

ROOT = Path(balance.__file__).parent.parent


class Making:
    """Makes a text of anything, and knows of what it was asked to."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def __call__(self, thing: object) -> list[str]:
        self.asked.append(thing)
        return [f"{thing} ä\r\n"]


@pytest.fixture(autouse=True, scope="module")
def switched_on() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(SWITCH)
        yield


def entries(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def alerts(*assignments: str) -> list[AlertUnderTest]:
    return list(ruletests.alerts(*collect.collect(settings.load(None, list(assignments)))))


# What check says


CHECK = ["check", "--out", "out"]


class Written(NamedTuple):
    """A folder with `out`, a directory of `write`, and with the `cache` that this left; and what `check` says of an edited file, without one."""

    folder: Path
    drift: tuple[int, str, str]

    def copied(self, folder: Path) -> tuple[Path, Path]:
        """Both directories, elsewhere."""
        out, kept = folder / "out", folder / "cache"
        for target in (out, kept):
            shutil.copytree(self.folder / target.name, target)
        return out, kept


def edit(out: Path) -> None:
    with (out / "prometheus/tests/BalanceDown.yaml").open("a") as file:
        file.write("# edited\n")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder, aside = tmp_path_factory.mktemp("written"), tmp_path_factory.mktemp("aside")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as stdout, redirect_stderr(io.StringIO()) as stderr:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        assert main(["write", "--out", "out"]) == 0
        assert len(entries(folder / "cache")) == len(alerts())
        stderr.truncate(stderr.seek(0))
        edit(Written(folder, (0, "", "")).copied(aside)[0])
        patch.chdir(aside)
        patch.setenv(SWITCH, "1")
        code = main(CHECK)
    assert code == 1
    assert "# edited" in stdout.getvalue()
    return Written(folder, (code, stdout.getvalue(), stderr.getvalue()))


def empty(kept: Path) -> None:
    shutil.rmtree(kept)


def as_it_is(kept: Path) -> None:
    """Nothing."""


def torn(kept: Path) -> None:
    for path in entries(kept):
        path.write_bytes(path.read_bytes()[:-100])


def altered(kept: Path) -> None:
    """With other texts under the same digest."""
    for path in entries(kept):
        path.write_text(path.read_text().replace("exp_alerts: []", "exp_alerts: [] "))


def garbage(kept: Path) -> None:
    for path in entries(kept):
        path.write_bytes(b"\xff\x00garbage")


def swapped(kept: Path) -> None:
    """Every entry in the place of another: each is whole."""
    paths = entries(kept)
    texts = [path.read_bytes() for path in paths]
    for path, text in zip(paths, texts[1:] + texts[:1], strict=True):
        path.write_bytes(text)


def directories(kept: Path) -> None:
    for path in entries(kept):
        path.unlink()
        path.mkdir()


def a_file(kept: Path) -> None:
    """No directory can be made there."""
    shutil.rmtree(kept)
    kept.write_text("")


def stale(kept: Path) -> None:
    """What other code has made of the same alerts."""
    shutil.rmtree(kept)
    make = Cache(kept / "balance", "other code").cached(lambda _: ["stale\n"])
    assert {text for tested in alerts() for text in make(tested)} == {"stale\n"}


@pytest.mark.parametrize("state", [empty, as_it_is, torn, altered, garbage, swapped, directories, a_file, stale])
def test_check_is_the_same_with_any_cache(
    state: Callable[[Path], None],
    written: Written,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Both what it passes and what it reports, when a generated test has been edited."""
    out, kept = written.copied(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept))
    state(kept)
    assert (main(CHECK), *capsys.readouterr()) == (0, "", "out is up to date\n")
    edit(out)
    if kept.is_dir():
        state(kept)
    assert (main(CHECK), *capsys.readouterr()) == written.drift


def test_forged_entry_does_not_hide_drift(written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a forged entry, whose digest is right, does not make `check` pass over what is not in `generated/`."""
    written.copied(tmp_path)
    code = code_digest(ROOT, balance.LOADED)
    assert code
    (tested,) = (tested for tested in alerts() if tested.alert.name == "BalanceDown")
    shutil.rmtree(tmp_path / "cache")
    assert Cache(tmp_path / "cache" / "balance", code).cached(lambda _: ["forged\n"])(tested) == ["forged\n"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(CHECK) == 1
    monkeypatch.setenv(SWITCH, "1")
    assert main(CHECK) == 0


@pytest.mark.process
def test_entries_are_found_by_other_processes(written: Written, tmp_path: Path) -> None:
    """Names of entries depend on no address, no order of a set and no seed."""
    _, kept = written.copied(tmp_path)
    before = entries(kept)
    environment = {**os.environ, "XDG_CACHE_HOME": str(kept), "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-m", "balance.commands.cli", *CHECK], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert entries(kept) == before


@pytest.mark.parametrize(
    ("variables", "used"),
    [
        ({"XDG_CACHE_HOME": "{tmp}/x"}, "x/balance"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "{tmp}"}, ".cache/balance"),
        ({"XDG_CACHE_HOME": "", "HOME": "{tmp}"}, ".cache/balance"),
        ({"XDG_CACHE_HOME": "{tmp}/x", SWITCH: "1"}, ""),
    ],
    ids=["named", "relative", "home", "off"],
)
def test_cache_directory(variables: dict[str, str], used: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(tmp=tmp_path))
    assert cache.cached(lambda _: ["made"])("thing") == ["made"]
    assert [path.parent.relative_to(tmp_path).as_posix() for path in entries(tmp_path)] == ([used] if used else [])


# What an entry is found under


def test_digest_covers_the_sources(tmp_path: Path) -> None:
    """Every source of the packages, its name and its bytes."""
    for package in PACKAGES:
        shutil.copytree(ROOT.joinpath(*package.split(".")), tmp_path.joinpath(*package.split(".")), ignore=lambda folder, names: [
            name for name in names if not name.endswith(".py")
        ])  # fmt: skip
    now = time.time() + 10
    digests = [code_digest(tmp_path, now)]
    for path in entries(tmp_path):
        text = path.read_text()
        path.write_text(text + "#")
        digests.append(code_digest(tmp_path, now))
        path.write_text(text)
    path.rename(path.with_name("renamed.py"))
    digests.append(code_digest(tmp_path, now))
    assert None not in digests
    assert len(set(digests)) == len(digests)


def test_no_digest_of_edited_sources(tmp_path: Path) -> None:
    assert code_digest(tmp_path, time.time() + 10) is None, "no sources"
    (tmp_path / "balance").mkdir()
    (tmp_path / "balance" / "a.py").write_text("")
    assert code_digest(tmp_path, time.time() + 10)
    assert code_digest(tmp_path, time.time() - 10) is None


@pytest.mark.process
def test_digest_covers_modules_of_rule_tests() -> None:
    program = "import sys, balance.render.ruletests as r\nfor m in sys.modules.values():\n if m.__name__.startswith('balance'): print(m.__file__)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    covered = {str(path) for package in PACKAGES for path in ROOT.joinpath(*package.split(".")).glob("*.py")}
    assert set(loaded) <= covered
    assert any(path.endswith("promql/evaluate.py") for path in loaded)


@pytest.mark.parametrize(
    "assignment",
    [
        "thresholds.error_ratio=0.02",
        "job=edge",
        'selector=cluster="a"',
        "keep_labels=[cluster]",
        "rate_window=10m",
        "grafana_url=https://grafana.example.com",
        "runbook_base=https://example.com",
        "alerts.BalanceHighErrorRate.for=7m",
        "alerts.BalanceHighErrorRate.severity=warning",
        "alerts.BalanceHighErrorRate.keep_firing_for=7m",
    ],
)
def test_settings_change_the_fingerprint(assignment: str) -> None:
    def print_of(*assignments: str) -> str:
        return next(Fingerprints().of(tested) for tested in alerts(*assignments) if tested.alert.name == "BalanceHighErrorRate")

    assert print_of() == print_of()
    assert print_of(assignment) != print_of()


GAUGE = Gauge("a", "A.", Unit.of("things"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        ("1", 1),
        (None, "None"),
        ((), None),
        (("a", "b"), ("ab",)),
        ((("a",), "b"), ("a", ("b",))),
        (("a",), ["a"]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (frozenset({"a"}), ("a",)),
        (Merge.SUM, Merge.MIN),
        (GAUGE, replace(GAUGE, help="B.")),
        (Settings(), Settings(job="a")),
    ],
    ids=repr,
)
def test_different_values_have_different_fingerprints(one: object, other: object) -> None:
    assert Fingerprints().of(one) != Fingerprints().of(other)
    assert Fingerprints().of(one) == Fingerprints().of(one)


def test_foreign_values_are_not_cached(tmp_path: Path) -> None:
    class Derived(Gauge):
        """Code of a user's, of which no digest speaks."""

    derived = Derived("a", "A.", Unit.of("things"))
    making = Making()
    make = Cache(tmp_path, "code").cached(making)
    for thing in (object(), len, derived, (derived,)):
        assert make(thing) == make(thing)
    assert len(making.asked) == 8
    assert not entries(tmp_path)


# The directory


def test_cached_value_is_not_made_again(tmp_path: Path) -> None:
    making = Making()
    for _ in range(2):
        make = Cache(tmp_path / "new" / "balance", "code").cached(making)
        assert [make(thing) for thing in ("a", "b")] == [["a ä\r\n"], ["b ä\r\n"]]
    assert making.asked == ["a", "b"]


def test_failure_is_not_cached(tmp_path: Path) -> None:
    def fail(_: object) -> list[str]:
        raise RenderError("no series")

    with pytest.raises(RenderError, match="no series"):
        Cache(tmp_path, "code").cached(fail)("a")
    assert Cache(tmp_path, "code").cached(lambda _: ["made"])("a") == ["made"]


def test_size_is_bounded(tmp_path: Path) -> None:
    """Of many runs, the entries of the latest stay."""
    for run in range(50):
        make = Cache(tmp_path, "code", limit=20_000).cached(lambda _: ["x" * 1000])
        for thing in range(3):
            make((run, thing))
        assert sum(path.stat().st_size for path in entries(tmp_path)) <= 20_000
    making = Making()
    Cache(tmp_path, "code").cached(making)((49, 2))
    assert not making.asked


def test_concurrent_writers(tmp_path: Path) -> None:
    """Whoever reads sees a whole entry or none, and nothing is left beside them."""

    def work(number: int) -> bool:
        make = Cache(tmp_path, "code", limit=100_000).cached(lambda thing: [str(thing) * 10_000])
        return all(make(thing % 5) == [str(thing % 5) * 10_000] for thing in range(number, number + 100))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert len(entries(tmp_path)) == 5
