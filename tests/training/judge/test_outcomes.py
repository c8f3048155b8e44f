"""Decisions meet their labels as they were known at a cutoff, each purchase once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from service.core.decision import Decision, MissingCause
from service.core.event import Event, Settlement
from service.core.windows import DAY_MS
from service.errors import BadSetting
from tests.make import NOW_MS
from tests.training.judge.decided import OLD_MS, MadeLog, cleared, confirmed, decision, settled
from training.judge.outcomes import Maturity, Outcomes, load_outcomes
from training.learning.facts import Truth

MATURITY = Maturity(NOW_MS, 7 * DAY_MS)


def outcomes_of(
    decisions: Sequence[Mapping[str, Any]], events: Sequence[Event] = (), maturity: Maturity = MATURITY
) -> Outcomes:
    """Return the outcomes of a log made by hand."""
    return load_outcomes(MadeLog(decisions, events), maturity)


def column(outcomes: Outcomes, name: str) -> list[Any]:
    """Return a column of the outcomes."""
    return outcomes.frame[name].to_list()


def test_a_confirmation_counts_from_when_it_was_known() -> None:
    """A label that arrives after the cutoff does not exist yet."""
    events = [confirmed("p-1", NOW_MS), confirmed("p-2", NOW_MS + 1)]
    found = outcomes_of([decision("p-1"), decision("p-2")], events)
    assert column(found, "label") == [1, 0]
    assert column(found, "truth") == [Truth.SAID, Truth.ASSUMED]


def test_a_clearance_takes_a_confirmation_back() -> None:
    """The last word that was known counts, whatever the order of the log."""
    events = [
        cleared("p-1", NOW_MS),
        confirmed("p-1", NOW_MS - 1),
        confirmed("p-2", NOW_MS),
        cleared("p-2", NOW_MS + 1),
    ]
    found = outcomes_of([decision("p-1"), decision("p-2")], events)
    assert column(found, "label") == [0, 1]
    assert column(found, "truth") == [Truth.SAID, Truth.SAID]


def test_young_purchases_are_left_out_labelled_or_not() -> None:
    """What happened within the label delay before the cutoff is not judged, even when its label is there."""
    edge_ms = NOW_MS - 7 * DAY_MS
    decisions = [decision("p-1", event_time_ms=edge_ms - 1), decision("p-2", event_time_ms=edge_ms)]
    found = outcomes_of(decisions, [confirmed("p-2")])
    assert column(found, "purchase_id") == ["p-1"]
    assert (found.decisions, found.young) == (2, 1)


def test_a_decision_made_after_the_cutoff_is_not_known() -> None:
    """An old purchase that was scored again after the cutoff is judged by the decision before."""
    decisions = [decision(score=0.2), decision(score=0.3, decided_at_ms=NOW_MS + 1)]
    assert column(outcomes_of(decisions), "score") == [0.2]


def test_nothing_matured_is_said() -> None:
    """Without a matured decision the sentence names the option that changes that."""
    with pytest.raises(BadSetting, match="label-delay-days"):
        outcomes_of([decision(event_time_ms=NOW_MS)])


@pytest.mark.parametrize(
    ("decisions", "chosen"),
    [
        pytest.param([{"score": 0.1}, {"score": 0.2}], 0.2, id="the last"),
        pytest.param([{"score": 0.1, "recorded": True}, {"score": 0.2}], 0.1, id="the recorded one"),
        pytest.param(
            [{"score": 0.1}, {"score": 0.2, "recorded": True, "card_missing": int(MissingCause.HOLDS_PURCHASE)}],
            0.1,
            id="not one made when it was known",
        ),
    ],
)
def test_a_purchase_counts_once(decisions: list[dict[str, Any]], chosen: float) -> None:
    """Of several decisions the one that was acted upon stands for the purchase, in whatever piece it lies."""
    found = outcomes_of([decision("p-0"), *(decision(**one) for one in decisions)])
    assert column(found, "score") == [0.1, chosen]
    assert found.repeated == 1


def test_what_was_declined_has_no_truth_unless_somebody_said_it() -> None:
    """A decline without a label stands for nothing; with one it is judged like anything else."""
    decline = int(Decision.DECLINE)
    decisions = [decision("p-1", decision=decline), decision("p-2", decision=decline), decision("p-3")]
    found = outcomes_of(decisions, [confirmed("p-2")])
    assert column(found, "truth") == [Truth.UNKNOWN, Truth.SAID, Truth.ASSUMED]
    assert column(found, "weight") == [0.0, 1.0, 1.0]
    assert found.judged["purchase_id"].to_list() == ["p-2", "p-3"]
    assert found.shares()["without_truth"] == 1


def test_a_settlement_tells_what_became_of_a_purchase() -> None:
    """A decline that went through all the same is judged, and an approval that the issuer refused is not."""
    decline = int(Decision.DECLINE)
    decisions = [decision("p-1", decision=decline), decision("p-2"), decision("p-3"), decision("p-4", decision=decline)]
    events = [
        settled("p-1", Settlement.COMPLETED),
        settled("p-2", Settlement.DECLINED),
        settled("p-3", Settlement.COMPLETED),
        settled("p-4", Settlement.CANCELLED),
    ]
    found = outcomes_of(decisions, events)
    assert column(found, "truth") == [Truth.ASSUMED, Truth.UNKNOWN, Truth.ASSUMED, Truth.UNKNOWN]
    assert column(found, "weight") == [1.0, 0.0, 1.0, 0.0]


def test_control_rows_stand_for_all_that_would_have_been_declined() -> None:
    """One that was let through of four counts four times, and a labelled decline beside it not once more."""
    drawn: dict[str, Any] = {"control_share": 0.25}
    decline = int(Decision.DECLINE)
    decisions = [
        decision("p-1", control=True, **drawn),
        decision("p-2", decision=decline, **drawn),
        decision("p-3", decision=decline, **drawn),
        decision("p-4", decision=decline, **drawn),
    ]
    found = outcomes_of(decisions, [confirmed("p-2")])
    assert column(found, "truth") == [Truth.ASSUMED, Truth.SAID, Truth.UNKNOWN, Truth.UNKNOWN]
    assert column(found, "weight") == [4.0, 0.0, 0.0, 0.0]


def test_every_version_has_its_scores() -> None:
    """Versions that come and go have a score where they scored and nothing elsewhere."""
    decisions = [
        decision("p-1", {7: 0.1}),
        decision("p-2", {7: 0.2, 8: 0.3}),
        decision("p-3", {8: 0.4, 7: 0.5}),
        decision("p-4", {}),
    ]
    found = outcomes_of(decisions)
    assert found.versions == (7, 8)
    assert column(found, "score_7") == [0.1, 0.2, 0.5, None]
    assert column(found, "score_8") == [None, 0.3, 0.4, None]
    assert column(found, "shadow_8") == [None, True, False, None]


def test_purchases_of_one_card_belong_together() -> None:
    """The card groups purchases; the user does where there is no card; nobody's purchases stand alone."""
    decisions = [
        decision("p-1", card_hash="c-1", user_id="u-1"),
        decision("p-2", card_hash="", user_id="u-2"),
        decision("p-3", card_hash="c-1", user_id="u-2"),
        decision("p-4", card_hash="", user_id="u-2"),
        decision("p-5", card_hash="", user_id=""),
    ]
    one, two, three, four, five = column(outcomes_of(decisions), "group")
    assert (one, two, five) == (three, four, -1)
    assert one != two


def test_what_is_known_is_counted() -> None:
    """The shares say how far what is judged is a selection of what was decided."""
    decisions = [
        decision("p-1", degraded=True),
        decision("p-2", decision=int(Decision.DECLINE)),
        decision("p-3"),
        decision("p-3", control=True, control_share=0.5),
        decision("p-4", event_time_ms=NOW_MS),
    ]
    assert outcomes_of(decisions, [confirmed("p-1", OLD_MS)]).shares() == {
        "purchases": 3,
        "judged": 2,
        "frauds": 1,
        "without_truth": 1,
        "control": 1,
        "degraded": 1,
        "too_young": 1,
        "repeated": 1,
    }
