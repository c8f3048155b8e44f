"""The plots of a load test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from loadtest.latencies import Latencies
from loadtest.mix import EMPTY, RECORD, SCORE, SCORE_RECORD
from loadtest.result import Result
from loadtest.search import HELD
from training.report.chart import CHAMPION, DECLINE, INK, MUTED, REVIEW, THIS, Chart, drawn, legend_above

_COLOURS: Final = {SCORE: THIS, SCORE_RECORD: REVIEW, RECORD: INK, EMPTY: CHAMPION}
_LEAST_MS: Final = 0.1
_MS: Final = FuncFormatter(lambda ms, _: f"{ms:g}")
_MANY: Final = FuncFormatter(lambda number, _: f"{number:,.0f}")
_MARKS: Final = (
    ("held", THIS, "."),
    ("not held", DECLINE, "x"),
    ("confirmed", THIS, "D"),
    ("not confirmed", DECLINE, "D"),
)
"""What is drawn for a rate, by what came of it."""

_NINES: Final = (0.0, 0.9, 0.99, 0.999, 0.9999, 0.99999)


def charts(result: Result) -> Iterator[Chart]:
    """Yield the plots, those first that tell most."""
    yield _percentiles(result)
    yield _over_time(result)
    yield _rates(result)
    if result.steps:
        yield _saturation(result)


def _percentiles(result: Result) -> Chart:
    def draw(axes: Axes) -> None:
        for kind, tally in result.kinds():
            x, y = _curve(tally.latencies)
            axes.plot(x, y, color=_COLOURS[kind], label=kind, linestyle="--" if kind == EMPTY else "-")
        for limit in result.sla.limits:
            axes.plot(1 / (1 - limit.share), limit.limit_ms, marker="v", markersize=9, color=DECLINE, linestyle="")
        longest = max(tally.calls for _, tally in result.kinds())
        axes.set(
            xscale="log", yscale="log", xlim=(1, max(longest, 10)), xlabel="share of the calls", ylabel="ms or less"
        )
        axes.xaxis.set_major_locator(FixedLocator([1 / (1 - share) for share in _NINES]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * (1 - 1 / x):.6g} %"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(_MS)
        legend_above(axes, 2)

    caption = (
        "Latency from the instant at which a call was due, by the share of calls that took no longer; each step to "
        "the right is a tenth of the calls before it. Red marks are the limits: the lines must pass below them."
    )
    return drawn("percentiles", "Latency by percentile", caption, draw)


def _curve(latencies: Latencies) -> tuple[list[float], list[float]]:
    """Return 1 / (share of longer calls) and milliseconds, along the buckets."""
    x, y, below = [], [], 0
    for edge_us, _, reached in latencies.cumulative():
        latency_ms = max(min(edge_us, latencies.max_us) / 1000, _LEAST_MS)
        x += [latencies.count / (latencies.count - below), latencies.count / max(latencies.count - reached, 1)]
        y += [latency_ms, latency_ms]
        below = reached
    return x, y


def _over_time(result: Result) -> Chart:
    seconds = result.by_second(empty=False)
    empties = result.by_second(empty=True)

    def draw(axes: Axes) -> None:
        at = [second for second, _ in seconds]
        for share, name, width in ((0.5, "p50", 1.2), (0.99, "p99", 1.8)):
            values = [tally.latencies.percentile_ms(share) for _, tally in seconds]
            axes.plot(at, values, color=THIS, linewidth=width, alpha=0.6 if share < 0.9 else 1.0, label=name)  # noqa: PLR2004
        worst = [tally.latencies.max_us / 1000 for _, tally in seconds]
        axes.plot(at, worst, color=THIS, marker=".", linestyle="", markersize=4, label="longest")
        longest = [tally.latencies.max_us / 1000 for _, tally in empties]
        axes.plot([second for second, _ in empties], longest, color=CHAMPION, linestyle="--", label="longest empty")
        for limit in result.sla.limits:
            axes.axhline(limit.limit_ms, color=DECLINE, linewidth=0.9, linestyle=":")
        _shade(axes, result)
        axes.set(yscale="log", xlabel="second of the measured stage", ylabel="ms")
        axes.yaxis.set_major_formatter(_MS)
        legend_above(axes, 3 if result.void_windows else 4)

    caption = (
        "Each second's calls together. A stall of the machine shows in both the service and the empty handler; one of "
        "the service in the first alone. Dotted: the limits. Shaded: windows that are void, if there are any."
    )
    return drawn("time", "Latency over time", caption, draw)


def _shade(axes: Axes, result: Result) -> None:
    """Shade what is void."""
    for number, window in enumerate(result.void_windows):
        label = "" if number else "void"
        axes.axvspan(window.begin_s, window.end_s, color=REVIEW, alpha=0.2, linewidth=0, label=label)


def _rates(result: Result) -> Chart:
    seconds = result.by_second(empty=False)

    def draw(axes: Axes) -> None:
        at = [second for second, _ in seconds]
        axes.plot(at, [tally.calls for _, tally in seconds], color=MUTED, linewidth=1.0, label="due")
        axes.plot(at, [tally.answered for _, tally in seconds], color=THIS, label="answered")
        if any(tally.errors for _, tally in seconds):
            axes.plot(at, [tally.errors for _, tally in seconds], color=DECLINE, label="errors")
        if any(tally.partial for _, tally in seconds):
            partial = [tally.partial for _, tally in seconds]
            axes.plot(at, partial, color=REVIEW, label="degraded or not recorded")
        _shade(axes, result)
        axes.set(xlabel="second of the measured stage", ylabel="calls", ylim=(0, None))
        axes.yaxis.set_major_formatter(_MANY)
        legend_above(axes, 3)

    caption = "Calls by the second in which they were due, whenever their answers came."
    return drawn("rates", "Calls over time", caption, draw)


def _saturation(result: Result) -> Chart:
    def draw(axes: Axes) -> None:
        tried = [step for step in result.steps if step.open]
        most = 1.05 * max(result.peak, result.rate)
        axes.plot([0, most], [0, most], color=MUTED, linewidth=0.8, linestyle=":")
        for outcome, colour, marker in _MARKS:
            steps = [step for step in tried if step.outcome == outcome]
            if steps:
                at, answered = [step.rate for step in steps], [step.answered_per_s for step in steps]
                axes.plot(at, answered, color=colour, marker=marker, markersize=6, linestyle="", label=outcome)
        axes.axhline(result.peak, color=CHAMPION, linewidth=1.2, linestyle="--", label="peak of the closed loop")
        axes.axvline(result.rate, color=MUTED, linewidth=1.2, linestyle="--", label="rate of the test")
        axes.set(xlabel="calls due a second", ylabel="answered a second", xlim=(0, most), ylim=(0, most))
        axes.xaxis.set_major_formatter(_MANY)
        axes.yaxis.set_major_formatter(_MANY)
        legend_above(axes, 3)

    caption = (
        f"The search before the test. Each mark is a rate of calls that came on a schedule of their own; it held when "
        f"{HELD:.0%} of them were answered, which is a mark on the dotted line. The highest that held is kept up for "
        f"longer, and lowered until it is confirmed: saturation."
    )
    return drawn("saturation", "Saturation", caption, draw)
