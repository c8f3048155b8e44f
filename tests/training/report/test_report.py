"""The report says everything, in one file that works anywhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections import Counter
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.training.report.judged import FEATURES, HOSTILE, Version, make_judged, make_version
from tests.tree.files import ROOT
from training.learning.calibrate import NEVER, Costs
from training.report import report_html
from training.report.costs import cost_charts

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

WINDOWS = (390, 1200)
"""How wide a phone and a desk are, in CSS pixels."""

HARNESS = """<!doctype html><body><script>
const text = %s, seen = [];
function measure(frame) {
  const page = frame.contentDocument, root = page.documentElement, width = root.clientWidth;
  for (const one of page.querySelectorAll("details")) one.open = true;
  const charts = [...page.querySelectorAll("svg")].map(one => one.getBoundingClientRect());
  return {
    width,
    scroll: root.scrollWidth,
    charts: charts.filter(one => one.width >= 300 && one.height >= 20).length,
    wide: [...page.querySelectorAll("body *:not(svg *)")]
      .filter(one => one.getBoundingClientRect().right > width + 1).map(one => one.outerHTML.slice(0, 120)),
  };
}
for (const width of %s) {
  const frame = document.createElement("iframe");
  frame.style = `width:${width}px;height:900px;border:0`;
  frame.onload = () => { seen.push(measure(frame)); document.title = JSON.stringify(seen); };
  frame.srcdoc = text;
  document.body.append(frame);
}
</script>"""
"""Shows a page in windows of several widths and calls itself what it measured there."""


class Page(HTMLParser):
    """What a page refers to, names and says."""

    def __init__(self, text: str) -> None:
        """Read it."""
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.said: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element names and refers to."""
        self.tags[tag] += 1
        for name, value in attrs:
            if name == "id" and value:
                self.ids[value] += 1
            if name in {"href", "xlink:href", "src", "srcset", "action", "data", "poster"}:
                self.links.append(value or "")

    def handle_data(self, data: str) -> None:
        """Note what is written."""
        self.said.append(data)


@pytest.fixture(scope="module")
def version() -> Version:
    """Train a version."""
    return make_version()


def render(version: Version) -> str:
    """Return its report."""
    return report_html(*version, FEATURES)


@pytest.fixture(scope="module")
def report(version: Version) -> str:
    """Make its report."""
    return render(version)


def test_every_section_is_there(report: str) -> None:
    """The report holds each section that its navigation names, each chart, and the lineage."""
    page = Page(report)
    sections = re.findall(r'<section id="(\w+)">', report)
    assert sections == [link[1:] for link in page.links if link[1:] in sections and link.startswith("#")]
    assert sections == [
        "headline",
        "ranking",
        "decisions",
        "patterns",
        "segments",
        "drivers",
        "drift",
        "unknown",
        "selection",
        "lineage",
        "features",
    ]
    titles = re.findall(r"<figure[^>]*>\s*<h3>(.*?)</h3>", report)
    assert titles == [
        "Precision and recall",
        "ROC",
        "Calibration",
        "Scores of honest purchases and of fraud",
        "Cost of the review threshold",
        "Cost of the decline threshold",
        "Score and fraud over time",
        "What is stopped over time",
    ]
    text = " ".join(page.said)
    lineage = ["0" * 64, "0123abc", "the user is unknown", *(feature.fingerprint for feature in FEATURES)]
    assert [fact for fact in [*lineage, "new users", "low prices", "stolen card"] if fact not in text] == []


def test_it_needs_nothing_else(report: str) -> None:
    """Nothing is loaded: every link stays in the page, every picture is inside it, and there is no script."""
    page = Page(report)
    assert page.tags["script"] == page.tags["link"] == page.tags["img"] == page.tags["iframe"] == 0
    outside = [link for link in page.links if not link.startswith(("#", "data:image/png;base64,"))]
    assert outside == []
    assert re.findall(r"url\((?!#)|@import|https?://", report) == []


def test_the_page_and_its_style_are_installed_with_it() -> None:
    """What is no Python is named as package data, or an installed release could not make a report."""
    package = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    folder = ROOT / "training/report"
    named = {path for pattern in package["training.report"] for path in folder.glob(pattern)}
    assert {path for path in folder.rglob("*.*") if path.suffix not in {".py", ".pyc"}} == named


def test_it_can_be_mailed(report: str) -> None:
    """It weighs less than two megabytes."""
    assert len(report.encode()) < 2_000_000


def test_links_within_lead_somewhere(report: str) -> None:
    """Every name is given once, though there are many charts, and everything that is referred to has one."""
    page = Page(report)
    assert [name for name, times in page.ids.items() if times > 1] == []
    used = {link[1:] for link in page.links if link.startswith("#")} | set(re.findall(r"url\(#([^)]+)\)", report))
    assert used - page.ids.keys() == set()


def test_what_people_wrote_is_text(report: str) -> None:
    """Notes, sources and patterns cannot become part of the page."""
    assert HOSTILE not in report
    assert sum(HOSTILE in said for said in Page(report).said) >= 3


def test_the_same_training_gives_the_same_report(version: Version, report: str) -> None:
    """Nothing in it is random or of its own time."""
    assert render(version) == report


def test_it_is_readable_in_the_dark(report: str) -> None:
    """The charts take the page's colours, which are others when the reader prefers dark."""
    assert "prefers-color-scheme:dark" in report
    charts = "".join(re.findall(r"<svg.*?</svg>", report, re.DOTALL))
    assert re.findall(r"(?:fill|stroke): (?!none|var\()[^;\"]+", charts) == []


def test_the_headline_names_the_champion(report: str) -> None:
    """It says whether the version is better, than which, and that the champion knew some of the rows."""
    text = " ".join(Page(report).said)
    assert "Better than the champion, version 3" in text
    assert "The champion learned from some of these purchases" in text


def test_a_first_version_has_nobody_to_beat(version: Version) -> None:
    """Without a champion the report says so, and with neither test part, costs nor patterns it still stands."""
    split = version.manifest.split
    assert split is not None
    bare: dict[str, object] = {
        "parent": None,
        "comparison": None,
        "source": None,
        "metrics": {},
        "selection": {},
        "seed": None,
    }
    manifest = version.manifest.model_copy(
        update={
            **bare,
            "split": split.model_copy(update={"test": None}),
            "thresholds": version.manifest.thresholds.model_copy(update={"decline": NEVER}),
        }
    )
    nameless = version.judged.pattern.clone().set(version.judged.pattern.is_not_null(), "")
    judged = version.judged._replace(champion_scores=None, pattern=nameless)
    text = " ".join(Page(render(version._replace(manifest=manifest, judged=judged))).said)
    assert "There is no champion to compare with" in text
    assert "There was no test part" in text
    assert "The data name no fraud patterns" in text
    assert "Nothing was recorded of how the labels came about" in text
    assert "nothing is declined" in text


def test_the_costs_are_stated_or_said_to_be_assumed(version: Version, report: str) -> None:
    """The cost pictures say whose prices they use."""
    assert "Assumed, because nobody stated costs" in report
    costs = Costs(review_minor=150, decline_share=0.3)
    review, _ = cost_charts(version.judged, version.manifest.thresholds, costs, stated=True)
    assert (
        review.caption == "Stated: a missed fraud costs its amount, a review 1.50, a wrong decline 30% of its amount."
    )


def test_a_judged_part_of_few_rows_still_has_a_report(version: Version) -> None:
    """Two frauds among thirty purchases of one moment and one card are told with what is known of them."""
    few = make_judged(count=30, labels=np.array([1, 1] + [0] * 28, np.int8), time_ms=np.full(30, 1_000))
    few = few._replace(card=np.zeros(30, np.int64), scores=version.model.scores(few.matrix))
    assert "<h2>Headline</h2>" in render(version._replace(judged=few))


@pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium in the PATH: scripts/install-debian-packages.sh installs Debian's"
)
def test_a_browser_shows_it_without_scrolling_sideways(report: str, tmp_path: Path) -> None:
    """On a phone and on a desk nothing is wider than the window, with all details open and every chart drawn."""
    assert CHROMIUM is not None
    page = tmp_path / "windows.html"
    page.write_text(HARNESS % (json.dumps(report).replace("</", "<\\/"), json.dumps(WINDOWS)), "utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=20000"]
    command = [CHROMIUM, *options, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None, done.stderr
    seen = sorted(json.loads(unescape(title[1])), key=lambda one: one["width"])
    charts = report.count("<svg")
    assert seen == [{"width": width, "scroll": width, "charts": charts, "wide": []} for width in WINDOWS]
