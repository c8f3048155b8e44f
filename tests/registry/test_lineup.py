"""The lineup: one row for all live versions, and each finds its own features in it."""

from __future__ import annotations

from math import isnan, nan
from pathlib import Path

from service.core.compiled import compile_row
from service.core.decision import ReasonShown
from service.core.features import BY_NAME, FEATURES, layout_id
from service.core.row import row_of
from service.registry.artifact import version_path
from service.registry.lineup import Lineup
from service.registry.lineup_file import BlendAnswer, CanaryAnswer, LineupSpec
from service.registry.manifest import Baseline, Histogram, ThresholdChoice
from service.registry.servable import Servable
from tests.make import make_purchase
from tests.registry.build import build_artifact, moments, random_rows

BLEND = BlendAnswer(versions=(1, 2), thresholds=ThresholdChoice(review=0.4, decline=0.8, why="a test"))


def _servables(registry: Path) -> dict[int, Servable]:
    """Publish and load four versions: two overlapping sets of features, one backwards, one single."""
    sets = (FEATURES[:10], FEATURES[5:15], FEATURES[8:2:-1], FEATURES[12:13])
    numbers = [build_artifact(registry, features, seed=seed) for seed, features in enumerate(sets)]
    return {version: Servable.load(version_path(registry, version), "attempts") for version in numbers}


def test_old_and_new_features_live_side_by_side(tmp_path: Path) -> None:
    """Every live version gets, out of the one row, the very score that it gives to its own row."""
    servables = _servables(tmp_path)
    lineup = Lineup(LineupSpec(revision=4, champion=1, answer=BLEND, challengers=(3, 4)), servables)
    assert lineup.features == FEATURES[:15]
    assert [live.version for live in (*lineup.answer, *lineup.shadow)] == [1, 2, 3, 4]
    for moment in moments():
        row = row_of(lineup.row, *moment)
        for live in (*lineup.answer, *lineup.shadow):
            servable = servables[live.version]
            own = row_of(compile_row([feature.formula for feature in servable.features]), *moment)
            assert live.raw_score(row) == servable.raw_score(own)
            assert live.probability(live.raw_score(row)) == servable.score(own)
            assert live.contributions(row) == servable.contributions(own)


def test_many_rows_get_the_scores_that_each_gets(tmp_path: Path) -> None:
    """`raw_scores` has the bits of `raw_score`, for versions that pick some features and for those that do not."""
    lineup = Lineup(LineupSpec(champion=1, challengers=(2, 3, 4)), _servables(tmp_path))
    rows = random_rows(len(lineup.features), count=40).tolist()
    for live in (*lineup.answer, *lineup.shadow):
        assert live.raw_scores(rows) == [live.raw_score(row) for row in rows]
        assert live.raw_scores([]) == []


def test_what_a_champion_answers_with(tmp_path: Path) -> None:
    """A champion answers alone, by the thresholds of its manifest."""
    lineup = Lineup(LineupSpec(revision=3, champion=2, challengers=(1,)), _servables(tmp_path))
    assert (lineup.revision, lineup.champion, lineup.versions, lineup.challengers) == (3, 2, (2,), (1,))
    assert lineup.thresholds == (0.5, 0.9)
    assert lineup.explain_s > 0


def test_what_a_blend_answers_with(tmp_path: Path) -> None:
    """A blend answers by thresholds of its own; its champion is compared in shadow when it is not in it."""
    lineup = Lineup(LineupSpec(champion=3, answer=BLEND), _servables(tmp_path))
    assert lineup.versions == (1, 2)
    assert lineup.thresholds == (0.4, 0.8)
    assert [live.version for live in lineup.shadow] == [3]


def test_a_row_is_named_by_what_it_holds(tmp_path: Path) -> None:
    """The layout names the features in order, whatever the order of the versions; `pack` keeps the row's bits."""
    servables = _servables(tmp_path)
    one = Lineup(LineupSpec(champion=1, challengers=(2,)), servables)
    other = Lineup(LineupSpec(champion=2, challengers=(1,)), servables)
    assert one.row_layout == other.row_layout == layout_id(FEATURES[:15])
    assert one.row_layout != Lineup(LineupSpec(champion=1), servables).row_layout
    assert one.names == tuple(feature.name for feature in FEATURES[:15])
    assert one.pack(*[0.5] * 15) == bytes.fromhex("000000000000e03f") * 15


def test_a_shadow_that_is_not_loaded_is_left_out(tmp_path: Path) -> None:
    """A challenger that did not load takes no part, and costs no feature."""
    servables = _servables(tmp_path)
    lineup = Lineup(LineupSpec(champion=1, challengers=(2,)), {1: servables[1]})
    assert lineup.shadow == ()
    assert lineup.features == FEATURES[:10]


def test_a_canary_answers_for_its_share_of_the_users(tmp_path: Path) -> None:
    """A user meets the champion or the canary, always the same one; the other scores in shadow on the same row."""
    spec = LineupSpec(revision=7, champion=1, answer=CanaryAnswer(version=2, share=0.25), challengers=(2, 3))
    lineup = Lineup(spec, _servables(tmp_path))
    assert lineup.canary is not None
    canary = lineup.canary.lineup
    assert [(one.versions, [live.version for live in one.shadow]) for one in (lineup, canary)] == [
        ((1,), [2, 3]),
        ((2,), [1, 3]),
    ]
    assert (lineup.revision, lineup.row_layout) == (canary.revision, canary.row_layout)
    met = [lineup.of(make_purchase(user_id=f"u-{n}")) for n in range(4_000)]
    assert set(met) == {lineup, canary}
    assert 900 < met.count(canary) < 1_100
    assert met == [lineup.of(make_purchase("p-2", user_id=f"u-{n}")) for n in range(4_000)]


def test_a_canary_without_users_draws_purchases(tmp_path: Path) -> None:
    """Where nobody is named the purchase itself is drawn, so the share holds for guests as well."""
    lineup = Lineup(LineupSpec(champion=1, answer=CanaryAnswer(version=2, share=0.5)), _servables(tmp_path))
    met = {lineup.of(make_purchase(f"p-{n}", user_id="")).versions for n in range(100)}
    assert met == {(1,), (2,)}


def test_without_a_canary_all_meet_the_same(tmp_path: Path) -> None:
    """A lineup that draws nobody is what every purchase meets."""
    lineup = Lineup(LineupSpec(champion=1), _servables(tmp_path))
    assert lineup.of(make_purchase()) is lineup


def test_reasons_are_the_weightiest_features_in_words(tmp_path: Path) -> None:
    """Reasons come by weight, high or low in the feature's own words, unknown with its question."""
    features = FEATURES[:6]
    version = build_artifact(tmp_path, features)
    lineup = Lineup(LineupSpec(champion=1), {1: Servable.load(version_path(tmp_path, version), "attempts")})
    row = [0.9, 0.1, nan, 0.9, 0.1, nan]
    (live,) = lineup.answer
    weights = dict(zip(lineup.names, live.contributions(row), strict=False))
    words = {
        feature.name: f"unknown: {feature.question}" if isnan(value) else feature.high if value > 0.5 else feature.low
        for feature, value in zip(features, row, strict=True)
    }
    by_weight = sorted((name for name in weights if weights[name]), key=lambda name: -abs(weights[name]))
    assert lineup.reasons(row, 50) == [ReasonShown(name, words[name], weights[name]) for name in by_weight]
    assert lineup.reasons(row, 2) == lineup.reasons(row, 50)[:2]


def test_reasons_of_a_blend_are_the_mean(tmp_path: Path) -> None:
    """What a feature adds to the answer is the mean of what it adds to each version, 0 where it is not used."""
    lineup = Lineup(LineupSpec(champion=1, answer=BLEND), _servables(tmp_path))
    row = random_rows(len(lineup.features))[0].tolist()
    weights = dict.fromkeys(lineup.names, 0.0)
    for live in lineup.answer:
        for feature, contribution in zip(live.servable.features, live.contributions(row), strict=False):
            weights[feature.name] += contribution / 2
    assert {reason.code: reason.contribution for reason in lineup.reasons(row, 50)} == {
        name: weight for name, weight in weights.items() if weight
    }


def test_high_and_low_are_told_by_the_median(tmp_path: Path) -> None:
    """A value is high or low against what the feature was like in training."""
    feature = BY_NAME["user_tenure"]
    baseline = Baseline(
        features={feature.name: Histogram(edges=(0.0, 0.1, 0.2, 1.0), counts=(8, 0, 2))},
        score=Histogram(edges=(0.0, 1.0), counts=(10,)),
    )
    version = build_artifact(tmp_path, [feature], baseline=baseline)
    lineup = Lineup(LineupSpec(champion=1), {1: Servable.load(version_path(tmp_path, version), "attempts")})
    assert lineup.middles == (0.0 + 0.1 * 5 / 8,)
    assert lineup.reasons([0.07], 1)[0].text == feature.high
    assert lineup.reasons([0.05], 1)[0].text == feature.low
