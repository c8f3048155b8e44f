"""Settings of the simulated market: how large it is, how long it runs, how much of it is fraud."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field

from service.core.windows import DAY_MS


class MarketSettings(BaseModel):
    """Names one market: the same settings give the same events, byte for byte, with the same library versions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(7, ge=0, description="Seed of everything that is random.")
    purchases: int = Field(100_000, ge=1_000, le=20_000_000, description="Purchases in all, fraud among them.")
    users: int = Field(0, ge=0, le=5_000_000, description="Honest users; 0 = one for every 12 purchases.")
    sellers: int = Field(0, ge=0, le=100_000, description="Honest sellers; 0 = one for every 200 purchases.")
    items: int = Field(0, ge=0, le=1_000_000, description="Items of honest sellers; 0 = ten for every seller.")
    days: int = Field(60, ge=14, le=730, description="Days of purchases; entities may be up to three years older.")
    last_day: date = Field(date(2026, 7, 30), description="The last day (UTC).")
    fraud_rate: float = Field(0.01, ge=0.0, le=0.2, description="Share of the purchases that are fraud.")
    late_rate: float = Field(
        0.01, ge=0.0, le=0.5, description="Share of the purchases that become known minutes to days after they happen."
    )
    mistake_rate: float = Field(
        0.03, ge=0.0, le=1.0, description="Mistaken confirmations, later cleared, for each fraud."
    )
    label_delay_days: float = Field(6.0, gt=0.0, le=30.0, description="Median days until a fraud is confirmed.")
    max_label_delay_days: int = Field(
        30, ge=1, le=120, description="Days after which every fraud is confirmed, and the rest is known to be honest."
    )
    settle_completed: bool = Field(
        True, description="Also write the settlements that say COMPLETED: one event more for most purchases."
    )
    currency: str = Field("EUR", pattern="^[A-Z]{3}$", description="Currency of all amounts (ISO 4217).")

    @property
    def user_count(self) -> int:
        """Return the number of honest users."""
        return self.users or max(self.purchases // 12, 50)

    @property
    def seller_count(self) -> int:
        """Return the number of honest sellers, at least ten."""
        return max(self.sellers or self.purchases // 200, 10)

    @property
    def item_count(self) -> int:
        """Return the number of items of honest sellers, at least one each."""
        return max(self.items or 10 * self.seller_count, self.seller_count)

    @property
    def fraud_count(self) -> int:
        """Return how many purchases are meant to be fraud."""
        return round(self.purchases * self.fraud_rate)

    @property
    def start_ms(self) -> int:
        """Return the first millisecond of the first day."""
        return self.end_ms - self.days * DAY_MS

    @property
    def end_ms(self) -> int:
        """Return the first millisecond after the last day."""
        after = datetime(self.last_day.year, self.last_day.month, self.last_day.day, tzinfo=UTC) + timedelta(days=1)
        return int(after.timestamp()) * 1000
