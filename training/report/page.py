"""The page: what every section shows, put into the template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from service.core.features import Feature
from service.registry.manifest import Interval, Manifest
from training.learning.calibrate import Costs
from training.learning.evidence import baseline_of
from training.learning.model import Model
from training.metrics import BOOTSTRAP_ROUNDS
from training.replay.stream import Matrix
from training.report import words
from training.report.costs import ASSUMED, cost_charts
from training.report.curves import calibration, histogram, precision_recall, roc
from training.report.decisions import caught, decided
from training.report.drifts import REAL, SLIGHT, moved
from training.report.drivers import drivers_of, gains
from training.report.headline import champion_name, headline_of
from training.report.judged import JudgedRows
from training.report.lineage import facts, selection, stretches
from training.report.segments import fairness_of, segments_of
from training.report.weeks import over_time

_PAGES: Final = Environment(
    loader=PackageLoader("training.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.filters |= {
    "count": words.count,
    "percent": words.percent,
    "ratio": words.ratio,
    "signed": words.signed,
    "threshold": words.threshold,
    "interval": words.interval,
    "percent_interval": words.percent_interval,
    "plain": words.plain,
}


class Lacking(NamedTuple):
    """How the model does when profiles cannot be read, on the validation part."""

    name: str
    precision: float
    said: float
    was: float


def report_html(
    manifest: Manifest,
    judged: JudgedRows,
    train_matrix: Matrix,
    model: Model,
    features: Sequence[Feature],
    *,
    costs: Costs | None = None,
) -> str:
    """Return the report of a version as one HTML page that needs nothing else, some 500 KB.

    `judged` are rows that it did not learn from, `train_matrix` those that it did; `costs` are what mistakes
    were stated to cost. The same input gives the same page. Cost: about 2 s for 10,000 judged purchases,
    30 s more for each million.
    """
    seed = manifest.seed or 0
    thresholds = manifest.thresholds
    champion = champion_name(manifest)
    train_scores = model.scores(train_matrix)
    fairness = fairness_of(judged, segments_of(judged, features), thresholds.review, thresholds.decline, seed)
    baseline = manifest.baseline or baseline_of(model, train_matrix, features)
    split = manifest.split
    return _PAGES.get_template("page.html.j2").render(
        manifest=manifest,
        judged=judged,
        judged_part="test" if split is None or split.test is not None else "validation",
        headline=headline_of(manifest, judged, seed),
        champion=champion,
        curves=(
            precision_recall(judged, champion.removeprefix("the "), thresholds, seed),
            roc(judged, champion.removeprefix("the ")),
            calibration(judged),
            histogram(judged, thresholds),
        ),
        costs=cost_charts(judged, thresholds, costs or ASSUMED, stated=costs is not None),
        decided=decided(judged, thresholds),
        caught=caught(judged, thresholds, seed),
        fairness=fairness,
        drivers=drivers_of(judged, model, features, seed),
        gains=sorted(zip(gains(model).tolist(), features, strict=True), key=lambda one: -one[0]),
        moved=moved(judged, train_matrix, train_scores, features, baseline),
        over_time=over_time(judged, thresholds),
        slight=SLIGHT,
        real=REAL,
        lacking=_lacking(manifest),
        selection=selection(manifest),
        stretches=stretches(manifest),
        facts=facts(manifest),
        features=features,
        rounds=BOOTSTRAP_ROUNDS,
        weighted=bool((judged.weights != 1.0).any()),
    )


def _lacking(manifest: Manifest) -> list[Lacking]:
    """Return the validation part with every profile, and without each, as far as the manifest tells."""
    found = []
    for part, values in manifest.metrics.items():
        name = part.removeprefix("validation").removeprefix("_without_").removesuffix("_profile")
        if part == "validation":
            found.append(_lack("every profile is read", values))
        elif part.startswith("validation_without_"):
            found.append(_lack("no profile is read" if name == "any" else f"the {name} is unknown", values))
    return found


def _lack(name: str, values: dict[str, Interval]) -> Lacking:
    wanted = ("average_precision", "mean_score", "fraud_share")
    return Lacking(name, *(values[one].value if one in values else float("nan") for one in wanted))
