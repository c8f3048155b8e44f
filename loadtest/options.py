"""The options of a load test, as locust's command line and its web page show them."""

from __future__ import annotations

import argparse
from typing import Any, Final, Protocol

from loadtest.conduct import Trial
from loadtest.line import Target
from loadtest.mix import Mix
from loadtest.plan import Plan
from loadtest.sla import Limit, Sla

DEFAULT_HOST: Final = "127.0.0.1:50051"
_PLAN, _MIX, _SLA = Plan(), Mix(), Sla()


class Parser(Protocol):
    """Locust's parser: argparse's with a few more keywords."""

    def add_argument(self, *names: str, **keywords: Any) -> Any:  # noqa: ANN401
        """Add an option."""


def limits_of(text: str) -> tuple[Limit, ...]:
    """Return the limits that "99:5,99.9:20" states: percent of calls, and milliseconds."""
    try:
        limits = tuple(Limit(*_limit(part)) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not like 99:5,99.9:20 (percent of calls, milliseconds)"
        ) from error
    return limits


def _limit(part: str) -> tuple[float, float]:
    percent, _, limit_ms = part.partition(":")
    share = float(percent) / 100
    if not 0.0 < share < 1.0 or float(limit_ms) <= 0.0:
        raise ValueError(part)
    # 99.9 / 100 is no 0.999 in binary; the nearest short decimal is what was meant.
    return round(share, 9), float(limit_ms)


def add_options(parser: Parser) -> None:
    """Declare the options."""

    def add(name: str, default: float | str, meaning: str, **keywords: Any) -> None:  # noqa: ANN401
        kind = keywords.pop("type", type(default))
        keywords.setdefault("env_var", "FRAUD_LOAD_" + name.strip("-").replace("-", "_").upper())
        parser.add_argument(name, type=kind, default=default, help=meaning, **keywords)

    add("--rate", _PLAN.rate, "Calls a second; 0 = a share of saturation, which is searched for first.")
    add("--share", _PLAN.share, "That share; saturation is the highest rate of which 99 % are answered.")
    add("--seconds", _PLAN.seconds, "How long calls are measured.")
    add("--warm-up", _PLAN.warm_up_s, "Seconds at the same rate before that, which do not count.")
    add("--sla", "99:5,99.9:20", "Limits: percent of scores, and the milliseconds within which they are answered.")
    add("--sla-durable", "99:25,99.9:100", "The same of calls that wait until something is durable.")
    add("--max-errors", _SLA.max_errors, "Calls that may end without an answer.")
    add("--whole-share", _SLA.whole_share, "Least share of answers that are not degraded, and recorded when asked to.")
    add("--arrivals", "poisson", "Spacing of calls.", choices=["poisson", "constant"])
    add("--deadline-ms", 1_000, "Deadline of a call; longer than what is promised, so that lateness is seen.")
    add("--population", _MIX.users, "Users who come back.")
    add("--history", _MIX.history, "Purchases of each that are recorded before the test; 0 = none.")
    add("--zipf", _MIX.zipf, "Exponent of Zipf's law, by which users and sellers are drawn.")
    add("--record-share", _MIX.record_share, "Share of scores that also record the purchase; 0 = read only.")
    add("--event-share", _MIX.event_share, "Share of calls that report what became of purchases.")
    add("--new-user-share", _MIX.new_user_share, "Share of purchases by somebody never seen before.")
    add("--duplicate-share", _MIX.duplicate_share, "Share of calls that repeat an earlier one.")
    add("--burst-share", _MIX.burst_share, "Share of purchases that begin a burst of one card.")
    add("--generators", 1, "Processes that send; see loadtest/README.md.")
    add("--ca", "", "Certificates (PEM file) that the service's own is checked against; empty = no TLS.")
    add("--token", "", "Token that the service asks for.", env_var="FRAUD_TOKEN", is_secret=True)
    add("--out", "var/load", "Folder of the reports.", include_in_web_ui=False)


def trial_of(options: argparse.Namespace, host: str) -> Trial:
    """Return the test that the options describe. Raises argparse.ArgumentTypeError for limits that are none."""
    return Trial(
        target=Target(host.removeprefix("grpc://"), options.token, options.ca),
        plan=Plan(rate=options.rate, share=options.share, seconds=options.seconds, warm_up_s=options.warm_up),
        mix=Mix(
            users=options.population,
            zipf=options.zipf,
            history=options.history,
            record_share=options.record_share,
            event_share=options.event_share,
            new_user_share=options.new_user_share,
            duplicate_share=options.duplicate_share,
            burst_share=options.burst_share,
        ),
        sla=Sla(limits_of(options.sla), limits_of(options.sla_durable), options.max_errors, options.whole_share),
        generators=options.generators,
        deadline_ms=options.deadline_ms,
        constant=options.arrivals == "constant",
    )
