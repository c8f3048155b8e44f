"""A store that was lost is made again out of a snapshot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from service.core.event import EntityKey
from service.errors import BadSetting
from service.rebuild import Plan, rebuild
from service.store.protocol import LoggedEvent, Store
from tests.store.oracle import profiles_of
from tests.store.places import Place
from tests.training.snapshot.scenes import logged, purchases, record, stream, take
from training.data.events import silent
from training.snapshot.read import open_snapshot
from training.snapshot.restore import restore


def without_decisions(entries: list[LoggedEvent]) -> list[LoggedEvent]:
    """Return what a snapshot's events hold of entries of the log."""
    return [entry._replace(decision=None) for entry in entries]


def test_log_and_profiles_are_those_of_the_store(store: Store, folder: Path, tmp_path: Path) -> None:
    """Every event with its revisions, in its order; out of them, every profile. Running it again changes nothing."""
    record(store, stream(4, 300))
    take(store, folder)
    lost = without_decisions(logged(store))
    fresh = Place("lmdb", str(tmp_path / "fresh")).open()
    try:
        for _ in range(2):
            assert restore(open_snapshot(folder, "latest"), fresh, silent) == len(lost)
        assert logged(fresh) == lost
        rebuild(fresh, "attempts", Plan(alone=True))
        expected = profiles_of(lost)
        assert {key: fresh.profile(EntityKey(*key)) for key in expected} == expected
    finally:
        fresh.close()


def test_a_store_that_holds_something_else_is_left_alone(embedded: Store, folder: Path, tmp_path: Path) -> None:
    """A snapshot goes into a fresh store, or into one that it went into before."""
    record(embedded, purchases(3, "a"))
    take(embedded, folder)
    other = Place("lmdb", str(tmp_path / "other")).open()
    try:
        record(other, purchases(3, "b"))
        before = logged(other)
        with pytest.raises(BadSetting, match="something else"):
            restore(open_snapshot(folder, "latest"), other, silent)
        assert logged(other) == before
    finally:
        other.close()


def test_without_keys_there_is_nothing_to_restore(embedded: Store, folder: Path) -> None:
    """A store of pseudonyms would know nobody: it is refused."""
    record(embedded, purchases(3, "a"))
    take(embedded, folder)
    hidden = replace(open_snapshot(folder, "latest"), reveal=False)
    with pytest.raises(BadSetting, match="vault"):
        restore(hidden, embedded, silent)
