"""What a training is told: one value, kept with its run, that decides with the data what comes out."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from service.core.profile import Habits
from service.core.windows import DAY_MS
from training.learning.calibrate import Costs
from training.learning.fit import Parameter

MAX_TRIALS: Final = 1000


class TrainOptions(BaseModel):
    """What a training does; the same data and options give the same model, byte for byte, on one machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(7, ge=0, description="Seed of everything that is random.")
    features: tuple[str, ...] = Field((), description="Names of the features, in the order of the row; none = all.")
    habits: Habits = Field(
        "attempts", description="What habits are made of, as in the service's ingest.habits; a snapshot says it itself."
    )
    cutoff_ms: int = Field(0, ge=0, description="Nothing that became known later is used; 0 = the newest event.")
    label_delay_days: float = Field(
        7.0, gt=0.0, le=120.0, description="Purchases younger than that are left out, and as much lies between parts."
    )
    validation_share: float = Field(
        0.2, gt=0.0, lt=1.0, description="Share of the time that calibrates, sets thresholds, and chooses when tuning."
    )
    test_share: float = Field(0.2, ge=0.0, lt=1.0, description="Share of the time that is judged once; 0 = none.")
    blank_share: float = Field(
        0.1, ge=0.0, le=1.0, description="Share of the rows that are also learned with profiles that were not read."
    )
    history_days: float = Field(
        0.0, ge=0.0, description="Learn from the last days of the training part alone; 0 = all of them."
    )
    honest_share: float = Field(
        1.0, gt=0.0, le=1.0, description="Share of the honest training purchases to learn from; calibration mends it."
    )
    tune: int = Field(
        0, ge=0, le=MAX_TRIALS, description="Parameter sets to try, judged on validation; 0 = ours as they are."
    )
    stop_after: int = Field(
        0, ge=0, le=1000, description="Stop after that many trees without gain on validation; 0 = grow them all."
    )
    review_rate: float = Field(0.02, gt=0.0, lt=1.0, description="Share of the purchases to review or decline.")
    decline_precision: float = Field(
        0.8, gt=0.0, le=1.0, description="Share of the declined purchases that must be fraud."
    )
    least_declined: int = Field(20, ge=1, description="Declined validation purchases below which nothing is declined.")
    cost_review_minor: int | None = Field(
        None, ge=0, description="Cost of a review in minor units; given, thresholds have the lowest cost instead."
    )
    cost_decline_share: float = Field(
        0.1, ge=0.0, le=10.0, description="Cost of declining an honest purchase, as a share of its amount."
    )
    parameters: dict[str, Parameter] = Field({}, description="LightGBM's parameters, where they differ from ours.")
    publish: bool = Field(True, description="Publish the version; without it the run alone remains, an experiment.")
    notes: str = Field("", description="For people; kept in the manifest.")

    @property
    def label_delay_ms(self) -> int:
        """Return the label delay in milliseconds."""
        return round(self.label_delay_days * DAY_MS)

    @property
    def costs(self) -> Costs | None:
        """Return what mistakes cost, None when thresholds go by a share of purchases to review."""
        return None if self.cost_review_minor is None else Costs(self.cost_review_minor, self.cost_decline_share)
