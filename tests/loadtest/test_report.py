"""The report says what was seen, in a page that needs nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from loadtest.mix import EMPTY, SCORE
from loadtest.plan import MEASURE
from loadtest.report import folder_of, report_html, write_report
from loadtest.result import Result
from loadtest.show import show
from loadtest.tally import Key
from tests.loadtest.make import closed_step, open_step, result, result_of, tally

STEPS = (
    closed_step(16, 1_200.0),
    closed_step(64, 1_500.0),
    open_step(1_500.0, 0.75),
    open_step(750.0),
    open_step(750.0, confirms=True),
)
PASSED = result(tally(20_000), tally(3_000), steps=STEPS)
PARTLY_VOID = result_of(
    {
        Key(MEASURE, second, kind): calls
        for second, kind, calls in (
            (0, SCORE, tally(20_000)),
            (0, EMPTY, tally(1_000)),
            (12, SCORE, tally(9_000, slow=1_000)),
            (12, EMPTY, tally(900, slow=100)),
        )
    }
)
FAILED = result(tally(20_000, UNAVAILABLE=5), tally(3_000))


def test_page_needs_nothing_else() -> None:
    """Styles and plots are in the page; it loads nothing."""
    page = report_html(PASSED)
    assert not re.findall(r'(?:src|href)="(?!#)', page)
    assert page.count("<svg") == 4


def test_same_result_gives_the_same_page() -> None:
    """Nothing in the page depends on when it was written."""
    assert report_html(PASSED) == report_html(PASSED)


def console(one: Result, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what is printed of a result, in one line."""
    show(one, Path("report.html"))
    return " ".join(capsys.readouterr().out.split())


def test_page_tells_saturation_from_the_peak() -> None:
    """Both numbers are named in words, and each step by its kind."""
    page = " ".join(report_html(PASSED).split())
    assert "Saturation is <strong>750 calls a second</strong>" in page
    assert "The peak is 1,500 calls a second" in page
    assert page.count("<th>closed loop, ") == 2
    assert page.count("<th>open loop, ") == 3
    assert page.count(">confirmed</span>") == 1


def test_console_tells_saturation_from_the_peak(capsys: pytest.CaptureFixture[str]) -> None:
    """Both numbers stand in one sentence, steps above it."""
    told = console(PASSED, capsys)
    assert "saturation: 750 calls a second of an open loop, of which 99% were answered for 15 s" in told
    assert "peak of the closed loop: 1,500" in told


def test_void_windows_are_told_with_the_figures_over_all(capsys: pytest.CaptureFixture[str]) -> None:
    """Page and console say how many windows are void, and what was seen over all of them."""
    page, told = report_html(PARTLY_VOID), console(PARTLY_VOID, capsys)
    for one in (page, told):
        assert "1 of 2 windows of 10 s are void" in one
        assert "96.6667%" in one
        assert "100.0000%" in one


def test_void_windows_are_shaded() -> None:
    """The plots over time show which seconds do not count."""
    pages = [report_html(PASSED), report_html(PARTLY_VOID)]
    assert [page.count(">void<") for page in pages] == [0, 2]


@pytest.mark.parametrize(("one", "words"), [(PASSED, "PASS: all that was promised"), (FAILED, "FAIL: missed")])
def test_page_begins_with_the_verdict(one: object, words: str) -> None:
    """The verdict and its reason come before any figure."""
    page = report_html(one)  # type: ignore[arg-type]
    assert words in page
    assert page.index(words) < page.index("<table")


def test_page_names_what_was_not_answered() -> None:
    """Errors stand in the table by their status."""
    assert "5 UNAVAILABLE" in report_html(FAILED)


def test_words_of_the_first_failure_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Page and console say what the first call of each status was told."""
    calls = tally(1_000, UNAVAILABLE=2, RESOURCE_EXHAUSTED=3)
    calls.words.update(UNAVAILABLE="[socket] closed & gone", RESOURCE_EXHAUSTED="too many calls")
    one = result(calls, tally(1_000))
    told = console(one, capsys)
    assert "The first UNAVAILABLE was told: [socket] closed &amp; gone" in report_html(one)
    assert told.index("RESOURCE_EXHAUSTED was told: too many calls") < told.index("told: [socket] closed & gone")


def test_decisions_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A reader sees how much was not approved, for that was explained as well."""
    calls = tally(1_000)
    calls.decisions.update(APPROVE=950, REVIEW=50)
    one = result(calls, tally(1_000))
    for told in (report_html(one), console(one, capsys)):
        assert "95.0% APPROVE, 5.0% REVIEW" in told


def test_result_is_kept_as_json(tmp_path: Path) -> None:
    """Beside the page lies everything that it was made of."""
    folder = folder_of(PASSED, tmp_path)
    page = write_report(PASSED, folder)
    plain = json.loads((folder / "result.json").read_text("utf-8"))
    assert page == folder / "report.html"
    assert (plain["verdict"], plain["rate"]) == ("PASS", 500.0)
    assert (plain["peak"], plain["saturation"], plain["steps"][2]["refused"]) == (1_500.0, 750.0, 375)
    assert (plain["windows"], plain["void_windows"]) == (1, [])
    assert sum(sum(one["codes"].values()) for *_, one in plain["tallies"]) == 23_010
