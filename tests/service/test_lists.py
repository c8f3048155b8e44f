"""The lists as a worker holds them, and how they are changed."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from service.app import App
from service.client import FraudClient
from service.clock import WallClock
from service.core.event import EntityKind
from service.core.listing import Listing, ListingAct, ListingChange
from service.errors import BadSetting, InvalidInput, StoreUnavailable
from service.list_editor import ListEditor, check
from service.lists import Lists
from service.pb import fraud_pb2 as pb
from service.store.listing_table import MAX_BATCH_CHANGES, Listed, ListingTable
from service.store.protocol import Store
from tests.make import NOW_MS, make_purchase
from tests.store.listings import make_listing
from tests.store.places import Place

USER, SELLER, ITEM, CARD = EntityKind


class Time:
    """The time of day as a test sets it."""

    def __init__(self) -> None:
        """Begin now."""
        self.ms = NOW_MS

    def now_ms(self) -> int:
        """Return it."""
        return self.ms

    def seconds(self) -> float:
        """Return it as a clock that runs on."""
        return self.ms / 1000


class ForgetfulTable:
    """The lists of a store whose audit was dropped in between, and that can be down."""

    def __init__(self, table: ListingTable) -> None:
        """Wrap a table."""
        self._table = table
        self.down = False
        self.read_wholly = 0

    def revision(self) -> int:
        """Return the revision, if up."""
        if self.down:
            raise StoreUnavailable("down")
        return self._table.revision()

    def read(self) -> Listed:
        """Return all entries, and count that."""
        self.read_wholly += 1
        return self._table.read()

    def change(self, revision: int, changes: Sequence[ListingChange]) -> bool:
        """Change the lists."""
        return self._table.change(revision, changes)

    def changes(self, after: int, limit: int) -> list[ListingChange]:
        """Return changes."""
        return self._table.changes(after, limit)

    def drop_changes(self, before_ms: int, limit: int) -> int:
        """Let changes go."""
        return self._table.drop_changes(before_ms, limit)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Open an empty store."""
    opened = Place("lmdb", str(tmp_path / "store")).open()
    yield opened
    opened.close()


@pytest.fixture
def time() -> Time:
    """Give a time of day."""
    return Time()


@pytest.fixture
def editor(store: Store, time: Time) -> ListEditor:
    """Give an editor with room for many."""
    return ListEditor(store.listings, 1000, time.now_ms)


@pytest.fixture
def lists(store: Store, time: Time) -> Lists:
    """Give the lists of a worker that has looked once."""
    made = Lists(store.listings, time.now_ms, time.seconds)
    made.refresh()
    return made


# --- a worker -----------------------------------------------------------------------------------


def test_a_purchase_meets_the_entries_of_its_four_entities(lists: Lists, editor: ListEditor) -> None:
    """Entries come in the order of the kinds; the same id of another kind is somebody else."""
    card, user = make_listing("c-1"), make_listing("u-1", kind=USER, effect="allow")
    editor.add([card, user, make_listing("s-1", kind=ITEM), make_listing("c-1", kind=SELLER)])
    lists.refresh()
    assert lists.of(make_purchase()) == (user, card)
    assert lists.of(make_purchase(user_id="u-2")) == (card,)
    assert lists.of(make_purchase(user_id="u-2", seller_id="", item_id="", card_hash="")) == ()
    assert lists.entries == 4


def test_changes_are_followed(store: Store, lists: Lists, editor: ListEditor, time: Time) -> None:
    """What is added, replaced and removed after the first look is taken in one by one, without reading all entries."""
    table = ForgetfulTable(store.listings)
    follower = Lists(table, time.now_ms)
    follower.refresh()
    editor.add([make_listing("c-1"), make_listing("c-2")])
    editor.add([make_listing("c-1", effect="review")])
    editor.remove(make_listing("c-2").key, "a mistake", "ada")
    follower.refresh()
    lists.refresh()
    assert follower.of(make_purchase()) == lists.of(make_purchase()) == (make_listing("c-1", effect="review"),)
    assert (follower.entries, table.read_wholly) == (1, 1)


def test_who_was_away_for_too_long_reads_everything(store: Store, editor: ListEditor, time: Time) -> None:
    """When the changes since the last look were dropped, all entries are read again."""
    editor.add([make_listing("c-9")])
    table = ForgetfulTable(store.listings)
    lists = Lists(table, time.now_ms)
    lists.refresh()
    editor.add([make_listing("c-1")])
    editor.remove(make_listing("c-9").key, "a mistake", "ada")
    assert store.listings.drop_changes(NOW_MS + 1, 2) == 2
    lists.refresh()
    assert (lists.of(make_purchase()), lists.entries, table.read_wholly) == ((make_listing("c-1"),), 1, 2)


def test_an_entry_holds_until_its_time_is_over(lists: Lists, editor: ListEditor, time: Time, store: Store) -> None:
    """It is there one millisecond before and gone at its time, and one line of the audit says that it expired."""
    listing = make_listing("c-1", expires_ms=NOW_MS + 1000)
    editor.add([listing])
    others = Lists(store.listings, time.now_ms)
    for one in (lists, others):
        one.refresh()
    time.ms = NOW_MS + 999
    lists.refresh()
    assert lists.of(make_purchase()) == (listing,)
    time.ms = NOW_MS + 1000
    for one in (lists, others):
        one.refresh()
        assert one.of(make_purchase()) == ()
    expired = store.listings.changes(1, 10)
    assert [(change.act, change.who, change.listing, change.at_ms) for change in expired] == [
        (ListingAct.EXPIRED, "", listing, NOW_MS + 1000)
    ]
    assert store.listings.read().entries == {}


def test_an_entry_that_was_prolonged_stays(lists: Lists, editor: ListEditor, time: Time) -> None:
    """The time of an entry is that of the last one that was added."""
    editor.add([make_listing("c-1", expires_ms=NOW_MS + 1000)])
    lists.refresh()
    editor.add([make_listing("c-1", expires_ms=NOW_MS + 5000)])
    time.ms = NOW_MS + 1000
    lists.refresh()
    assert lists.of(make_purchase()) == (make_listing("c-1", expires_ms=NOW_MS + 5000),)


def test_what_was_known_stays_while_the_store_is_down(store: Store, editor: ListEditor, time: Time) -> None:
    """The last known entries are applied, those whose time is over are not, and the age of that knowledge grows."""
    table = ForgetfulTable(store.listings)
    lists = Lists(table, time.now_ms, time.seconds)
    editor.add([make_listing("c-1"), make_listing("u-1", kind=USER, expires_ms=NOW_MS + 3000)])
    lists.refresh()
    table.down = True
    time.ms = NOW_MS + 3000
    with pytest.raises(StoreUnavailable):
        lists.refresh()
    assert lists.of(make_purchase()) == (make_listing("c-1"),)
    assert lists.age_s == 3.0
    table.down = False
    lists.refresh()
    assert lists.age_s == 0.0


def test_nothing_is_listed_before_the_first_look(store: Store, editor: ListEditor, time: Time) -> None:
    """A worker that has not heard of the store yet knows of no entry, and does not pretend to be up to date."""
    editor.add([make_listing("c-1")])
    lists = Lists(store.listings, time.now_ms, time.seconds)
    time.ms += 1500
    assert (lists.of(make_purchase()), lists.age_s) == ((), 1.5)


# --- changing -----------------------------------------------------------------------------------


def test_many_entries_are_added_in_batches(store: Store, editor: ListEditor) -> None:
    """More than fit into one step are all added, and the audit numbers them without gaps."""
    many = [make_listing(f"c-{number}") for number in range(2 * MAX_BATCH_CHANGES + 5)]
    editor.add(many)
    assert len(store.listings.read().entries) == len(many)
    assert [one.number for one in store.listings.changes(0, 10_000)] == list(range(1, len(many) + 1))


def test_there_is_room_for_so_many(store: Store, time: Time) -> None:
    """Beyond the bound an entry is refused, replacing one is not, and one whose time is over makes room."""
    editor = ListEditor(store.listings, 2, time.now_ms)
    editor.add([make_listing("c-1"), make_listing("c-2", expires_ms=NOW_MS + 10)])
    with pytest.raises(BadSetting, match="max_entries allows 2"):
        editor.add([make_listing("c-3")])
    editor.add([make_listing("c-1", effect="review")])
    time.ms = NOW_MS + 10
    editor.add([make_listing("c-3")])
    assert sorted(key.id for key in store.listings.read().entries) == ["c-1", "c-3"]


def test_two_editors_do_not_lose_each_others_changes(store: Store, time: Time) -> None:
    """An editor that was overtaken looks again and goes on."""
    first, second = (ListEditor(store.listings, 10, time.now_ms) for _ in range(2))
    first.add([make_listing("c-1")])
    second.add([make_listing("c-2")])
    assert first.remove(make_listing("c-2").key, "a mistake", "ada") == make_listing("c-2")
    second.add([make_listing("c-3")])
    assert sorted(key.id for key in store.listings.read().entries) == ["c-1", "c-3"]
    assert second.remove(make_listing("c-2").key, "a mistake", "ada") is None


@pytest.mark.parametrize(
    ("listing", "field"),
    [
        (make_listing("4111111111111111"), "id"),
        (make_listing("4111-1111-1111-1111", kind=USER), "id"),
        (make_listing("c 1"), "id"),
        (make_listing("c" * 129), "id"),
        (make_listing(expires_ms=NOW_MS), "expires"),
        (make_listing(why=""), "why"),
        (make_listing(why="line\nbreak"), "why"),
        (make_listing(why="card 4111111111111111 was stolen"), "why"),
        (make_listing(who="x" * 129), "who"),
        (make_listing(effect="blok"), "effect"),
    ],
)
def test_a_bad_entry_is_refused_by_its_field(listing: Listing, field: str) -> None:
    """What is wrong is named, and its value is not repeated."""
    with pytest.raises(InvalidInput) as refused:
        check(listing, numeric_ids=False)
    assert [one.field for one in refused.value.violations] == [field]
    assert "4111" not in str(refused.value)


def test_numeric_ids_may_pass_for_cards_but_not_as_cards() -> None:
    """Where ids are long numbers a user may be listed by one; a card never is."""
    check(make_listing("4111111111111111", kind=USER), numeric_ids=True)
    with pytest.raises(InvalidInput):
        check(make_listing("4111111111111111", kind=CARD), numeric_ids=True)


# --- a running service --------------------------------------------------------------------------


def test_a_running_service_applies_what_is_added_and_removed(app: App, client: FraudClient) -> None:
    """A blocked card is declined soon after, with the rule as its reason, and no longer once it is removed."""
    editor = ListEditor(app.store.listings, 10, WallClock().now_ms)
    card = make_listing("c-blocked", made_ms=WallClock().now_ms())
    asked = pb.Purchase(purchase_id="p-listed", user_id="u-1", card_hash="c-blocked", amount_minor=500, quantity=1)
    before = client.score(asked).decision
    assert before != pb.DECLINE
    editor.add([card])
    wait_until(lambda: app.lists.entries == 1)
    declined = client.score(asked)
    assert declined.decision == pb.DECLINE
    assert declined.reasons[0].code == "list:block:card"
    editor.remove(card.key, "a mistake", "ada")
    wait_until(lambda: app.lists.entries == 0)
    assert client.score(asked).decision == before


def wait_until(it_is_so: Callable[[], bool]) -> None:
    """Wait for what must come about."""
    for _ in range(1000):
        if it_is_so():
            return
        clock.sleep(0.02)
    pytest.fail("it did not come about")
