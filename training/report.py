"""The report of a version: one HTML file with its pictures inside, that works offline and can be mailed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from typing import Final

import numpy as np

from service.registry.manifest import Interval, Manifest, TimeRange
from training.metrics import Column, Labels, curve

_WIDTH: Final = 360
_HEIGHT: Final = 240
_MARGIN: Final = 40
_POINTS: Final = 200
_CALIBRATION_BINS: Final = 10

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2733}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .8rem;border-bottom:1px solid #d8dee6;"
    "text-align:left}td.n{text-align:right;font-variant-numeric:tabular-nums}svg{margin:.5rem 1rem .5rem 0}"
    "figure{display:inline-block;margin:0}figcaption{font-size:13px;color:#5b6875}"
)


def report_html(manifest: Manifest, scores: Column, labels: Labels, recall: Mapping[str, float]) -> str:
    """Return the report of a version, from its manifest and the scores of the part that judges it."""
    split = manifest.split
    when = [] if split is None else [("train", split.train), ("validation", split.validation), ("test", split.test)]
    parts = [(name, _span(span)) for name, span in when if span is not None]
    metrics = [
        (part.replace("_", " "), name.replace("_", " "), _interval(value))
        for part, values in manifest.metrics.items()
        for name, value in values.items()
    ]
    thresholds = manifest.thresholds
    made = (
        f"Made {manifest.created_at:%Y-%m-%d %H:%M} UTC from {manifest.source.id if manifest.source else 'unknown'}: "
        f"{manifest.trees} trees, {len(manifest.features)} features, seed {manifest.seed}. {manifest.notes}"
    )
    body = [
        "<h1>Model report</h1>",
        f"<p>{escape(made)}</p>",
        _table(("part", "time"), parts),
        _table(("part", "metric", "value (95 %)"), metrics),
        f"<p>Review from {thresholds.review:.4f}, decline from {thresholds.decline:.4f}. {escape(thresholds.why)}.</p>",
        _precision_recall(scores, labels),
        _calibration(scores, labels),
    ]
    if recall:
        rows = [(name or "unnamed", f"{value:.1%}") for name, value in sorted(recall.items())]
        body.append(_table(("fraud pattern", "reviewed or declined"), rows))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Model report</title><style>{_STYLE}</style>'
        f"<body>{''.join(body)}</body></html>\n"
    )


def _span(span: TimeRange) -> str:
    begin, end = (datetime.fromtimestamp(at / 1000, UTC) for at in (span.begin_ms, span.end_ms))
    return f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}"


def _interval(interval: Interval) -> str:
    known = interval.low is not None and interval.high is not None
    return f"{interval.value:.3f}" + (f" ({interval.low:.3f} to {interval.high:.3f})" if known else "")


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{lines}</table>"


def _precision_recall(scores: Column, labels: Labels) -> str:
    frauds, purchases = curve(labels, scores)
    shown = np.unique(np.linspace(0, frauds.size - 1, _POINTS).astype(int))
    recall, precision = frauds[shown] / frauds[-1], frauds[shown] / purchases[shown]
    return _figure([(recall, precision)], "recall", "precision", "What a threshold finds, and how purely")


def _calibration(scores: Column, labels: Labels) -> str:
    edges = np.unique(np.quantile(scores, np.linspace(0.0, 1.0, _CALIBRATION_BINS + 1)))
    at = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, max(edges.size - 2, 0))
    count = np.maximum(np.bincount(at), 1)
    expected = np.sqrt(np.bincount(at, scores) / count)
    observed = np.sqrt(np.bincount(at, labels) / count)
    line = np.array([0.0, 1.0])
    curves = [(expected, observed), (line, line)]
    return _figure(curves, "√ mean score", "√ share of fraud", "Calibration, by tenths of the purchases")


def _figure(curves: Iterable[tuple[Column, Column]], across: str, up: str, caption: str) -> str:
    width, height = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN
    lines = []
    for number, (x, y) in enumerate(curves):
        points = " ".join(
            f"{_MARGIN + a * width:.1f},{_MARGIN + (1 - b) * height:.1f}" for a, b in zip(x, y, strict=True)
        )
        colour = ("#0b6e99", "#b9c3cd")[number]
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return (
        f'<figure><svg width="{_WIDTH}" height="{_HEIGHT}" role="img"><title>{escape(caption)}</title>'
        f'<rect x="{_MARGIN}" y="{_MARGIN}" width="{width}" height="{height}" fill="none" stroke="#d8dee6"/>'
        f'{"".join(lines)}<text x="{_MARGIN}" y="{_HEIGHT - 12}" font-size="13">{across} 0 … 1</text>'
        f'<text x="{_MARGIN}" y="{_MARGIN - 12}" font-size="13">{up} 0 … 1</text></svg>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
