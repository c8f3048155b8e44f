"""A cluster that answers nothing: events are told so after the attempts of one wave, however many they are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from service.settings import AerospikeSettings
from service.store.aerospike import AerospikeStore
from service.store.aerospike_apply import MAX_WAVE_EVENTS
from service.store.protocol import Status
from tests.make import make_purchase
from tests.store.clients import TIMED_OUT
from tests.store.home import tell


class SilentClient:
    """A client whose cluster answers nothing; it counts what it was asked."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Connect to nobody."""
        del config
        self.requests = 0

    def batch_read(self, keys: Any, bins: Any, policy: Any) -> Any:
        """Hear nothing."""
        del bins, policy
        return self._nothing(len(keys))

    def batch_write(self, batch_records: Any, policy_batch: Any) -> Any:
        """Hear nothing."""
        del policy_batch
        return self._nothing(len(batch_records.batch_records))

    def info_all(self, command: str) -> Any:
        """Hear nothing."""
        del command
        return {}

    def get_stats(self) -> Any:
        """Tell nothing."""
        return SimpleNamespace(nodes=[])

    def close(self) -> None:
        """Let go of it."""

    def _nothing(self, count: int) -> Any:
        self.requests += 1
        unheard = SimpleNamespace(result=TIMED_OUT, record=None)
        return SimpleNamespace(result=TIMED_OUT, batch_records=[unheard] * count)


def test_silence_is_met_once() -> None:
    """A batch of many waves costs as many requests as one event does, and every event is RETRY."""
    requests = []
    for count in (1, 5 * MAX_WAVE_EVENTS):
        clients: list[SilentClient] = []

        def connect(config: dict[str, Any], clients: list[SilentClient] = clients) -> SilentClient:
            clients.append(SilentClient(config))
            return clients[0]

        store = AerospikeStore(AerospikeSettings(write_attempts=2), "attempts", 10, connect=connect)
        outcomes = tell(store, *(make_purchase(f"p-{number}") for number in range(count)))
        assert {one.status for one in outcomes} == {Status.RETRY}
        assert len(outcomes) == count
        requests.append(clients[0].requests)
    assert requests[0] == requests[1]
