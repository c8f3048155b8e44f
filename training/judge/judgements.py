"""What comparing, backtesting and measuring drift print: tables for people, all of it as JSON, gauges to alert on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import typer
from rich.table import Table

from service.core.decision import Decision
from training.console import ERR, OUT, show, table
from training.judge.backtest import TRUTHS, Backtest, Tally
from training.judge.compare import Judged
from training.judge.drift import Drift, Stability
from training.judge.proposal import Proposed
from training.judge.ruling import Rule, RuleEffect
from training.judge.textfile import Gauge
from training.metrics import Estimate

SHOWN_COLUMNS: Final = 20
"""Columns that people are shown of a drift."""

MOVED: Final = 0.1
CHANGED: Final = 0.25
"""From these indices on a column has moved slightly, or really changed."""


def numbers(values: Any) -> Any:  # noqa: ANN401  any nest of values
    """Return nested values as JSON can say them: named tuples by name, and null for a number that there is not."""
    match values:
        case float():
            return values if values == values else None  # noqa: PLR0124  NaN alone differs from itself
        case Mapping():
            return {str(name): numbers(value) for name, value in values.items()}
        case tuple() if hasattr(values, "_asdict"):
            return numbers(values._asdict())
        case list() | tuple():
            return [numbers(value) for value in values]
    return values


def show_comparison(heading: Mapping[str, Any], judged: Sequence[Judged], *, as_json: bool) -> None:
    """Print a table for each version: its metrics, those of the champion on the same purchases, the difference."""
    champion = judged[0].version
    if as_json:
        versions = [{**one._asdict(), "verdict": one.verdict} for one in judged]
        typer.echo(json.dumps(numbers({**heading, "champion": champion, "versions": versions})))
        return
    _show_heading(heading)
    for one in judged:
        OUT.print(f"\n{_introduced(one, champion)}", highlight=False)
        OUT.print(_comparison_table(one, champion))
    _say_what_is_not_known(heading)
    if len(judged) == 1:
        OUT.print(f"only version {champion} scored: let others score in shadow, `python -m training shadow VERSION`")


def show_backtest(
    heading: Mapping[str, Any],
    proposed: Proposed,
    found: Backtest,
    by_pattern: Sequence[Mapping[str, Any]],
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    """Print what is decided then and now, what that means, and of which patterns frauds are caught."""
    shown = {
        **heading,
        "thresholds": proposed.limits,
        "decided_anew": proposed.frame.height,
        "scores_from_rows": proposed.recomputed,
        "changed": found.changed.height,
    }
    if as_json:
        sides = {"then": found.then, "now": found.now}
        meaning = {name: {"then": then, "now": now} for name, then, now in effects(found)}
        rules = [{**one._asdict(), "lacking": dict(rule.lacking)} for one, rule in _told_rules(proposed)]
        details = {"left_out": proposed.left_out, "effects": meaning, "rules": rules, "patterns": by_pattern}
        typer.echo(json.dumps(numbers({**shown, **sides, **details, "out": None if out is None else str(out)})))
        return
    _show_heading(shown)
    OUT.print("\n[bold]what is decided, then → now[/bold]")
    OUT.print(_decision_table(found))
    OUT.print("\n[bold]what that means, then → now[/bold]")
    OUT.print(_effect_table(found))
    if proposed.effects:
        OUT.print("\n[bold]what each rule changes and stops, all others in place[/bold]")
        OUT.print(_rule_table(proposed.effects))
        _say_what_was_not_judged(proposed)
    if by_pattern:
        OUT.print("\n[bold]frauds by pattern[/bold]")
        OUT.print(_pattern_table(by_pattern))
    for feature, count in proposed.left_out.items():
        OUT.print(f"{count:,} decisions are left out: their rows were served without {feature}")
    for policy, count in proposed.not_here.items():
        OUT.print(f"{count:,} decisions were made by policy {policy}, which cannot be read here: without its limits")
    _say_what_is_not_known(heading)
    if out is not None:
        OUT.print(f"what is decided otherwise: {out}")


def show_drift(snapshot: str, version: int, found: Drift, drifted: Sequence[str], *, as_json: bool) -> None:
    """Print the columns that drifted most; all of them as JSON."""
    heading = {"snapshot": snapshot, "version": version, "since_ms": found.since_ms}
    if as_json:
        details = {"columns": found.columns, "left_out": found.left_out, "drifted": drifted}
        typer.echo(json.dumps(numbers({**heading, **details})))
        return
    show(heading, as_json=False)
    rows = [
        {"column": name, "psi": one.value, "by chance": one.noise, "decisions": one.values, "": _reading(one)}
        for name, one in list(found.columns.items())[:SHOWN_COLUMNS]
    ]
    OUT.print(table(rows))
    hidden = len(found.columns) - len(rows)
    if hidden > 0:
        OUT.print(f"{hidden} columns drifted less; --json has all")
    for feature, count in found.left_out.items():
        OUT.print(f"{count:,} decisions are left out: their rows were served without {feature}")
    if drifted:
        ERR.print(f"above the limit: {', '.join(drifted)}")


def _reading(one: Stability) -> str:
    """Return what an index says, as N. Siddiqi reads it, less what chance alone gives."""
    index = one.value - one.noise
    return "changed" if index >= CHANGED else "moved" if index >= MOVED else ""


def _say_what_is_not_known(heading: Mapping[str, Any]) -> None:
    """Say how far what is judged is a selection."""
    unknown, control = heading["without_truth"], heading["control"]
    if unknown:
        OUT.print(
            f"{unknown:,} purchases did not go through, declined here or by whoever settles, and nobody can say what "
            "they were: they are in no metric. Those declined here are what the answering versions took for the "
            "riskiest, which favours versions that did not answer."
        )
    if control:
        OUT.print(f"{control:,} control purchases, let through by chance, count for all that were declined.")


def _show_heading(heading: Mapping[str, Any]) -> None:
    """Print what was judged; counts of nothing are left out."""
    show({name: value for name, value in heading.items() if value != 0 or name == "frauds"}, as_json=False)


def _introduced(one: Judged, champion: int) -> str:
    """Return what a version was judged on, in words."""
    scored = f"answered {one.answered:,} and scored {one.shadowed:,} in shadow"
    if one.version == champion:
        return f"[bold]version {one.version}[/bold], the champion, {scored}; {one.purchases:,} judged"
    shared = f"{one.purchases:,} that {champion} scored as well, {one.frauds:,} frauds"
    return f"[bold]version {one.version}[/bold] {scored}; judged on {shared}: [bold]{one.verdict}[/bold]"


def _comparison_table(one: Judged, champion: int) -> Table:
    shown = Table()
    shown.add_column("metric")
    shown.add_column(f"version {one.version} (95 %)", justify="right")
    if one.version != champion:
        shown.add_column(f"version {champion} (95 %)", justify="right")
        shown.add_column("difference (95 %)", justify="right")
    for name, estimate in one.metrics.items():
        cells = [name.replace("_", " "), _estimated(estimate)]
        if one.version != champion:
            gain = one.difference.get(name)
            cells += [_estimated(one.champion[name]), "" if gain is None else _estimated(gain, sign="+")]
        shown.add_row(*cells)
    shown.add_row("mean score", f"{one.mean_score:.4f}")
    shown.add_row("share of fraud", f"{one.fraud_share:.4f}")
    return shown


def _estimated(estimate: Estimate, sign: str = "") -> str:
    return f"{estimate.value:{sign}.3f} ({estimate.low:{sign}.3f} to {estimate.high:{sign}.3f})"


def comparison_gauges(judged: Sequence[Judged]) -> list[Gauge]:
    """Return the metrics of every version with their intervals, and how many purchases they stand on."""
    gauges = [
        _by_version("fraud_judged_purchases", "Matured purchases that the version was judged on.", judged, "purchases"),
        _by_version("fraud_judged_frauds", "Frauds among them.", judged, "frauds"),
    ]
    names = dict.fromkeys(name for one in judged for name in one.metrics)
    for name in names:
        metric, _, rate = name.partition("_at_")
        labels = {"review_rate": rate} if rate else {}
        for suffix, bound in (("", "value"), ("_low", "low"), ("_high", "high")):
            samples = [
                ({"version": str(one.version), **labels}, getattr(one.metrics[name], bound))
                for one in judged
                if name in one.metrics
            ]
            what = {"value": "measured", "low": "lower bound, 95 %", "high": "upper bound, 95 %"}[bound]
            help_text = f"{metric.replace('_', ' ').capitalize()} on matured labels, {what}."
            gauges.append(Gauge(f"fraud_judged_{metric}{suffix}", help_text, samples))
    return gauges


def _by_version(name: str, help_text: str, judged: Sequence[Judged], field: str) -> Gauge:
    return Gauge(name, help_text, [({"version": str(one.version)}, getattr(one, field)) for one in judged])


def _decision_table(found: Backtest) -> Table:
    """Return how many purchases of each kind get each decision, then and now."""
    shown = Table()
    for column in ("decision", "purchases", "frauds", "honest", "truth unknown"):
        shown.add_column(column, justify="left" if column == "decision" else "right")
    for decision in Decision:
        word = decision.name.lower()
        then, now = found.then.tallies[word], found.now.tallies[word]
        cells = [_moved(then[truth].purchases, now[truth].purchases) for truth in TRUTHS]
        shown.add_row(word, _moved(found.then.decided[word], found.now.decided[word]), *cells)
    return shown


def _effect_table(found: Backtest) -> Table:
    """Return what the change would have meant: frauds caught and missed, honest purchases stopped."""
    shown = Table()
    for column in ("", "purchases", "change", "amount, minor units", "change"):
        shown.add_column(column, justify="right" if column else "left")
    for name, then, now in effects(found):
        shown.add_row(
            name.replace("_", " "),
            _moved(then.purchases, now.purchases),
            f"{now.purchases - then.purchases:+,.0f}",
            _moved(then.amount_minor, now.amount_minor),
            f"{now.amount_minor - then.amount_minor:+,.0f}",
        )
    return shown


def effects(found: Backtest) -> list[tuple[str, Tally, Tally]]:
    """Return the figures that decide about a change, by name, then and now."""
    then, now = found.then, found.now
    return [
        ("frauds_caught", then.stopped("fraud"), now.stopped("fraud")),
        ("frauds_missed", then.passed("fraud"), now.passed("fraud")),
        ("honest_stopped", then.stopped("honest"), now.stopped("honest")),
        ("honest_declined", then.tallies["decline"]["honest"], now.tallies["decline"]["honest"]),
        ("unknown_stopped", then.stopped("unknown"), now.stopped("unknown")),
    ]


def _pattern_table(by_pattern: Sequence[Mapping[str, Any]]) -> Table:
    shown = Table()
    for column in ("pattern", "frauds", "caught"):
        shown.add_column(column, justify="left" if column == "pattern" else "right")
    for row in by_pattern:
        caught = _moved(row["caught_then"], row["caught_now"])
        shown.add_row(row["pattern"].replace("_", " "), f"{row['frauds']:,.0f}", caught)
    return shown


def _told_rules(proposed: Proposed) -> list[tuple[RuleEffect, Rule]]:
    return list(zip(proposed.effects, proposed.rules, strict=True))


def _rule_table(effects: Sequence[RuleEffect]) -> Table:
    """Return, for each rule, where it holds, what would be decided otherwise without it, and what it stops."""
    shown = Table()
    for column in ("rule", "asks for", "holds", "changes", "frauds", "amount", "honest", "amount"):
        is_text = column in {"rule", "asks for"}
        shown.add_column(column, justify="left" if is_text else "right", overflow="fold", no_wrap=column != "rule")
    for one in effects:
        tallies = (one.frauds, one.honest)
        cells = [text for tally in tallies for text in (f"{tally.purchases:+,.0f}", f"{tally.amount_minor:+,.0f}")]
        holds = f"{one.holds:,}" if one.holds or not one.not_judged else "unknown"
        shown.add_row(one.code, one.asks, holds, f"{one.changes:,}", *cells)
    return shown


def _say_what_was_not_judged(proposed: Proposed) -> None:
    """Name the limits that look at what was not served, and the features."""
    for one, rule in _told_rules(proposed):
        for feature, count in rule.lacking.items():
            OUT.print(f"{one.code} is not judged on {count:,} decisions: their rows were served without {feature}")
    stopped = sum(one.unknown.purchases for one in proposed.effects)
    if stopped:
        OUT.print(f"of {stopped:,.0f} purchases that rules stop or let through nobody knows what they were")


def _moved(then: float, now: float) -> str:
    return f"{then:,.0f}" if then == now else f"{then:,.0f} → {now:,.0f}"


def drift_gauges(found: Drift, version: int) -> list[Gauge]:
    """Return the index of every column, and of how many values it was taken."""
    labels = [{"version": str(version), "column": name} for name in found.columns]
    stabilities = list(found.columns.values())
    psi = [(label, one.value) for label, one in zip(labels, stabilities, strict=True)]
    values = [(label, float(one.values)) for label, one in zip(labels, stabilities, strict=True)]
    return [
        Gauge("fraud_drift_psi", "Population stability index against training; 0.25 is a real change.", psi),
        Gauge("fraud_drift_values", "Recent decisions that the index was taken of.", values),
    ]
