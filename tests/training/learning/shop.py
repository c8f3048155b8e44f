"""A shop of the tests: a market that was recorded in an embedded store, and where a job keeps its things."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from service.settings import Settings
from service.store.opening import open_store
from service.store.protocol import Submission
from training.data import events
from training.data.events import silent
from training.learning.options import TrainOptions
from training.learning.retrain import Folders
from training.simulate import MarketSettings, simulate

FEATURES: Final = ("user_tenure", "seller_tenure", "user_fraud_rate", "card_report_rate", "user_price_typicality")

OPTIONS: Final = TrainOptions(
    features=FEATURES,
    parameters={"num_iterations": 5, "num_threads": 1, "max_bin": 255},
    decline_precision=0.5,
    least_declined=5,
)
"""A training that takes next to no time."""


class Shop(NamedTuple):
    """A folder with everything in it."""

    folder: Path

    @property
    def market(self) -> Path:
        """Return the event file of all that happened."""
        return self.folder / "market.parquet"

    @property
    def folders(self) -> Folders:
        """Return where a retraining keeps its things."""
        return Folders(self.folder / "registry", self.folder / "snapshots", self.folder / "runs")

    @property
    def settings(self) -> Settings:
        """Return the settings of the service."""
        lmdb = {"path": self.folder / "store", "max_size_bytes": 1 << 30}
        return Settings.model_validate({"store": {"lmdb": lmdb}})

    def record(self, begin: int = 0, end: int | None = None) -> None:
        """Record these events of the market."""
        recorded = [event for batch in events.batches(self.market) for event in batch][begin:end]
        with closing(open_store(self.settings)) as store:
            store.apply([Submission(event) for event in recorded])


def open_shop(folder: Path, purchases: int = 2_000) -> Shop:
    """Return a shop whose market has happened and was not recorded yet."""
    shop = Shop(folder)
    simulate(MarketSettings(purchases=purchases, fraud_rate=0.08), shop.market, silent)
    return shop
