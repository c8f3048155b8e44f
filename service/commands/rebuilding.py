"""What `python -m service rebuild` does: see `service.rebuild` and `service.transfer`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple, Self

import typer
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from service.errors import BadSetting
from service.exit_codes import ExitCode
from service.finding import MEANINGS, UNDONE, WRONG, Finding
from service.rebuild import Plan, Progress, Report, rebuild
from service.settings import Settings, load
from service.show import ERR, OUT, SCREENFUL
from service.store.lmdb import LmdbStore
from service.store.lmdb_exchange import exchange
from service.store.opening import open_store
from service.store.protocol import Store
from service.transfer import Transferred, transfer


class Wish(NamedTuple):
    """What was asked for on the command line."""

    into: Path | None
    into_prefix: str
    switch: bool
    verify: bool
    alone: bool
    max_memory_bytes: int
    max_events_per_s: int


def run(config: Path | None, wish: Wish, *, as_json: bool) -> None:
    """Do it and print what was found; exits 1 when something is wrong or left to do. Raises our errors."""
    settings = load(config)
    target = _target(settings, wish)
    expires = settings.store.kind == "aerospike" and settings.store.aerospike.profile_ttl_s > 0
    plan = Plan(wish.verify, wish.alone or target is not None, expires, wish.max_memory_bytes, wish.max_events_per_s)
    with _Shown(quiet=as_json) as shown:
        if target is None:
            report, carried = _in_place(settings, plan, shown, alone=wish.alone), None
        else:
            report, carried = _into(settings, target, plan, shown, switch=wish.switch)
    _print(report, carried, as_json=as_json)
    unfinished = report.count((WRONG if wish.verify else UNDONE) - _expected(settings))
    if target is not None:
        typer.echo(
            _switched(settings, wish) if wish.switch and not unfinished else _how_to_switch(settings, wish), err=True
        )
    if unfinished:
        raise typer.Exit(ExitCode.FAILED)


def _target(settings: Settings, wish: Wish) -> Settings | None:
    """Return the settings of the place to rebuild into, None for in place; raises BadSetting."""
    store, (into, into_prefix, *_) = settings.store, wish
    if wish.switch and into is None:
        raise BadSetting("--switch exchanges two directories: it needs --into")
    if wish.verify and (into is not None or into_prefix):
        raise BadSetting("--verify compares the store of the settings: leave out --into and --into-prefix")
    if into is not None:
        if store.kind != "lmdb" or into_prefix:
            raise BadSetting("--into names a directory, for store.kind lmdb: use --into-prefix alone")
        if into.resolve() == store.lmdb.path.resolve():
            raise BadSetting(f"--into {into} is the store itself: name a fresh directory")
        changed: dict[str, Any] = {"lmdb": store.lmdb.model_copy(update={"path": into})}
    elif into_prefix:
        if store.kind != "aerospike":
            raise BadSetting("--into-prefix names sets, for store.kind aerospike: use --into")
        if into_prefix == store.aerospike.set_prefix:
            raise BadSetting(f"--into-prefix {into_prefix} is the store itself: name a fresh one")
        changed = {"aerospike": store.aerospike.model_copy(update={"set_prefix": into_prefix})}
    else:
        return None
    return settings.model_copy(update={"store": store.model_copy(update=changed)})


def _in_place(settings: Settings, plan: Plan, shown: _Shown, *, alone: bool) -> Report:
    store = open_store(settings)
    try:
        if alone:
            _refuse_while_served(store, "--alone")
        return rebuild(store, settings.ingest.habits, plan, shown.rebuilding)
    finally:
        store.close()


def _into(
    settings: Settings, target: Settings, plan: Plan, shown: _Shown, *, switch: bool
) -> tuple[Report, Transferred]:
    source = open_store(settings)
    try:
        if switch:
            _refuse_while_served(source, "--switch")
        fresh = open_store(target)
        try:
            carried = transfer(source, fresh, plan.max_events_per_s, shown.carrying)
            return rebuild(fresh, settings.ingest.habits, plan, shown.rebuilding), carried
        finally:
            fresh.close()
    finally:
        source.close()


def _refuse_while_served(source: Store, option: str) -> None:
    """Raise BadSetting while another process reads the store: what it goes on to write would be lost or left behind."""
    others = source.other_processes() if isinstance(source, LmdbStore) else []
    if others:
        raise BadSetting(f"{option}: stop the service first, process {', '.join(map(str, others))} has the store open")


def _switched(settings: Settings, wish: Wish) -> str:
    """Exchange the directories, and say so."""
    path, into = settings.store.lmdb.path, wish.into
    assert into is not None, "without --into nothing is switched"
    exchange(path, into)
    return f"exchanged: {path} is the rebuilt store now, and {into} the one before; start the service"


def _how_to_switch(settings: Settings, wish: Wish) -> str:
    """Return what to do next."""
    if wish.into is None:
        return (
            f"next: stop the service, run this again, set store.aerospike.set_prefix to {wish.into_prefix!r}, start it"
        )
    if wish.switch:
        return f"nothing was exchanged: {settings.store.lmdb.path} is as it was"
    return "next: stop the service, run this again with --switch, and start it"


def _expected(settings: Settings) -> frozenset[Finding]:
    """Return the findings that are no trouble with these settings: where records expire, some are gone."""
    chosen = settings.store.aerospike
    if settings.store.kind != "aerospike":
        return frozenset()
    gone = {Finding.MISSING} if chosen.profile_ttl_s else set()
    return frozenset(gone | ({Finding.INCOMPLETE} if chosen.event_ttl_s else set()))


def _print(report: Report, carried: Transferred | None, *, as_json: bool) -> None:
    named = {
        str(finding): [f"{key.kind.name.lower()} {key.id}" for key in keys]
        for finding, keys in report.examples.items()
        if finding in UNDONE or finding in (Finding.REPAIRED, Finding.PATCHED)
    }
    if as_json:
        document: dict[str, object] = {
            "profiles": {str(finding): report.findings.get(finding, 0) for finding in Finding},
            "named": named,
            "events": report.events,
            "passes": report.passes,
        }
        if carried is not None:
            document["carried"] = carried._asdict()
        typer.echo(json.dumps(document))
        return
    if carried is not None:
        OUT.print(f"carried: {carried.events:,} events, {carried.decisions:,} decisions, {carried.parked:,} parked")
    OUT.print(f"{report.count(Finding):,} profiles, {report.events:,} events read in {report.passes:,} passes")
    for finding in Finding:
        if count := report.findings.get(finding, 0):
            OUT.print(f"{finding:<11}{count:>12,}  {MEANINGS[finding]}")
    for finding_name, keys in named.items():
        for key in keys[:SCREENFUL]:
            ERR.print(f"{finding_name}: {key}", highlight=False)
        if len(keys) > SCREENFUL:
            ERR.print(f"… and more that are {finding_name}: use --json")


class _Shown:
    """Shows on a terminal how far it is."""

    def __init__(self, *, quiet: bool) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._bar = Bar(*columns, console=ERR, disable=quiet or not ERR.is_terminal)
        self._task = self._bar.add_task("opening the store")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def carrying(self, entries: int) -> None:
        """Show how much was carried."""
        self._bar.update(self._task, description=f"carrying logs: {entries:,} entries")

    def rebuilding(self, progress: Progress) -> None:
        """Show what was read and done."""
        self._bar.update(
            self._task,
            description=f"pass {progress.begun} of {progress.begun + progress.to_come}: "
            f"{progress.events:,} events read, {progress.profiles:,} profiles done",
        )
