"""Where a version comes from: its data and their times, what made it, and how far its labels are a selection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from service.core.windows import DAY_MS
from service.registry.manifest import Manifest
from training.report.words import count, span

_NAMES: Final = ("train", "validation", "test")
_PURPOSE: Final = {
    "train": "the trees are grown on it",
    "validation": "calibration and thresholds are set on it",
    "test": "read once, for this report",
}


class Stretch(NamedTuple):
    """A part of the split on the line of time: where it begins and how long it is, in percent of all of it."""

    name: str
    purpose: str
    when: str
    days: float
    left: float
    width: float


class Fact(NamedTuple):
    """A line of the lineage; `code` when the value is to be read letter by letter."""

    name: str
    value: str
    code: bool = False


def stretches(manifest: Manifest) -> list[Stretch]:
    """Return the parts of the split in their order."""
    split = manifest.split
    if split is None:
        return []
    ranges = [(name, time) for name in _NAMES if (time := getattr(split, name)) is not None]
    begin = min(time.begin_ms for _, time in ranges)
    whole = max(max(time.end_ms for _, time in ranges) - begin, 1)
    return [
        Stretch(
            name,
            _PURPOSE[name],
            span(time),
            (time.end_ms - time.begin_ms) / DAY_MS,
            100.0 * (time.begin_ms - begin) / whole,
            100.0 * (time.end_ms - time.begin_ms) / whole,
        )
        for name, time in ranges
    ]


def facts(manifest: Manifest) -> list[Fact]:
    """Return what one needs to make the version again."""
    source, split = manifest.source, manifest.split
    found = [Fact("made", f"{manifest.created_at:%Y-%m-%d %H:%M} UTC")]
    if source is not None:
        found += [
            Fact("data", f"{source.id}: {count(source.rows)} purchases, {count(source.frauds)} of them fraud"),
            Fact("content of the data (SHA-256)", source.content_sha256, code=True),
        ]
    if split is not None:
        label_days, gap_days = (f"{time / DAY_MS:g}" for time in (split.label_delay_ms, split.gap_ms))
        found.append(Fact("labels", f"had {label_days} days to arrive; {gap_days} days lie between the parts"))
    found += [
        Fact("habits are made of", manifest.habits),
        Fact("currency", manifest.currency or "nobody said, or several"),
        Fact("meant to replace", "nothing" if manifest.parent is None else f"version {manifest.parent}"),
        Fact("run", manifest.run, code=True),
        Fact("code revision", manifest.code_revision, code=True),
        Fact("seed", "" if manifest.seed is None else str(manifest.seed)),
        Fact("trees", "" if manifest.trees is None else count(manifest.trees)),
        Fact("notes", manifest.notes),
    ]
    return [fact for fact in found if fact.value]


def selection(manifest: Manifest) -> Sequence[str]:
    """Return in sentences what the labels do not tell."""
    told = manifest.selection
    if not told:
        return ["Nothing was recorded of how the labels came about: what they leave out is not known."]
    said, assumed, unknown, control = (told.get(name, 0) for name in ("said", "assumed", "unknown", "control"))
    whole = max(said + assumed + unknown, 1)
    everything = f"Somebody said of all {count(whole)} purchases whether they were fraud."
    some = (
        f"Of {count(whole)} purchases, somebody said of {count(said)} whether they were fraud. "
        f"{count(assumed)} ripened without a word and count as honest."
    )
    sentences = [some if assumed or unknown else everything]
    if unknown:
        sentences.append(
            f"{count(unknown)} ({unknown / whole:.1%}) were declined and nobody looked: their truth cannot come. They "
            "are left out of training and of every figure here, so the figures describe purchases that were let "
            "through, and say less of those like the declined ones."
        )
    else:
        sentences.append("None was declined without its truth being known, so nothing is left out for that reason.")
    if control:
        sentences.append(
            f"{count(control)} would have been declined and were let through at random, to learn what becomes of such "
            "purchases; each counts for as many as it stands for."
        )
    elif unknown:
        sentences.append(
            "No control group was let through (setting scoring.control_share), so whether the declines were right "
            "cannot be learned from these data."
        )
    return sentences
