"""Other ways to decide, applied to rows that were really served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from service.core.windows import DAY_MS
from service.errors import BadSetting
from service.registry.artifact import version_path
from service.registry.servable import Servable
from tests.training.judge.decided import MadeLog, decision
from tests.training.judge.served import PURCHASES
from training.judge.outcomes import Maturity, Outcomes, load_outcomes, scores_of
from training.judge.proposal import Proposal, Recorded, decide_anew, rescored, row_scores
from training.judge.recorded_rows import RecordedRows
from training.snapshot.read import Snapshot


@pytest.fixture(scope="module")
def recorded(snapshot: Snapshot, registry: Path) -> Recorded:
    """Give what a proposal reads."""
    return Recorded(snapshot, snapshot.manifest.layouts, registry, "attempts")


@pytest.fixture(scope="module")
def outcomes(snapshot: Snapshot) -> Outcomes:
    """Give the outcomes of all purchases."""
    return load_outcomes(snapshot, Maturity(snapshot.manifest.newest_ingest_ms + DAY_MS, DAY_MS // 2))


def test_what_was_served_is_all_there(outcomes: Outcomes) -> None:
    """Every purchase has one decision, both versions scored all of them, and the canary answered for some."""
    assert outcomes.frame["purchase_id"].to_list() == [f"p-{n}" for n in range(PURCHASES)]
    assert outcomes.versions == (1, 2, 3)
    assert not outcomes.frame["shadow_1"][: PURCHASES // 2].any()
    answered = (~outcomes.frame["shadow_2"]).sum()
    assert 0 < answered < PURCHASES // 2
    assert (outcomes.frame["shadow_1"] != outcomes.frame["shadow_2"]).all()
    assert outcomes.frame["label"].sum() == len(range(0, PURCHASES, 7))


@pytest.mark.parametrize("version", [1, 2])
def test_a_recomputed_score_has_the_bits_of_the_recorded_one(
    recorded: Recorded, outcomes: Outcomes, version: int
) -> None:
    """A row, projected onto the version's features, gives the raw score and the score that were served."""
    servable = Servable.load(version_path(recorded.registry, version), "attempts")
    reader = RecordedRows(servable.features, recorded.layouts, recorded.registry)
    raw_scores = row_scores(recorded.log, outcomes.frame["position"].to_numpy(), servable, reader)
    served = pl.concat(recorded.log.decisions(("versions", "raw_scores"))).explode("versions", "raw_scores")
    expected = served.filter(pl.col("versions") == version)["raw_scores"].to_numpy()
    assert np.array_equal(raw_scores, expected)
    assert np.array_equal(servable.calibration.scores(raw_scores), scores_of(outcomes.frame, version))


def test_a_version_that_never_scored_is_computed_from_the_rows(recorded: Recorded, outcomes: Outcomes) -> None:
    """A version whose features were served gets the scores that it would have given."""
    found = rescored(recorded, outcomes, 4)
    servable = Servable.load(version_path(recorded.registry, 4), "attempts")
    assert found.recomputed == PURCHASES
    assert found.left_out == {}
    (piece,) = recorded.log.decisions(("row", "row_layout"))
    for at in range(0, PURCHASES, 17):
        names = recorded.layouts[piece["row_layout"][at]]
        row = dict(zip(names, np.frombuffer(piece["row"][at], "<f8"), strict=True))
        assert found.scores[at] == servable.score([row["user_tenure"], row["amount_level"]])


def test_a_version_with_a_feature_that_was_not_served_is_refused(recorded: Recorded, outcomes: Outcomes) -> None:
    """The sentence names the feature and what to do about it."""
    with pytest.raises(BadSetting, match=r"'seller_tenure' \(120 decisions\).*`python -m training shadow 5`"):
        rescored(recorded, outcomes, 5)


def test_a_feature_with_another_definition_is_not_the_same_feature(recorded: Recorded) -> None:
    """Rows of a layout that is not of this release's definitions count only where a version states the fingerprint."""
    servable = Servable.load(version_path(recorded.registry, 4), "attempts")
    other = {"f" * 16: ("user_tenure", "amount_level")}
    row = np.array([0.1, 0.2]).tobytes()
    log = MadeLog([decision(scores={version: 0.5}, row_layout="f" * 16, row=row) for version in (1, 99)], piece=1)
    one, unknown = (piece for piece in log.decisions(("position", "row", "row_layout", "versions")))
    stated = RecordedRows(servable.features, other, recorded.registry)
    ((_, matrix),) = stated.of(one)
    assert matrix.tolist() == [[0.1, 0.2]]
    nowhere = RecordedRows(servable.features, other, recorded.registry)
    assert list(nowhere.of(unknown)) == []
    assert nowhere.left_out == {"user_tenure": 1}


def test_a_row_of_another_length_is_a_broken_snapshot(recorded: Recorded) -> None:
    """Rows that do not have the features of their layout are not guessed at."""
    servable = Servable.load(version_path(recorded.registry, 4), "attempts")
    (layout, *_) = recorded.layouts
    log = MadeLog([decision(row_layout=layout, row=b"\x00" * 8)])
    (piece,) = log.decisions(("row", "row_layout", "versions"))
    with pytest.raises(BadSetting, match="do not have its"):
        list(RecordedRows(servable.features, recorded.layouts, None).of(piece))


def test_a_version_decides_by_its_own_thresholds(recorded: Recorded, outcomes: Outcomes) -> None:
    """Without other ones the thresholds of the manifest hold; given ones win."""
    own = decide_anew(recorded, outcomes, Proposal(versions=(2,)))
    scores = scores_of(outcomes.frame, 2)
    assert (own.decisions >= 2).tolist() == (scores >= 0.4).tolist()
    assert own.limits == "those of version 2: 0.4, 0.7"
    given = decide_anew(recorded, outcomes, Proposal(versions=(2,), review=0.2, decline=0.3))
    assert (given.decisions == 3).tolist() == (scores >= 0.3).tolist()


def test_a_blend_is_the_mean_and_stops_as_many_as_were_stopped(recorded: Recorded, outcomes: Outcomes) -> None:
    """Its scores are the mean of its versions', and without thresholds it stops no more than were stopped."""
    found = decide_anew(recorded, outcomes, Proposal(versions=(1, 2)))
    mean = (scores_of(outcomes.frame, 1) + scores_of(outcomes.frame, 2)) / 2
    assert np.array_equal(found.scores, mean)
    then = outcomes.frame["decision"].to_numpy()
    assert 0 < (found.decisions >= 2).sum() <= (then >= 2).sum()


def test_one_threshold_alone_leaves_the_other_as_it_was(recorded: Recorded, outcomes: Outcomes) -> None:
    """With another review threshold the same purchases are declined as were."""
    found = decide_anew(recorded, outcomes, Proposal(review=0.0868))
    then, scores = outcomes.frame["decision"].to_numpy(), outcomes.frame["score"].to_numpy()
    assert (found.decisions == 3).tolist() == (then == 3).tolist()
    assert (found.decisions == 2).sum() > (then == 2).sum()
    assert (found.decisions >= 2).tolist() == (scores >= 0.0868).tolist()


def test_purchases_without_the_features_are_left_out_and_counted(recorded: Recorded, outcomes: Outcomes) -> None:
    """Only the rows since a version scored in shadow have its feature: the others are counted by what they lack."""
    half = PURCHASES // 2
    found = decide_anew(recorded, outcomes, Proposal(versions=(3,)))
    assert found.frame["purchase_id"].to_list() == [f"p-{n}" for n in range(half, PURCHASES)]
    assert (found.recomputed, found.left_out) == (0, {"seller_known": half})


@pytest.mark.parametrize(
    "values",
    [{}, {"review": 0.5, "decline": 0.2}, {"versions": (7, 7)}, {"review": 1.5}, {"review": 0.1, "degraded_rule": "x"}],
)
def test_a_proposal_that_says_nothing_or_contradicts_itself_is_refused(values: dict[str, object]) -> None:
    """A proposal names a score or a threshold, its thresholds are in order, and its versions differ."""
    with pytest.raises(ValidationError):
        Proposal.model_validate(values)
