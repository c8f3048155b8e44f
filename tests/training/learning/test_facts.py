"""What is known of purchases: labels as of a moment, whose truth cannot come, and what a control row stands for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from service.core.decision import Decision, DecisionRecord, MissingCause
from service.core.event import EntityKind, Event, EventKind, Settlement
from service.core.features import FEATURES
from service.core.windows import DAY_MS
from service.errors import BadSetting
from service.store.protocol import Store, Submission
from tests.make import NOW_MS, make_event, make_purchase
from tests.store.decisions import make_decision
from tests.store.places import Place
from tests.training.oracle import frame_of, in_pieces
from tests.training.snapshot.scenes import take
from training.data import events
from training.data.hashes import HashPile
from training.learning.dataset import Dataset, load_dataset
from training.learning.facts import Truth
from training.snapshot.read import open_snapshot

LATER_MS = NOW_MS + 3 * DAY_MS


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Open an empty store."""
    opened = Place("lmdb", str(tmp_path / "store")).open()
    yield opened
    opened.close()


def of_store(
    store: Store, folder: Path, recorded: Iterable[Event], decisions: Sequence[DecisionRecord] = ()
) -> Dataset:
    """Return the dataset of a snapshot of a store in which these events and decisions were recorded."""
    store.apply([Submission(event) for event in recorded])
    store.put_decisions(decisions)
    take(store, folder)
    return load_dataset(open_snapshot(folder, "latest"), FEATURES[:2], "attempts")


def said(kind: EventKind, ingest_time_ms: int, purchase_id: str = "p-1") -> Event:
    """Return a verdict that became known at a time."""
    return make_event(kind, purchase_id=purchase_id, event_time_ms=NOW_MS + 1, ingest_time_ms=ingest_time_ms)


def test_a_confirmation_counts_from_when_it_was_known(store: Store, tmp_path: Path) -> None:
    """A purchase is fraud from the ingest of its confirmation on, whenever the fraud is said to have happened."""
    found = of_store(store, tmp_path / "s", [make_purchase(), said(EventKind.FRAUD_CONFIRMED, LATER_MS)])
    assert (found.label.tolist(), found.known_ms.tolist()) == ([1], [LATER_MS])
    assert [found.labels_as_of(at_ms, DAY_MS).tolist() for at_ms in (LATER_MS - 1, LATER_MS)] == [[0], [1]]


def test_a_clearance_takes_the_label_back(store: Store, tmp_path: Path) -> None:
    """Between confirmation and clearance a purchase is fraud as far as anybody knew; before and after it is not."""
    verdicts = [said(EventKind.FRAUD_CONFIRMED, LATER_MS), said(EventKind.FRAUD_CLEARED, LATER_MS + DAY_MS)]
    found = of_store(store, tmp_path / "s", [make_purchase(), *verdicts])
    moments = (LATER_MS - 1, LATER_MS, LATER_MS + DAY_MS)
    assert [found.labels_as_of(at_ms, DAY_MS).tolist() for at_ms in moments] == [[0], [1], [0]]
    assert (found.label.tolist(), found.truth.tolist()) == ([0], [Truth.SAID])


def test_a_clearance_alone_says_honest(store: Store, tmp_path: Path) -> None:
    """Who is cleared without having been accused is honest, and somebody said so."""
    found = of_store(store, tmp_path / "s", [make_purchase(), said(EventKind.FRAUD_CLEARED, LATER_MS)])
    assert (found.label.tolist(), found.truth.tolist(), found.known_ms.tolist()) == ([0], [Truth.SAID], [LATER_MS])


def test_what_was_declined_has_no_truth_unless_somebody_says_it(store: Store, tmp_path: Path) -> None:
    """Declined by us or by others is unknown; reported, or let through all the same, is not."""
    purchases = [make_purchase(f"p-{number}", event_time_ms=NOW_MS + number) for number in range(5)]
    after = [
        make_event(EventKind.PURCHASE_SETTLED, purchase_id="p-2", settlement=Settlement.DECLINED),
        make_event(EventKind.PURCHASE_SETTLED, purchase_id="p-3", settlement=Settlement.COMPLETED),
        said(EventKind.FRAUD_CONFIRMED, LATER_MS, "p-4"),
    ]
    decisions = [
        make_decision(f"p-{number}", decision=Decision.DECLINE, purchase=purchases[number]) for number in (1, 3, 4)
    ]
    found = of_store(store, tmp_path / "s", [*purchases, *after], decisions)
    assert found.truth.tolist() == [Truth.ASSUMED, Truth.UNKNOWN, Truth.UNKNOWN, Truth.ASSUMED, Truth.SAID]
    assert found.usable.tolist() == [True, False, False, True, True]


def test_the_decision_that_counts_is_the_recorded_one(store: Store, tmp_path: Path) -> None:
    """A later look at a purchase that was recorded already declines nothing."""
    late = {EntityKind.USER: MissingCause.HOLDS_PURCHASE}
    decisions = [
        make_decision(decision=Decision.DECLINE),
        make_decision(decision=Decision.APPROVE, recorded=True),
        make_decision(decision=Decision.DECLINE, missing=late),
    ]
    assert of_store(store, tmp_path / "s", [make_purchase()], decisions).truth.tolist() == [Truth.ASSUMED]


def test_a_control_row_stands_for_what_was_declined(store: Store, tmp_path: Path) -> None:
    """One of twenty that were let through counts for twenty; one that was declined beside it, for none."""
    purchases = [make_purchase(f"p-{number}", event_time_ms=NOW_MS + number) for number in range(3)]
    decisions = [
        make_decision("p-0", decision=Decision.APPROVE, control=True, control_share=0.05, recorded=True),
        make_decision("p-1", decision=Decision.DECLINE, control_share=0.05, recorded=True),
        make_decision("p-2", decision=Decision.APPROVE, control_share=0.05, recorded=True),
    ]
    assert of_store(store, tmp_path / "s", purchases, decisions).weight.tolist() == [20.0, 0.0, 1.0]


def test_cards_are_numbered_and_users_stand_in(store: Store, tmp_path: Path) -> None:
    """Purchases of one card, or of one user without a card, have one number; others have others."""
    who = [("c-1", "u-1"), ("", "u-1"), ("c-1", "u-2"), ("", "u-1"), ("c-2", "u-1")]
    purchases = [
        make_purchase(f"p-{number}", card_hash=card, user_id=user, event_time_ms=NOW_MS + number)
        for number, (card, user) in enumerate(who)
    ]
    for found in (
        of_store(store, tmp_path / "s", purchases),
        load_dataset(in_pieces(events.complete(frame_of(purchases)), 2), FEATURES[:2], "attempts"),
    ):
        first, alone, same, again, other = found.card.tolist()
        assert (first, alone) == (same, again)
        assert len({first, alone, other}) == 3


def test_habits_of_another_kind_are_refused(store: Store, tmp_path: Path) -> None:
    """A snapshot is not read as if its store had made habits of something else."""
    of_store(store, tmp_path / "s", [make_purchase()])
    with pytest.raises(BadSetting, match="give --habits attempts"):
        load_dataset(open_snapshot(tmp_path / "s", "latest"), FEATURES[:2], "settlements")


def test_an_empty_snapshot_is_an_empty_dataset(store: Store, tmp_path: Path) -> None:
    """No purchases, no rows, no error."""
    assert of_store(store, tmp_path / "s", []).matrix.shape == (0, 2)


def test_declined_purchases_of_a_file_have_a_truth_where_it_says_one() -> None:
    """In an event file a declined purchase is unknown only when its label is."""
    stream = [make_purchase(f"p-{number}") for number in range(3)]
    stream += [
        make_event(EventKind.PURCHASE_SETTLED, purchase_id=f"p-{number}", settlement=Settlement.DECLINED)
        for number in (0, 1)
    ]
    labels = pl.Series([1, None, None, None, None], dtype=pl.Int8)
    frame = events.complete(frame_of(stream).with_columns(label=labels))
    found = load_dataset(in_pieces(frame, 2), FEATURES[:1], "attempts")
    assert found.truth.tolist() == [Truth.SAID, Truth.UNKNOWN, Truth.ASSUMED]


def test_the_matrix_can_be_a_file(tmp_path: Path) -> None:
    """With a scratch folder the matrix is mapped from a file there and holds the same."""
    stream = in_pieces(events.complete(frame_of([make_purchase(f"p-{number}") for number in range(5)])), 2)
    kept, mapped = (load_dataset(stream, FEATURES, "attempts", scratch=scratch) for scratch in (None, tmp_path))
    assert np.array_equal(kept.matrix, mapped.matrix, equal_nan=True)
    assert list(tmp_path.iterdir())


def test_a_pile_knows_what_came_twice() -> None:
    """Hashes that came more than once, in one piece or in several, are returned once each, in order."""
    top = np.uint64(1 << 63)
    with HashPile() as pile:
        pile.add(np.array([5, 7, 5], np.uint64))
        pile.add(np.array([7, 9, 1], np.uint64) | top)
        pile.add(np.array([9], np.uint64) | top)
        assert pile.repeated().tolist() == [5, int(top) + 9]
