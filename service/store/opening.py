"""Opening the store that the settings name."""

from __future__ import annotations

from service.settings import Settings, StoreSettings
from service.store.protocol import Store


def open_store(settings: Settings) -> Store:
    """Open the store that the settings name, in this process. Raises BadSetting when it cannot be used."""
    chosen: StoreSettings = settings.store
    habits = settings.ingest.habits
    if chosen.kind == "aerospike":
        from service.store.aerospike import AerospikeStore  # noqa: PLC0415  its client is loaded only where it is used

        return AerospikeStore(chosen.aerospike, habits, chosen.max_parked)
    from service.store.lmdb import LmdbStore  # noqa: PLC0415

    return LmdbStore(chosen.lmdb, habits, chosen.max_parked)
