"""The manifest: what a model version is and where it comes from, as `manifest.json` holds it.

A field that this release does not know is refused: it may change how the model must be served.
Times are milliseconds since the epoch, ranges are half-open, floats are written so that they read
back with the same bits.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from service.core.calibration import Calibration
from service.core.decision import Thresholds
from service.core.features import Feature
from service.core.profile import Habits

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Part(BaseModel):
    """A part of a file of the registry: frozen, exact types, no field that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class FeatureUse(Part):
    """A feature that the model was trained on, with the fingerprint of its definition."""

    name: str
    fingerprint: str

    @classmethod
    def of(cls, feature: Feature) -> FeatureUse:
        """Return the use of a feature as it is declared now."""
        return cls(name=feature.name, fingerprint=feature.fingerprint)


class Knots(Part):
    """The calibration, see `service.core.calibration`."""

    raw: tuple[float, ...]
    probability: tuple[float, ...]

    @model_validator(mode="after")
    def _usable(self) -> Self:
        self.calibration()
        return self

    def calibration(self) -> Calibration:
        """Return the map that these knots make."""
        return Calibration(self.raw, self.probability)


class ThresholdChoice(Part):
    """Scores from which a purchase is reviewed and declined, and why these."""

    review: Share
    decline: Share
    why: str

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.review > self.decline:
            raise ValueError("the review threshold lies above the decline threshold")
        return self

    def thresholds(self) -> Thresholds:
        """Return the two numbers."""
        return Thresholds(self.review, self.decline)


class Source(Part):
    """The data that the model learned from: a snapshot or an imported file, named by its content."""

    id: str
    content_sha256: Sha256
    rows: Count
    frauds: Count


class TimeRange(Part):
    """From `begin_ms` until just before `end_ms`, in event time."""

    begin_ms: int
    end_ms: int

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.begin_ms > self.end_ms:
            raise ValueError("a time range ends before it begins")
        return self


class Split(Part):
    """How time was divided; gaps lie between the parts, and labels matured for `label_delay_ms`."""

    train: TimeRange
    validation: TimeRange | None = None
    test: TimeRange | None = None
    gap_ms: Count
    label_delay_ms: Count


class Interval(Part):
    """A measured value and, when it was estimated, the interval that holds it with 95 %."""

    value: float
    low: float | None = None
    high: float | None = None


class Histogram(Part):
    """Counts between edges (one edge more than counts), and how many values were unknown."""

    edges: tuple[float, ...]
    counts: tuple[Count, ...]
    unknown: Count = 0

    @model_validator(mode="after")
    def _shaped(self) -> Self:
        if len(self.edges) != len(self.counts) + 1 or any(a >= b for a, b in pairwise(self.edges)):
            raise ValueError("a histogram needs increasing edges, one more than counts")
        return self


class Baseline(Part):
    """What features and score looked like in training, to compare live traffic with."""

    features: dict[str, Histogram]
    score: Histogram


class Comparison(Part):
    """How a version ranks against the champion of its day, both on the version's own test rows."""

    champion: Annotated[int, Field(ge=1)]
    metric: str
    candidate_value: float
    champion_value: float
    difference: Interval
    """Candidate less champion, with an interval by bootstrap over cards; above 0 the candidate is better."""
    rows: Count
    frauds: Count
    overlap: bool
    """Whether the champion learned from some of these rows, or may have: then it looks better than it is."""


class Manifest(Part):
    """Everything about a version. `publish` sets `version` and `checksums`; leave them when you make one."""

    format: Literal[1] = 1
    version: Count = 0
    created_at: AwareDatetime
    features: Annotated[tuple[FeatureUse, ...], Field(min_length=1)]
    """In the order of the model's row."""
    habits: Habits
    currency: str | None = None
    """Of the amounts that it learned from (ISO 4217); None when nobody said."""
    calibration: Knots
    thresholds: ThresholdChoice
    source: Source | None = None
    split: Split | None = None
    parameters: dict[str, bool | int | float | str] = {}
    """LightGBM's, as they were given."""
    sampling: dict[str, float] = {}
    """Which of the training rows it learned from: `history_days`, `honest_share` and `blank_share`, when stated."""
    seed: int | None = None
    trees: Count | None = None
    metrics: dict[str, dict[str, Interval]] = {}
    """By part of the split (`validation`, `test`), then by name."""
    baseline: Baseline | None = None
    comparison: Comparison | None = None
    """Against the champion of its day; None when there was none, or none that could score these rows."""
    selection: dict[str, Count] = {}
    """What is known of the purchases, by `said`, `assumed`, `unknown` and `control`: how far labels are a selection."""
    run: str = ""
    """The run that made it, see `training runs`."""
    parent: int | None = None
    """The version that it is meant to replace."""
    code_revision: str = ""
    libraries: dict[str, str] = {}
    """Version by name of library."""
    notes: str = ""
    checksums: dict[str, Sha256] = {}
    """SHA-256 by name of file."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [feature.name for feature in self.features]
        if len(set(names)) != len(names):
            raise ValueError("a feature is listed twice")
        return self
