"""Generated files to where running systems read them, and dashboards into Grafana. What is to be done is found out first,
by asking every system; then it is done, one thing after the other, and a second run finds nothing to do.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from balance.errors import BalanceError, LiveError, StoreError, few
from balance.generate import build, store
from balance.generate.expected import expected, token
from balance.live.alertmanager import Alertmanager
from balance.live.delivery import config_differences, dashboard_differences
from balance.live.facts import ExpectedState
from balance.live.grafana import Grafana, Json
from balance.live.prometheus import Prometheus
from balance.live.symptoms import outdated_rules
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.render.artifact import Artifact
from balance.render.rules import FOLDER, HEADER

Words = str | None


class Step(NamedTuple):
    """One thing to do: what it is, how it is called when it has been done, and the diff if it is a file's. `run` says what is still wrong, if
    something is."""

    plan: str
    done: str
    run: Callable[[], Words]
    diff: str = ""


def steps(options: Namespace, bundle: Bundle, settings: Settings) -> Iterator[Step]:
    """What is to be done, in that order. Raises `BalanceError` if a system cannot be asked or will refuse."""
    made = expected(bundle, settings)
    rules = [*_files(options.rules, build.rule_files(bundle, settings), f"{FOLDER}/")] if options.rules else []
    manager = [*_files(options.alertmanager_files, build.alertmanager(bundle, settings), "alertmanager/")] if options.alertmanager_files else []
    reloads = [
        *(_reload_prometheus(Prometheus(options.prometheus, timeout=30), made, bool(rules)) if options.prometheus else ()),
        *(_reload_alertmanager(Alertmanager(options.alertmanager), made, bool(manager)) if options.alertmanager else ()),
    ]
    folder = settings.provisioning.folder or bundle.folder
    boards = [*_dashboards(Grafana(options.grafana, token(options.grafana_token_file)), made, folder)] if options.grafana else []
    yield from (*rules, *manager, *reloads, *boards)


def _files(directory: Path, artifacts: list[Artifact], prefix: str) -> Iterator[Step]:
    """The files of a directory that are not as made. Others are left alone; those that were generated once are named."""
    made = {artifact.path.removeprefix(prefix): artifact.text for artifact in artifacts}
    changes = [store.Change(path, old, text) for path, text in made.items() if (old := _read(directory / path)) != text]
    for other in sorted(directory.glob("*.y*ml")):
        if other.name not in made and (_read(other) or "").startswith(HEADER):
            print(f"left alone: {other} was generated, and not by this run: remove it if nobody else makes it", file=sys.stderr)

    def write(change: store.Change) -> Words:
        store.apply(directory, [change])
        return None

    for change in changes:
        path = directory / change.path
        yield Step(f"write {path}", f"{'made' if change.old is None else 'changed'} {path}", lambda change=change: write(change), change.diff())  # type: ignore[misc]


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", where=str(path), cure="check the path and its permissions") from None


def _reload_prometheus(server: Prometheus, made: ExpectedState, written: bool) -> Iterator[Step]:
    behind = outdated_rules(server.get("rules")["groups"], made.rules)

    def run() -> Words:
        if not server.reload():
            how = "send its process SIGHUP (`systemctl reload prometheus`), or start it with --web.enable-lifecycle"
            return f"NOT reloaded: {server.where} takes no orders to reload: {how}"
        still = outdated_rules(server.get("rules")["groups"], made.rules)
        if still:
            return f"reloaded {server.where}, and it does NOT have the generated rules ({few(still)}): are they among its rule_files?"
        return None

    if written or behind:
        why = f", which has not the generated {few(behind)}" if behind else ""
        yield Step(f"reload {server.where}{why}", f"reloaded {server.where}", run)


def _reload_alertmanager(server: Alertmanager, made: ExpectedState, written: bool) -> Iterator[Step]:
    if not made.alertmanager:
        raise BalanceError("the sources do not say who is told (routing)", where="--alertmanager", cure="leave it out, or name another --source")

    def run() -> Words:
        server.reload()
        still = config_differences(made, server.configuration())
        return f"reloaded {server.url}, and it does NOT have the generated configuration: {few(still)}" if still else None

    behind = config_differences(made, server.configuration())
    if written or behind:
        yield Step(f"reload {server.url}", f"reloaded {server.url}", run)


def _dashboards(grafana: Grafana, made: ExpectedState, title: str) -> Iterator[Step]:
    there = {uid: grafana.dashboard(uid) for uid in made.dashboards}
    provisioned = [
        uid
        for uid, found in there.items()
        if found and found["meta"].get("provisioned") and dashboard_differences(made.dashboards[uid], found["dashboard"])
    ]
    if provisioned:
        cure = "write the files that it reads: `balance-gen write`, and copy dashboards/"
        raise LiveError(f"has {few(provisioned)} from files and takes no changes of them", where=grafana.where, cure=cure)
    folders = grafana.folders() if title and None in there.values() else {}

    def save(board: Json, found: Json | None) -> Words:
        if found is None and title and title not in folders:
            folders[title] = grafana.make_folder(title)
        folder = found["meta"].get("folderUid", "") if found else folders.get(title, "")
        grafana.save({**board, "id": found["dashboard"].get("id") if found else None}, folder, "balance-gen apply")
        return None

    for uid, found in there.items():
        board = made.dashboards[uid]
        faults = dashboard_differences(board, found["dashboard"]) if found else []
        if found is None or faults:
            what = f"dashboard {uid} {'in' if found else 'to'} {grafana.where}"
            plan = f"change {what}: {few(faults)}" if found else f"upload {what}, folder {title or 'at the top'}"
            yield Step(plan, f"{'changed' if found else 'uploaded'} {what}", lambda board=board, found=found: save(board, found))  # type: ignore[misc]
