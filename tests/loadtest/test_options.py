"""The options say what is tested, and the defaults are the service level that is shipped."""

from __future__ import annotations

import argparse

import pytest

from loadtest.conduct import Trial
from loadtest.line import Target
from loadtest.mix import Mix
from loadtest.options import add_options, limits_of, trial_of
from loadtest.plan import Plan
from loadtest.sla import Limit, Sla


class PlainParser(argparse.ArgumentParser):
    """A parser that takes locust's further keywords and does nothing with them."""

    def add_argument(self, *names: str, **keywords: object) -> argparse.Action:
        """Add an option."""
        for keyword in ("env_var", "include_in_web_ui", "is_secret"):
            keywords.pop(keyword, None)
        return super().add_argument(*names, **keywords)  # type: ignore[arg-type]


def options(*arguments: str) -> argparse.Namespace:
    """Return parsed options."""
    parser = PlainParser()
    add_options(parser)
    return parser.parse_args(arguments)


def test_defaults_are_those_of_the_parts() -> None:
    """Without options the plan, the mix and the service level are the shipped ones."""
    expected = Trial(Target("localhost:1"), Plan(), Mix(), Sla())
    assert trial_of(options(), "localhost:1") == expected


def test_options_reach_the_parts() -> None:
    """Each option changes what it names."""
    found = trial_of(
        options("--rate", "250", "--sla", "95:2", "--token", "t", "--arrivals", "constant", "--record-share", "0"),
        "grpc://host:2",
    )
    assert found.target == Target("host:2", "t")
    assert (found.plan.rate, found.sla.limits, found.constant) == (250.0, (Limit(0.95, 2.0),), True)
    assert found.mix.record_share == 0.0


def test_limits_are_read_as_they_are_meant() -> None:
    """Percent become shares without binary crumbs."""
    assert limits_of("99:5,99.9:20") == Sla().limits
    assert limits_of("99:25,99.9:100") == Sla().durable_limits


@pytest.mark.parametrize("text", ["", "99", "99:x", "100:5", "99:0", "99:5,"])
def test_bad_limits_are_refused(text: str) -> None:
    """What is no limit is named in the error."""
    with pytest.raises(argparse.ArgumentTypeError, match="percent of calls"):
        limits_of(text)
