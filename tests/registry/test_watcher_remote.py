"""The watcher of a remote registry: what is promoted there goes live here, and its outage unseats nobody."""

from __future__ import annotations

import shutil
from pathlib import Path

from structlog.testing import capture_logs

from service.core.features import FEATURES
from service.registry.promotion import promote
from service.registry.watcher import LAST_PULL_RETRY_MS, Watcher
from service.settings import RegistrySettings
from tests.registry.bucket import Remote, environment, s3_server
from tests.registry.build import build_artifact

FOUR = FEATURES[:4]
POLL_MS = 100


class Watching:
    """A watcher of a copy, on a clock that a test sets."""

    def __init__(self, folder: Path, url: str) -> None:
        """Watch; nothing was looked at yet."""
        self.time_ms = 5_000
        settings = RegistrySettings(path=folder / "watched", remote=url, poll_ms=POLL_MS)
        self.watcher = Watcher(settings, "attempts", lambda: self.time_ms)

    def look(self) -> tuple[int, ...]:
        """Look at both registries, as the thread does, and return what answers."""
        self.watcher.pull()
        self.watcher.refresh()
        return () if self.watcher.lineup is None else self.watcher.lineup.versions


def test_what_is_promoted_there_goes_live_here(remote: Remote, tmp_path: Path) -> None:
    """The copy is made by the watcher, and follows every promotion of another machine."""
    there, here = remote.copy(), Watching(tmp_path, remote.url)
    for seed in range(2):
        version = build_artifact(there, FOUR, seed=seed, trees=2)
        promote(there, version, "ann", "")
        assert here.look() == (version,)
    assert (here.watcher.reason, here.watcher.pull_failures) == ("", 0)


def test_an_outage_unseats_nobody_and_is_told_once(tmp_path: Path) -> None:
    """What was brought before goes on serving; the reason is logged once, however often it is asked."""
    with s3_server(tmp_path / "plan") as address, environment(address):
        there = Remote(address, "outage", tmp_path)
        copy = there.copy()
        promote(copy, build_artifact(copy, FOUR, trees=2), "ann", "")
        here = Watching(tmp_path, there.url)
        assert here.look() == (1,)
    with capture_logs() as lines:
        for _ in range(2):
            assert here.look() == (1,)
            here.time_ms += LAST_PULL_RETRY_MS
    assert here.watcher.pull_failures == 2
    assert there.url in here.watcher.reason
    assert [line["reason"] for line in lines] == [here.watcher.reason]


def test_a_remote_that_can_be_used_again_is_followed_again(remote: Remote, tmp_path: Path) -> None:
    """Waits between tries double up to a bound; once it can be used, the reason is gone."""
    there, here = remote.copy(), Watching(tmp_path, remote.url)
    version = build_artifact(there, FOUR, trees=2)
    promote(there, version, "ann", "")
    build_artifact(tmp_path / "watched", FOUR, trees=2)  # which makes it a registry of its own, and no copy
    waits = []
    for failures in range(1, 11):
        asked_ms = here.time_ms
        while here.watcher.pull_failures < failures:
            assert here.look() == ()
            here.time_ms += POLL_MS
        waits.append(here.time_ms - asked_ms)
    assert waits == sorted(waits)
    assert waits[-1] == LAST_PULL_RETRY_MS
    assert "is a registry of its own" in here.watcher.reason
    shutil.rmtree(tmp_path / "watched")
    here.time_ms += LAST_PULL_RETRY_MS
    assert (here.look(), here.watcher.reason) == ((version,), "")
