"""What the scorer does when something is missing: the store, time, a model."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue

import pytest

from service.clock import EventClock
from service.core.decision import Decision, DecisionRecord, MissingCause
from service.core.draw import Draw
from service.core.event import KINDS, EntityKind, Event
from service.errors import NoModel
from service.explainer import Explainer
from service.metrics import Metrics
from service.question import Question, Scored
from service.recorder import Recorder
from service.registry.lineup_file import CanaryAnswer, Change, LineupSpec, change_lineup
from service.registry.manifest import ThresholdChoice
from service.registry.promotion import promote, set_challengers
from service.registry.watcher import Watcher
from service.scorer import Scorer
from service.served import Served
from service.settings import LmdbSettings, RegistrySettings, ScoringSettings
from service.store.lmdb import LmdbStore
from service.store.protocol import Outcome, Status, Submission, View
from tests.answers import scored, scored_and_recorded
from tests.make import NOW_MS, make_purchase
from tests.registry.build import build_artifact


class Kept:
    """Takes decisions into a list."""

    def __init__(self) -> None:
        """Begin with none."""
        self.records: list[DecisionRecord] = []

    def put(self, served: Served) -> None:
        """Keep it."""
        self.records.append(served.record)


class DeafStore(LmdbStore):
    """A store that answers no read and takes no write."""

    def read(self, purchases: Sequence[Event], timeout_s: float) -> list[View]:
        """Flag everything that was asked for as unreadable."""
        del timeout_s
        return [View((None, None, None, None), tuple(key.kind for key in one.keys()), None) for one in purchases]

    def apply(self, submissions: Sequence[Submission]) -> list[Outcome]:
        """Take nothing."""
        return [Outcome(Status.RETRY, reason="deaf") for _ in submissions]


class SlowStore(LmdbStore):
    """A store whose reads take longer than the deadline leaves."""

    def read(self, purchases: Sequence[Event], timeout_s: float) -> list[View]:
        """Answer too late."""
        time.sleep(timeout_s + 0.01)
        return super().read(purchases, timeout_s)


class LazyStore(LmdbStore):
    """A store that takes a while to make events durable."""

    def apply(self, submissions: Sequence[Submission]) -> list[Outcome]:
        """Apply them, but not at once."""
        time.sleep(0.2)
        return super().apply(submissions)


class Bench:
    """A scorer with everything around it, on a store of a given kind."""

    def __init__(self, folder: Path, store: type[LmdbStore], **scoring: object) -> None:
        """Put it together; no model is live yet."""
        self.registry = folder / "registry"
        self.store = store(LmdbSettings(path=folder / "store", max_size_bytes=1 << 28), "attempts", 100)
        self.watcher = Watcher(RegistrySettings(path=self.registry), "attempts", lambda: NOW_MS)
        self.kept = Kept()
        self.metrics = Metrics()
        settings = ScoringSettings(**scoring)
        self.recorder = Recorder(self.store, 2, 2, self.metrics)
        self.explainer = Explainer(settings.max_explaining, self.metrics)
        self.scorer = Scorer(
            self.store, self.recorder, self.watcher, self.kept, EventClock(NOW_MS), settings, self.explainer
        )

    def go_live(self, *, trees: int = 20, leaves: int = 7) -> None:
        """Publish and promote a version."""
        version = build_artifact(self.registry, trees=trees, leaves=leaves)
        promote(self.registry, version, "a test", "first version")
        self.watcher.refresh()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a place for store and registry."""
    return tmp_path


def soon() -> float:
    """Return a deadline that nothing here misses."""
    return time.monotonic() + 30


def test_without_a_model_there_is_no_answer(folder: Path) -> None:
    """No version is live: NoModel, which the edge turns into UNAVAILABLE."""
    with pytest.raises(NoModel):
        Bench(folder, LmdbStore).scorer.score(Question(make_purchase()), soon())


def test_what_waited_through_its_budget_is_answered_with_what_is_at_hand(folder: Path) -> None:
    """Its caller still waits: an embedded store is read, and what takes time is given up."""
    bench = Bench(folder, LmdbStore)
    bench.go_live()
    late = scored(bench.scorer, Question(make_purchase(), explain=True), time.monotonic() - 0.001).decision
    assert not late.degraded
    assert late.given_up == ("explanations",)


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        ("at_least_review", {Decision.REVIEW, Decision.DECLINE}),
        ("decline", {Decision.DECLINE}),
        ("score", set(Decision)),
    ],
)
def test_a_store_that_does_not_answer_degrades_the_answer(folder: Path, rule: str, allowed: set[Decision]) -> None:
    """There is an answer all the same, flagged, naming every profile, and decided by the degraded rule."""
    bench = Bench(folder, DeafStore, degraded_rule=rule)
    bench.go_live()
    answer = scored_and_recorded(bench.scorer, Question(make_purchase(), record_by_s=soon()), soon())
    assert answer.decision.degraded
    assert answer.decision.decision in allowed
    assert dict(answer.decision.missing) == dict.fromkeys(KINDS, MissingCause.UNREADABLE)
    assert not answer.decision.recorded
    assert answer.decision.revisions == ()


def test_what_is_absent_does_not_degrade(folder: Path) -> None:
    """A purchase without an item is answered in full even so."""
    bench = Bench(folder, LmdbStore)
    bench.go_live()
    answer = scored(bench.scorer, Question(make_purchase(item_id="")), soon())
    assert not answer.decision.degraded
    assert answer.decision.missing[EntityKind.ITEM] is MissingCause.ABSENT


def test_shadow_scores_are_recorded_and_never_answered(folder: Path) -> None:
    """A challenger's score stands in the record, and the answer is the champion's alone."""
    bench = Bench(folder, LmdbStore)
    bench.go_live()
    alone = scored(bench.scorer, Question(make_purchase()), soon()).decision
    set_challengers(bench.registry, [build_artifact(bench.registry, seed=5)], "a test", "shadow")
    bench.watcher.refresh()
    both = scored(bench.scorer, Question(make_purchase()), soon()).decision
    assert both.score == alone.score
    assert [(one.version, one.shadow) for one in both.scores] == [(1, False), (2, True)]
    assert both.model_versions == (1,)


def test_what_does_not_fit_is_given_up_in_order(folder: Path) -> None:
    """When reading took all the time, shadow scores and explanations are given up, and the answer stands."""
    bench = Bench(folder, SlowStore)
    bench.go_live()
    set_challengers(bench.registry, [build_artifact(bench.registry, seed=5)], "a test", "shadow")
    bench.watcher.refresh()
    answer = scored(bench.scorer, Question(make_purchase(), explain=True), time.monotonic() + 0.05)
    assert answer.decision.given_up == ("shadow", "explanations")
    assert answer.decision.reasons == ()


def test_a_batch_equals_single_scores_with_versions_of_different_features(folder: Path) -> None:
    """Champion and challenger with other features each get their own row, in batches as alone."""
    bench = Bench(folder, LmdbStore)
    first = build_artifact(bench.registry, ["user_known", "amount_level", "user_tenure"])
    promote(bench.registry, first, "a test", "first version")
    set_challengers(
        bench.registry, [build_artifact(bench.registry, ["card_known", "amount_level"])], "a test", "shadow"
    )
    bench.watcher.refresh()
    questions = [Question(make_purchase(f"p-{n}", amount_minor=n * 991)) for n in range(20)]
    batch = [one.decision.scores for one in bench.scorer.score_many(questions, soon())]
    assert batch == [scored(bench.scorer, question, soon()).decision.scores for question in questions]


def canary_bench(folder: Path, share: float) -> Bench:
    """Return a bench where version 2 answers for a share of the users, by thresholds of its own."""
    bench = Bench(folder, LmdbStore)
    bench.go_live()
    canary = build_artifact(bench.registry, seed=5, thresholds=ThresholdChoice(review=0.1, decline=0.2, why="a test"))
    answer = CanaryAnswer(version=canary, share=share)
    change_lineup(
        bench.registry, lambda *_: Change(at_ms=1, who="", why="", lineup=LineupSpec(champion=1, answer=answer))
    )
    bench.watcher.refresh()
    return bench


def test_a_canary_answers_by_its_own_thresholds_while_the_champion_watches(folder: Path) -> None:
    """Users in the draw get the canary's score and thresholds, all others the champion's; the other is in shadow."""
    bench = canary_bench(folder, 0.3)
    decided = [
        scored(bench.scorer, Question(make_purchase(f"p-{n}", user_id=f"u-{n}")), soon()).decision for n in range(30)
    ]
    drawn = [Draw("canary:", 0.3).takes(f"u-{n}") for n in range(30)]
    assert [one.model_versions for one in decided] == [(2,) if taken else (1,) for taken in drawn]
    assert {(one.model_versions, one.thresholds) for one in decided} == {((1,), (0.5, 0.9)), ((2,), (0.1, 0.2))}
    for one in decided:
        shadow = 3 - one.model_versions[0]
        assert [(score.version, score.shadow) for score in one.scores] == [(3 - shadow, False), (shadow, True)]
        assert one.score == one.scores[0].score


def test_a_batch_under_a_canary_equals_single_scores(folder: Path) -> None:
    """A batch of users who meet different versions gets, in its order, what each would get alone."""
    bench = canary_bench(folder, 0.4)
    questions = [Question(make_purchase(f"p-{n}", user_id=f"u-{n % 15}", amount_minor=n * 991)) for n in range(30)]
    batch = [one.decision for one in bench.scorer.score_many(questions, soon())]
    single = [scored(bench.scorer, question, soon()).decision for question in questions]
    assert [(one.purchase, one.score, one.scores, one.decision) for one in batch] == [
        (one.purchase, one.score, one.scores, one.decision) for one in single
    ]
    assert len({one.model_versions for one in batch}) == 2


def test_a_share_of_the_would_be_declines_is_let_through(folder: Path) -> None:
    """They are approved, flagged with the share, chosen by purchase id alone; nothing else is touched."""
    strict = ThresholdChoice(review=0.0, decline=0.45, why="a test")
    plain, drawing = Bench(folder / "plain", LmdbStore), Bench(folder / "drawing", LmdbStore, control_share=0.25)
    for bench in (plain, drawing):
        promote(bench.registry, build_artifact(bench.registry, thresholds=strict), "a test", "first version")
        bench.watcher.refresh()
    questions = [Question(make_purchase(f"p-{n}", amount_minor=10 if n % 2 else 10_000)) for n in range(24)]
    before = [bench.decision for bench in plain.scorer.score_many(questions, soon())]
    after = [bench.decision for bench in drawing.scorer.score_many(questions, soon())]
    assert {one.decision for one in before} == {Decision.REVIEW, Decision.DECLINE}
    assert not any(one.control or one.control_share for one in before)
    for was, now in zip(before, after, strict=True):
        drawn = was.decision is Decision.DECLINE
        control = drawn and Draw("control:", 0.25).takes(was.purchase.event_id)
        assert now.decision is (Decision.APPROVE if control else was.decision)
        assert (now.control, now.control_share, now.score) == (control, 0.25 if drawn else 0.0, was.score)
    assert any(one.control for one in after)


def test_no_chance_softens_a_degraded_answer(folder: Path) -> None:
    """Without its profiles a purchase is decided by the stated rule, though all would-be declines are let through."""
    bench = Bench(folder, DeafStore, degraded_rule="decline", control_share=1.0)
    bench.go_live()
    decided = scored(bench.scorer, Question(make_purchase()), soon()).decision
    assert (decided.decision, decided.control, decided.control_share) == (Decision.DECLINE, False, 0.0)


def told(bench: Bench, question: Question) -> Scored:
    """Return the answer that is told, not returned."""
    answers: SimpleQueue[Scored | Exception] = SimpleQueue()
    assert bench.scorer.score(question._replace(tell=answers.put), soon()) is None
    answer = answers.get(timeout=30)
    assert isinstance(answer, Scored)
    return answer


def test_long_reasons_are_worked_out_beside_the_calls(folder: Path) -> None:
    """The thread that scores goes on; whoever asked is told the same reasons, and finds them recorded if asked to."""
    bench = Bench(folder, LmdbStore)
    bench.go_live(trees=300, leaves=31)
    here = scored(bench.scorer, Question(make_purchase(), explain=True), soon()).decision
    assert here.reasons
    assert told(bench, Question(make_purchase(), explain=True)).decision.reasons == here.reasons
    recording = Question(make_purchase(), explain=True, record=True, record_by_s=soon())
    assert told(bench, recording).decision.recorded
    assert scored(bench.scorer, Question(make_purchase()), soon()).decision.reasons == here.reasons
    assert [one.given_up for one in bench.kept.records] == [()] * 3


def test_answers_that_wait_for_reasons_are_bounded(folder: Path) -> None:
    """Beyond the bound an answer goes without them, at once, and says so."""
    bench = Bench(folder, LmdbStore, max_explaining=1)
    bench.go_live(trees=300, leaves=31)
    go_on = threading.Event()
    begun = threading.Event()

    def busy() -> None:
        begun.set()
        go_on.wait(30)

    assert bench.explainer.take(busy)
    assert begun.wait(30)
    assert bench.explainer.take(busy)
    hurried = bench.scorer.score(Question(make_purchase(), tell=lambda _: None, explain=True), soon())
    assert hurried is not None
    assert (hurried.decision.reasons, hurried.decision.given_up) == ((), ("explanations",))
    go_on.set()
    bench.explainer.stop()


def test_an_answer_does_not_wait_longer_for_durability_than_it_may(folder: Path) -> None:
    """The answer comes in time and says `recorded=false`; the write goes on, and a repeat finds the decision."""
    bench = Bench(folder, LazyStore)
    bench.go_live()
    first = scored_and_recorded(bench.scorer, Question(make_purchase(), record_by_s=time.monotonic() + 0.01), soon())
    assert not first.decision.recorded
    assert first.decision.given_up == ("record",)
    assert bench.store.events("", 10).events == []
    bench.recorder.stop()
    (logged,) = bench.store.events("", 10).events
    assert logged.event.event_id == "p-1"
    again = scored(bench.scorer, Question(make_purchase()), soon())
    assert again.decision.recorded
    assert again.decision.score == first.decision.score


def test_writes_in_hand_are_bounded(folder: Path) -> None:
    """Beyond the bound a purchase is answered without being recorded, at once, and counted."""
    bench = Bench(folder, LazyStore)
    bench.go_live()
    answers = [
        scored_and_recorded(bench.scorer, Question(make_purchase(f"p-{n}"), record_by_s=time.monotonic()), soon())
        for n in range(4)
    ]
    bench.recorder.stop()
    assert not any(one.decision.recorded for one in answers)
    assert len(bench.store.events("", 10).events) == 2
    assert bench.metrics.registry.get_sample_value("fraud_given_up_total", {"stage": "record"}) == 4.0
