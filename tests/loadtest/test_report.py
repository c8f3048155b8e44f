"""The report says what was seen, in a page that needs nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from loadtest.plan import Step
from loadtest.report import folder_of, report_html, write_report
from tests.loadtest.make import result, tally

PASSED = result(tally(20_000), tally(3_000), steps=(Step(1, 300.0, 1.0, 2.0, 0), Step(2, 500.0, 2.0, 4.0, 7)))
FAILED = result(tally(20_000, UNAVAILABLE=5), tally(3_000))


def test_page_needs_nothing_else() -> None:
    """Styles and plots are in the page; it loads nothing."""
    page = report_html(PASSED)
    assert not re.findall(r'(?:src|href)="(?!#)', page)
    assert page.count("<svg") == 4


def test_same_result_gives_the_same_page() -> None:
    """Nothing in the page depends on when it was written."""
    assert report_html(PASSED) == report_html(PASSED)


@pytest.mark.parametrize(("one", "words"), [(PASSED, "PASS: all that was promised"), (FAILED, "FAIL: missed")])
def test_page_begins_with_the_verdict(one: object, words: str) -> None:
    """The verdict and its reason come before any figure."""
    page = report_html(one)  # type: ignore[arg-type]
    assert words in page
    assert page.index(words) < page.index("<table")


def test_page_names_what_was_not_answered() -> None:
    """Errors stand in the table by their status."""
    assert "5 UNAVAILABLE" in report_html(FAILED)


def test_result_is_kept_as_json(tmp_path: Path) -> None:
    """Beside the page lies everything that it was made of."""
    folder = folder_of(PASSED, tmp_path)
    page = write_report(PASSED, folder)
    plain = json.loads((folder / "result.json").read_text("utf-8"))
    assert page == folder / "report.html"
    assert (plain["verdict"], plain["rate"], plain["steps"][1]["errors"]) == ("PASS", 500.0, 7)
    assert sum(sum(one["codes"].values()) for *_, one in plain["tallies"]) == 23_010
