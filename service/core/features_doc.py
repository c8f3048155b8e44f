"""The list of features as a Markdown document, made from the declarations and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from service.core.aggregates import RECENT_CAP
from service.core.features import FEATURES, Feature
from service.core.fixed import LOG_SCALE
from service.core.formula import readings
from service.core.profile import DAY_PART_MS
from service.core.windows import HOUR_MS, MINUTE_MS, SERIES, WINDOWS, Window

_MONOTONE = {1: "more of it can only speak for fraud", -1: "more of it can only speak against fraud"}


def features_markdown(features: Sequence[Feature] = FEATURES) -> str:
    """Return the whole document: how to read it, one line for each feature, then each in full."""
    return "\n".join([*_head(features), *_overview(features), *(line for one in features for line in _section(one))])


def _head(features: Sequence[Feature]) -> list[str]:
    return [
        "# Features",
        "",
        "Made by `make docs` from `service/core/features.py`; a test refuses it when it is stale.",
        "",
        f"{len(features)} features, each a number in [0, 1], or unknown (NaN) when a profile that it reads was",
        "not named or could not be read. A profile that was read and is empty is not unknown: it reads as zeros.",
        "",
        "How to read a formula:",
        "",
        "| Text | Meaning |",
        "|---|---|",
        "| `time_ms` | event time of the purchase |",
        "| `amount` | its price in minor units |",
        f"| `log_amount`, `log_quantity` | log2(price + 1) and log2(number of items), in units of 1/{LOG_SCALE} |",
        "| `user.purchases` | a total since ever |",
        "| `user.purchases_7d` | a sum over a window |",
        f"| `user.day_part` | purchases in the same {DAY_PART_MS // HOUR_MS} hours of the day (UTC) |",
        f"| `user.cards` | how many cards the user was met with last, at most {RECENT_CAP} |",
        "| `user.cards?` | 1 when the card of the purchase is one of them, else 0 |",
        "| `user.exists` | 1 when anything was ever recorded, else 0 |",
        "",
        "A window is the current bucket and those before it, by event time:",
        "",
        "| Window | Buckets | Width of one |",
        "|---|---|---|",
        *(f"| `{one.name}` | {one.count} | {_width(one)} |" for one in WINDOWS.values()),
        "",
    ]


def _width(window: Window) -> str:
    bucket_ms = next(series.bucket_ms for series in SERIES if series.name == window.series)
    hours, minutes = bucket_ms // HOUR_MS, bucket_ms // MINUTE_MS
    return f"{hours} h" if hours else f"{minutes} min"


def _overview(features: Iterable[Feature]) -> list[str]:
    lines = (f"| [`{one.name}`](#{one.name}) | {one.question} |" for one in features)
    return ["| Feature | Question |", "|---|---|", *lines]


def _section(feature: Feature) -> list[str]:
    kinds = dict.fromkeys(reading.kind.name.lower() for reading in readings([feature.formula]))
    monotone = _MONOTONE.get(feature.monotone)
    return [
        "",
        f"## {feature.name}",
        "",
        f"{feature.question} {feature.why}",
        "",
        "```",
        str(feature.formula),
        "```",
        "",
        f"- Unit: {feature.unit}",
        f"- Reads: {', '.join(kinds) or 'the purchase alone'}",
        f"- When high: {feature.high}",
        f"- When low: {feature.low}",
        *([f"- Monotone: {monotone}"] if monotone else []),
        f"- Fingerprint: `{feature.fingerprint}`",
    ]
