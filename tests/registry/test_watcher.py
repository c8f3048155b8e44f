"""The watcher: follows what is promoted, and whatever fails, what was live stays live."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.core.features import FEATURES
from service.registry.artifact import version_path
from service.registry.booster import handles
from service.registry.lineup_file import CanaryAnswer, Change, LineupSpec, change_lineup
from service.registry.promotion import promote, rollback, set_challengers
from service.registry.watcher import FIRST_RETRY_MS, LAST_RETRY_MS, Status, Watcher
from service.settings import RegistrySettings
from tests.registry.build import build_artifact

FOUR = FEATURES[:4]


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        """Begin somewhere."""
        self.time_ms = 5_000

    def now_ms(self) -> int:
        """Return the time that was set."""
        return self.time_ms


@pytest.fixture
def clock() -> Clock:
    """Return a clock at 5,000 ms."""
    return Clock()


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Return a registry with three versions and no lineup."""
    for seed in range(3):
        build_artifact(tmp_path, FOUR, seed=seed, trees=2)
    return tmp_path


@pytest.fixture
def watcher(registry: Path, clock: Clock) -> Watcher:
    """Return a watcher of the registry that has not looked yet."""
    return _watch(registry, clock)


def _watch(registry: Path, clock: Clock) -> Watcher:
    return Watcher(RegistrySettings(path=registry, poll_ms=1), "attempts", clock.now_ms)


def _live(watcher: Watcher) -> tuple[int, ...]:
    return () if watcher.lineup is None else watcher.lineup.versions


def _statuses(watcher: Watcher) -> dict[int, Status]:
    return {state.version: state.status for state in watcher.states}


def _force(registry: Path, **fields: Any) -> None:
    """Set the lineup without the checks of a promotion, as a hand or another release would."""
    change_lineup(registry, lambda _present, _past: Change(at_ms=1, who="", why="", lineup=LineupSpec(**fields)))


def _spoil(registry: Path, version: int) -> bytes:
    """Break a version's model and return what it was."""
    path = version_path(registry, version) / "model.txt"
    content = path.read_bytes()
    path.write_bytes(b"broken")
    return content


def _mend(registry: Path, version: int, content: bytes) -> None:
    (version_path(registry, version) / "model.txt").write_bytes(content)


def test_nothing_is_live_before_a_promotion(watcher: Watcher) -> None:
    """Publishing makes nothing live; the reason says what to do."""
    watcher.refresh()
    assert (watcher.lineup, watcher.states) == (None, ())
    assert "publish a version and promote it" in watcher.reason


def test_a_promotion_goes_live(watcher: Watcher, registry: Path) -> None:
    """A promoted version answers after the next look, and a rollback undoes it."""
    promote(registry, 1, "ann", "")
    watcher.refresh()
    assert _live(watcher) == (1,)
    assert watcher.states == ((1, Status.LIVE, "", 5_000),)
    promote(registry, 2, "ann", "")
    watcher.refresh()
    assert (_live(watcher), _statuses(watcher), watcher.reason) == ((2,), {2: Status.LIVE}, "")
    rollback(registry, "ann", "")
    watcher.refresh()
    assert _live(watcher) == (1,)
    assert (watcher.switches, watcher.loads, watcher.load_failures) == (3, 3, 0)


def test_a_look_at_what_did_not_change_does_nothing(watcher: Watcher, registry: Path) -> None:
    """The lineup stays the same value, and nothing is logged."""
    promote(registry, 1, "ann", "")
    watcher.refresh()
    lineup = watcher.lineup
    with capture_logs() as lines:
        watcher.refresh()
    assert watcher.lineup is lineup
    assert lines == []


def test_a_bad_version_never_unseats_a_good_one(watcher: Watcher, registry: Path, clock: Clock) -> None:
    """The old version answers on, the bad one is in ERROR with its reason, since it failed."""
    promote(registry, 1, "ann", "")
    watcher.refresh()
    lineup = watcher.lineup
    _spoil(registry, 2)
    _force(registry, champion=2)
    clock.time_ms = 6_000
    watcher.refresh()
    assert watcher.lineup is lineup
    assert watcher.states[0] == (1, Status.LIVE, "", 5_000)
    why = "model.txt does not have the checksum that manifest.json states"
    assert watcher.states[1] == (2, Status.ERROR, why, 6_000)
    assert watcher.reason == f"version 2 cannot answer: {why}"


def test_a_bad_first_version_leaves_nothing_live(watcher: Watcher, registry: Path) -> None:
    """Without a good version there is none, and the reason is shown."""
    _spoil(registry, 1)
    _force(registry, champion=1)
    watcher.refresh()
    assert watcher.lineup is None
    assert _statuses(watcher) == {1: Status.ERROR}
    assert "version 1 cannot answer" in watcher.reason


def test_a_bad_challenger_holds_nobody_up(watcher: Watcher, registry: Path) -> None:
    """The champion goes live without it, and it joins when it is mended."""
    content = _spoil(registry, 3)
    _force(registry, champion=2, challengers=(1, 3))
    watcher.refresh()
    assert watcher.lineup is not None
    assert [live.version for live in watcher.lineup.shadow] == [1]
    assert (_statuses(watcher), watcher.reason) == ({1: Status.LIVE, 2: Status.LIVE, 3: Status.ERROR}, "")
    _mend(registry, 3, content)
    watcher.refresh()
    assert [live.version for live in watcher.lineup.shadow] == [1, 3]
    assert _statuses(watcher) == {1: Status.LIVE, 2: Status.LIVE, 3: Status.LIVE}


def test_a_version_that_is_not_there_is_an_error(watcher: Watcher, registry: Path) -> None:
    """A lineup that names a version nobody published leaves the old one live; it comes when it is published."""
    promote(registry, 1, "ann", "")
    watcher.refresh()
    _force(registry, champion=4)
    watcher.refresh()
    assert _live(watcher) == (1,)
    assert "manifest.json cannot be read" in watcher.reason
    assert build_artifact(registry, FOUR, trees=2) == 4
    watcher.refresh()
    assert (_live(watcher), watcher.reason) == ((4,), "")


def test_other_habits_are_an_error(registry: Path, clock: Clock) -> None:
    """A deployment never serves a model that learned from other habits."""
    promote(registry, 1, "ann", "")
    watcher = Watcher(RegistrySettings(path=registry), "settlements", clock.now_ms)
    watcher.refresh()
    assert watcher.lineup is None
    assert "learned from habits of attempts" in watcher.reason


def test_a_failure_is_tried_again_when_its_files_change(watcher: Watcher, registry: Path) -> None:
    """A mended version goes live at the next look, without a new promotion."""
    promote(registry, 1, "ann", "")
    watcher.refresh()
    content = _spoil(registry, 2)
    _force(registry, champion=2)
    watcher.refresh()
    _mend(registry, 2, content)
    watcher.refresh()
    assert (_live(watcher), watcher.reason) == ((2,), "")


def test_a_failure_is_tried_again_when_the_lineup_changes(watcher: Watcher, registry: Path) -> None:
    """A new promotion is a new try of everything that it names."""
    _spoil(registry, 2)
    _force(registry, champion=2)
    watcher.refresh()
    _force(registry, champion=1, challengers=(2,))
    watcher.refresh()
    assert (_live(watcher), watcher.load_failures) == ((1,), 2)


def test_tries_again_become_rare(watcher: Watcher, registry: Path, clock: Clock) -> None:
    """A failure whose cause cannot be seen is tried again after waits that double up to the longest."""
    _spoil(registry, 1)
    _force(registry, champion=1)
    watcher.refresh()
    wait_ms = FIRST_RETRY_MS
    for failures in range(1, 12):
        clock.time_ms += wait_ms - 1
        watcher.refresh()
        assert watcher.load_failures == failures
        clock.time_ms += 1
        watcher.refresh()
        assert watcher.load_failures == failures + 1
        wait_ms = min(2 * wait_ms, LAST_RETRY_MS)
    assert wait_ms == LAST_RETRY_MS
    assert watcher.states[0].since_ms == 5_000


@pytest.mark.parametrize("text", ["", '{"champion": ', '{"champion": 1, "colour": "red"}'])
def test_an_unreadable_lineup_unseats_nobody(watcher: Watcher, registry: Path, text: str) -> None:
    """What was live stays live with a reason, and the next readable lineup clears it."""
    promote(registry, 1, "ann", "")
    watcher.refresh()
    good = (registry / "lineup.json").read_text()
    (registry / "lineup.json").write_text(text)
    watcher.refresh()
    assert _live(watcher) == (1,)
    assert "is not a lineup" in watcher.reason
    (registry / "lineup.json").write_text(good)
    watcher.refresh()
    assert (_live(watcher), watcher.reason) == ((1,), "")


def test_a_lost_lineup_unseats_nobody(watcher: Watcher, registry: Path) -> None:
    """A registry that vanishes leaves live what is live; when it is back, the reason goes."""
    promote(registry, 1, "ann", "")
    watcher.refresh()
    registry.rename(registry.with_name("elsewhere"))
    watcher.refresh()
    assert _live(watcher) == (1,)
    assert "does not exist" in watcher.reason
    registry.with_name("elsewhere").rename(registry)
    watcher.refresh()
    assert (_live(watcher), watcher.reason) == ((1,), "")


def test_an_unreadable_lineup_keeps_its_reason(watcher: Watcher, registry: Path) -> None:
    """While the lineup is not readable nothing else is tried, so the reason that is shown stays that one."""
    promote(registry, 1, "ann", "")
    content = _spoil(registry, 2)
    _force(registry, champion=1, challengers=(2,))
    watcher.refresh()
    (registry / "lineup.json").write_text("")
    _mend(registry, 2, content)
    watcher.refresh()
    assert "is not a lineup" in watcher.reason
    assert _statuses(watcher) == {1: Status.LIVE, 2: Status.ERROR}


def test_a_canary_that_does_not_load_unseats_nobody(watcher: Watcher, registry: Path, clock: Clock) -> None:
    """Users are not split before both versions are there; mended, the canary goes live."""
    promote(registry, 1, "ann", "")
    watcher.refresh()
    content = _spoil(registry, 3)
    _force(registry, champion=2, answer=CanaryAnswer(version=3, share=0.1))
    watcher.refresh()
    assert _live(watcher) == (1,)
    assert "version 3 cannot answer" in watcher.reason
    _mend(registry, 3, content)
    clock.time_ms += FIRST_RETRY_MS
    watcher.refresh()
    assert watcher.lineup is not None
    assert watcher.lineup.canary is not None
    assert (_live(watcher), watcher.lineup.canary.version, watcher.reason) == ((2,), 3, "")


def test_one_log_line_for_each_change(watcher: Watcher, registry: Path, clock: Clock) -> None:
    """Failures are logged once for each reason, however often they are looked at."""
    _spoil(registry, 2)
    with capture_logs() as lines:
        watcher.refresh()
        watcher.refresh()
        promote(registry, 1, "ann", "")
        watcher.refresh()
        _force(registry, champion=2)
        for _ in range(3):
            watcher.refresh()
            clock.time_ms += LAST_RETRY_MS
    assert [line["event"] for line in lines] == [
        "lineup not followed",
        "version loaded",
        "lineup live",
        "version not loaded",
        "lineup not followed",
    ]


def test_an_old_lineup_is_freed_when_its_last_reader_lets_go(watcher: Watcher, registry: Path) -> None:
    """A request that is in hand keeps its versions; when it ends, nothing of them is left in LightGBM."""
    gc.collect()
    before = handles().boosters
    promote(registry, 1, "ann", "")
    set_challengers(registry, (2,), "ann", "")
    watcher.refresh()
    in_hand = watcher.lineup
    assert in_hand is not None
    promote(registry, 3, "ann", "")
    set_challengers(registry, (), "ann", "")
    watcher.refresh()
    assert handles().boosters == before + 3
    assert [live.raw_score([0.5] * 4) for live in (*in_hand.answer, *in_hand.shadow)]
    del in_hand
    assert handles().boosters == before + 1


def test_reloads_leave_nothing_behind(watcher: Watcher, registry: Path) -> None:
    """After many promotions there is one booster in LightGBM, not one for each."""
    gc.collect()
    before = handles()
    for turn in range(30):
        _force(registry, champion=1 + turn % 3)
        watcher.refresh()
    assert watcher.switches == 30
    assert handles() == (before.boosters + 1, before.prepared + 2)


def test_the_thread_follows_and_stops(watcher: Watcher, registry: Path) -> None:
    """Started, it picks a promotion up by itself; stopped, it is gone and what is live stays."""
    watcher.start()
    promote(registry, 1, "ann", "")
    _wait_until(lambda: _live(watcher) == (1,))
    watcher.stop()
    assert "registry-watcher" not in {thread.name for thread in threading.enumerate()}
    assert _live(watcher) == (1,)


def test_a_watcher_that_never_started_stops(watcher: Watcher) -> None:
    """`stop` is harmless at any time."""
    watcher.stop()


def test_readers_see_whole_lineups_while_it_switches(watcher: Watcher, registry: Path) -> None:
    """Threads that score while versions come and go always see a lineup that belongs together."""
    promote(registry, 1, "ann", "")
    watcher.refresh()
    row = [0.25, 0.5, 0.75, 0.5]
    done = threading.Event()
    seen: set[tuple[tuple[int, ...], float]] = set()

    def read() -> None:
        while not done.is_set():
            lineup = watcher.lineup
            assert lineup is not None
            seen.add((lineup.versions, lineup.answer[0].raw_score(row)))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for turn in range(9):
        _force(registry, champion=1 + turn % 3)
        watcher.refresh()
    done.set()
    for reader in readers:
        reader.join()
    assert len({versions for versions, _ in seen}) == len(seen)


def _wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread does; the test's time limit bounds it."""
    pause = threading.Event()
    while not holds():
        pause.wait(0.005)
