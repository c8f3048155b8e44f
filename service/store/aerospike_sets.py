"""Where things lie in the namespace: sets, and the keys of their records."""

from __future__ import annotations

from service.core.event import KINDS, EntityKey
from service.settings import AerospikeSettings
from service.store.aerospike_client import Key


class Sets:
    """Names of sets and keys.

    {prefix}user, seller, item, card    profiles: see `aerospike_profile`
    {prefix}event                       events by event id: see `aerospike_event`
    {prefix}log                         pages of the logs of events and of decisions: see `aerospike_log`
    {prefix}decision                    decisions, and which of them a purchase has: see `aerospike_decisions`
    {prefix}meta                        the rest: who is parked, marks, names of rows
    """

    def __init__(self, settings: AerospikeSettings) -> None:
        """Take the names from the settings."""
        self.namespace = settings.namespace
        self._prefix = settings.set_prefix
        self._events = f"{self._prefix}event"
        self.profile_sets = tuple(f"{self._prefix}{kind.name.lower()}" for kind in KINDS)

    def profile(self, key: EntityKey) -> Key:
        """Return the key of a profile."""
        return self.namespace, self.profile_sets[key.kind - 1], key.id

    def event(self, event_id: str) -> Key:
        """Return the key of an event's record."""
        return self.namespace, self._events, event_id

    def page(self, log: str, page: int) -> Key:
        """Return the key of a page of a log."""
        return self.namespace, f"{self._prefix}log", f"{log}-{page}"

    def decision(self, decision_id: str) -> Key:
        """Return the key of a decision, or of what a purchase has."""
        return self.namespace, f"{self._prefix}decision", decision_id

    def meta(self, name: str) -> Key:
        """Return the key of one of the small things."""
        return self.namespace, f"{self._prefix}meta", name
