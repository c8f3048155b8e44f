"""The laws of `service.store.listing_table` and of `service.store.papers`, on every store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from service.core.event import EntityKind
from service.core.listing import ListingAct, ListingChange
from service.store.protocol import Store
from tests.make import NOW_MS
from tests.store.conftest import Bench
from tests.store.listings import make_change, make_listing

EXPIRED, REMOVED = ListingAct.EXPIRED, ListingAct.REMOVED


def test_a_fresh_store_lists_nobody(store: Store) -> None:
    """Nothing was ever changed: revision 0, no entries, no audit."""
    assert store.listings.revision() == 0
    assert store.listings.read() == (0, {})
    assert store.listings.changes(0, 10) == []


def test_entries_are_what_the_changes_made_of_them(bench: Bench) -> None:
    """Adding, replacing, removing and expiring give the entries and the audit, also after the store is opened again."""
    store = bench.open()
    seller = make_listing(
        "s-1", kind=EntityKind.SELLER, effect="allow", why="größer als geprüft", expires_ms=NOW_MS + 1
    )
    batches = [
        [make_change(1, make_listing("c-1")), make_change(2, seller), make_change(3, make_listing("c-2"))],
        [make_change(4, make_listing("c-1", effect="review")), make_change(5, make_listing("c-2"), REMOVED)],
        [make_change(6, seller, EXPIRED)],
    ]
    for batch in batches:
        assert store.listings.change(batch[0].number - 1, batch)
    store.close()
    again = bench.open().listings
    assert again.revision() == 6
    review = make_listing("c-1", effect="review")
    assert again.read() == (6, {review.key: review})
    assert again.changes(0, 100) == [change for batch in batches for change in batch]
    assert again.changes(3, 100) == batches[1] + batches[2]
    assert again.changes(3, 1) == batches[1]


def test_two_kinds_may_share_an_id(store: Store) -> None:
    """An entry is named by kind and id."""
    user, card = make_listing("x", kind=EntityKind.USER), make_listing("x")
    assert store.listings.change(0, [make_change(1, user), make_change(2, card)])
    assert store.listings.read().entries == {user.key: user, card.key: card}


def test_what_was_seen_must_still_hold(store: Store) -> None:
    """A change that names another revision than the present one changes nothing."""
    assert store.listings.change(0, [make_change(1, make_listing("c-1"))])
    assert not store.listings.change(0, [make_change(1, make_listing("c-2"))])
    assert not store.listings.change(5, [make_change(6, make_listing("c-2"))])
    assert store.listings.read().revision == 1
    assert [change.listing.id for change in store.listings.changes(0, 10)] == ["c-1"]


def test_of_racing_changes_each_is_made_once(store: Store) -> None:
    """Eight that change the lists at once, each trying until it succeeds, leave every change numbered without gaps."""

    def add(number: int) -> None:
        while True:
            revision = store.listings.revision()
            if store.listings.change(revision, [make_change(revision + 1, make_listing(f"c-{number}"))]):
                return

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(24)))
    changes = store.listings.changes(0, 100)
    assert [change.number for change in changes] == list(range(1, 25))
    assert sorted(change.listing.id for change in changes) == sorted(f"c-{number}" for number in range(24))
    assert len(store.listings.read().entries) == 24


def test_the_oldest_changes_are_let_go(store: Store) -> None:
    """Dropping takes whole batches from the beginning, within its limit, and the entries stay."""

    def batch(first: int, at_ms: int) -> list[ListingChange]:
        return [make_change(first + at, make_listing(f"c-{first + at}"), at_ms=at_ms) for at in range(2)]

    for first, at_ms in ((1, NOW_MS), (3, NOW_MS + 1), (5, NOW_MS + 2)):
        assert store.listings.change(first - 1, batch(first, at_ms))
    assert store.listings.drop_changes(NOW_MS + 2, 2) == 2
    assert [change.number for change in store.listings.changes(0, 100)] == [3, 4, 5, 6]
    assert store.listings.drop_changes(NOW_MS + 2, 100) == 2
    assert store.listings.drop_changes(NOW_MS + 2, 100) == 0
    assert [change.number for change in store.listings.changes(0, 100)] == [5, 6]
    assert store.listings.change(6, [make_change(7, make_listing("c-7"))])
    assert store.listings.read().revision == 7
    assert len(store.listings.read().entries) == 7


def test_papers_are_kept_by_folder_and_name(bench: Bench) -> None:
    """A paper is put, put anew, found by its folder and let go; another folder and the next opening see the same."""
    store = bench.open()
    papers = store.papers
    papers.put("notes", "b", b"1")
    papers.put("notes", "b", b"2")
    papers.put("notes", "a", b"")
    papers.put("note", "s", b"3")
    store.close()
    papers = bench.open().papers
    assert (papers.get("notes", "b"), papers.get("notes", "a"), papers.get("note", "b")) == (b"2", b"", None)
    assert papers.names("notes") == ["a", "b"]
    papers.drop("notes", "b")
    papers.drop("notes", "b")
    assert papers.get("notes", "b") is None
    assert papers.names("notes") == ["a"]


def test_a_paper_is_added_once(store: Store) -> None:
    """Whoever adds a paper that is there gets the one that is there."""
    assert store.papers.add("keys", "k", b"first") == b"first"
    assert store.papers.add("keys", "k", b"second") == b"first"
    assert store.papers.get("keys", "k") == b"first"
