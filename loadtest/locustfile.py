"""The load test, as locust runs it.

    make load

    python -m locust -f loadtest/locustfile.py                      # with its web page, on port 8089
    python -m locust -f loadtest/locustfile.py --headless --rate 500 -H 10.0.0.5:50051

Exit codes: 0 the service level holds, 1 it does not, 2 nothing can be said. Locust shows and steers; processes of
their own send the calls, because greenlets and gRPC together are slower than what is measured (`loadtest.line`).
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import gevent
import locust.stats
from locust import LoadTestShape, User, events, task
from locust.env import Environment
from locust.runners import LocalRunner

from loadtest.conduct import NotReady, conduct
from loadtest.generator import Order
from loadtest.locust_stats import add_to
from loadtest.options import DEFAULT_HOST, Parser, add_options, trial_of
from loadtest.plan import MEASURE, REST, Stage
from loadtest.report import folder_of, write_report
from loadtest.result import Result
from loadtest.show import show
from loadtest.sla import Verdict
from loadtest.tally import Key, Tally

_LOG: Final = logging.getLogger("loadtest")

STREAM_RATE: Final = 100.0
"""Calls a second that one user of locust stands for in the open loop."""

SPAWN_RATE: Final = 100.0

# Locust's page shows the percentiles that are promised.
locust.stats.PERCENTILES_TO_CHART = [0.5, 0.99, 0.999]
locust.stats.PERCENTILES_TO_STATISTICS = [0.99, 0.999]


def users_of(order: Order) -> int:
    """Return how many users locust shows for an order: calls in flight, or streams of a hundred calls a second."""
    return order.in_flight or math.ceil(order.rate / STREAM_RATE) or 1


class Checkout(User):
    """A checkout: one call in flight of the closed loop, or a stream of arrivals of the open one."""

    host = DEFAULT_HOST

    @task
    def buy(self) -> None:
        """Let the generators send: theirs are the calls that this user stands for."""
        gevent.sleep(1.0)


class Conducted(LoadTestShape):
    """The plan of the test as a shape: so many users as the stage has, none once the result is there."""

    def __init__(self) -> None:
        """Begin before the first stage."""
        super().__init__()
        self.users = 1
        self.over = False

    def reset_time(self) -> None:
        """Begin again, for another test out of the web page."""
        super().reset_time()
        self.users, self.over = 1, False

    def tick(self) -> tuple[int, float] | None:
        """Return users and how fast they come, None when the test is over."""
        return None if self.over else (self.users, SPAWN_RATE)


class Run:
    """One test of this locust: conducts it in a greenlet and tells locust about it."""

    def __init__(self, environment: Environment) -> None:
        """Begin at once."""
        self._environment = environment
        assert isinstance(environment.shape_class, Conducted), "the only shape of this file"
        self._shape = environment.shape_class
        self._stage = REST
        self._greenlet = gevent.spawn(self._conduct)

    def end(self) -> None:
        """Break off, when it is not over by itself."""
        if gevent.getcurrent() is not self._greenlet:
            self._greenlet.kill()

    def _conduct(self) -> None:
        environment, options = self._environment, self._environment.parsed_options
        assert options is not None, "locust was started by its command line"
        environment.process_exit_code = int(Verdict.VOID)
        try:
            trial = trial_of(options, environment.host or DEFAULT_HOST)
            result = conduct(trial, self._begin, self._count)
        except (NotReady, argparse.ArgumentTypeError) as error:
            _LOG.error("nothing was tested: %s", error)
        except OSError:
            _LOG.exception("nothing was tested")
        else:
            self._tell(result, Path(options.out))
        finally:
            self._shape.over = True

    def _begin(self, stage: Stage) -> None:
        """Show a stage; the one that counts begins with statistics that are empty."""
        self._stage = stage.name
        self._shape.users = users_of(stage.order)
        if stage.name == MEASURE:
            self._environment.stats.reset_all()
        _LOG.info("%s: %s", stage.name, _told(stage))

    def _count(self, news: Mapping[Key, Tally]) -> None:
        """Show what came of calls; what answers once the next stage has begun is the last one's, and in the report."""
        shown = (self._stage, MEASURE) if self._stage == REST else (self._stage,)
        add_to(self._environment.stats, {key: tally for key, tally in news.items() if key.stage in shown})

    def _tell(self, result: Result, out: Path) -> None:
        folder = folder_of(result, out)
        page = write_report(result, folder)
        show(result, page)
        self._environment.process_exit_code = int(result.judgement.verdict)
        _pages.append(page)
        _LOG.info("%s: %s", result.judgement.verdict.name, result.judgement.sentence)
        _LOG.info("report: %s", page)


def _told(stage: Stage) -> str:
    if stage.order.rate:
        return f"{stage.order.rate:,.0f} calls a second for {stage.seconds:.0f} s"
    return f"{stage.seconds:.0f} s"


# --- what locust tells us -------------------------------------------------------------------------

_runs: list[Run] = []
_pages: list[Path] = []


@events.init_command_line_parser.add_listener
def _options(parser: Parser, **_: Any) -> None:  # noqa: ANN401
    add_options(parser)


@events.init.add_listener
def _init(environment: Environment, web_ui: Any, **_: Any) -> None:  # noqa: ANN401
    if not isinstance(environment.runner, LocalRunner):
        raise SystemExit("this load test runs in one locust; --generators N makes it stronger")
    environment.host = environment.host or DEFAULT_HOST
    if web_ui is None:
        return

    @web_ui.app.route("/sla")
    def sla() -> str:
        """Show the report of the latest test."""
        return _pages[-1].read_text(encoding="utf-8") if _pages else "no test came to its end yet"


@events.test_start.add_listener
def _start(environment: Environment, **_: Any) -> None:  # noqa: ANN401
    _runs.append(Run(environment))


@events.test_stop.add_listener
def _stop(**_: Any) -> None:  # noqa: ANN401
    while _runs:
        _runs.pop().end()
