"""Scoring: the use case behind `FraudScoring.Score`.

One request: take the lineup once, one read of the store, one row, the scores, the decision, then the
record. What does not fit the deadline is given up in order: explanations, shadow scores, the read.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple, Protocol

from service.clock import Clock
from service.core.decision import Decision, DecisionRecord, VersionScore, decide
from service.core.draw import Draw
from service.core.event import Event
from service.core.listing import Listing
from service.core.profile import Image, newest_purchase_ms
from service.core.row import row_of
from service.errors import FraudError, InvalidInput, NoModel, Violation
from service.explainer import WORTH_S, Explainer
from service.missing import missing_of
from service.question import Question, Scored
from service.reading import Reads
from service.recorder import Recorder
from service.registry.lineup import Lineup
from service.served import Served
from service.settings import ScoringSettings
from service.store.protocol import LoggedEvent, Outcome, Status, Store, Submission, View

_DURABLE: Final = frozenset({Status.APPLIED, Status.LATE, Status.DUPLICATE})
_CONFLICT: Final = Violation("purchase.purchase_id", "is known with other content")
_NO_IMAGES: Final[tuple[Image | None, Image | None, Image | None, Image | None]] = (None, None, None, None)


Listed = Callable[[Event], Sequence[Listing]]
"""Return the entries of the lists that a purchase meets."""


def _nothing_listed(purchase: Event) -> Sequence[Listing]:
    """Return no entries."""
    del purchase
    return ()


class LineupSource(Protocol):
    """Where the scorer takes the lineup from, once per request."""

    @property
    def lineup(self) -> Lineup | None:
        """Return what is live, None before the first version is."""


class Decisions(Protocol):
    """Where the scorer hands over what it served."""

    def put(self, served: Served) -> None:
        """Take a decision; never waits."""


class _Made(NamedTuple):
    """An answer that was made, on its way to whoever asked."""

    record: DecisionRecord
    row: list[float]
    lineup: Lineup
    question: Question
    deadline_s: float
    read_s: float


class Scorer:
    """Answers questions. Thread-safe: it holds nothing that a request changes."""

    def __init__(  # noqa: PLR0913  a use case gets its collaborators one by one
        self,
        store: Store,
        recorder: Recorder,
        lineups: LineupSource,
        decisions: Decisions,
        clock: Clock,
        settings: ScoringSettings,
        explainer: Explainer,
        *,
        reads: Reads | None = None,
        listed: Listed = _nothing_listed,
    ) -> None:
        """Get what it needs; `reads` is what it reads profiles through, if not the store itself."""
        self._store = store
        self._reads: Reads = store if reads is None else reads
        self._recorder = recorder
        self._lineups = lineups
        self._decisions = decisions
        self._clock = clock
        self._settings = settings
        self._explainer = explainer
        self._listed = listed
        self._control = Draw("control:", settings.control_share)

    def score(self, question: Question, deadline_s: float) -> Scored | None:
        """Answer one question before `deadline_s` on the monotonic clock; None when `question.tell` gets the answer.

        It does when the purchase is recorded, or reasons take long; maybe before this returns. One whose time is over
        is answered all the same, with what is at hand: whether that is of use to anybody is the edge's to know. Raises
        NoModel, and InvalidInput when the purchase's id is known with other content. Cost: one store read of five
        records, one row, one prediction per live version.
        """
        lineup = self._lineup()
        if question.record:
            self._clock.observe(question.purchase.event_time_ms)
        (view,) = self._reads.read((question.purchase,), self._left(deadline_s))
        return self._score(lineup, question, view, deadline_s, time.monotonic())

    def score_together(
        self, questions: Sequence[Question], deadlines_s: Sequence[float]
    ) -> list[Scored | Exception | None]:
        """Answer questions of different callers, each as `score` does, with one store read for all of them.

        Each has its own deadline; the read has the time that is left to all. An answer that is an exception is
        one that `score` raises. Raises NoModel. Cost: a read of eight costs 45 % of eight reads on Aerospike.
        """
        lineup = self._lineup()
        for question in questions:
            if question.record:
                self._clock.observe(question.purchase.event_time_ms)
        views = self._reads.read([question.purchase for question in questions], self._left(min(deadlines_s)))
        read_s = time.monotonic()
        answers: list[Scored | Exception | None] = []
        for question, view, deadline_s in zip(questions, views, deadlines_s, strict=True):
            try:
                answers.append(self._score(lineup, question, view, deadline_s, read_s))
            except FraudError as error:
                answers.append(error.with_traceback(None))  # with it, it would hold all of them in a circle
            except Exception as error:  # noqa: BLE001  the edge knows what its caller may learn; others go on
                answers.append(error)
        return answers

    def score_many(self, questions: Sequence[Question], deadline_s: float) -> list[Scored]:
        """Answer a list with one store read and one model call per live version; scores equal `score`'s.

        None of the purchases is recorded.
        """
        live = self._lineup()
        views = self._reads.read([question.purchase for question in questions], self._left(deadline_s))
        read_s = time.monotonic()
        met: dict[Lineup, list[int]] = {}
        for at, question in enumerate(questions):
            met.setdefault(live.of(question.purchase), []).append(at)
        answers: dict[int, Scored] = {}
        for lineup, places in met.items():
            scored = self._score_alike(
                lineup, [questions[at] for at in places], [views[at] for at in places], deadline_s, read_s
            )
            answers.update(zip(places, scored, strict=True))
        return [answers[at] for at in range(len(questions))]

    # --- steps ----------------------------------------------------------------------------------

    def _score(self, live: Lineup, question: Question, view: View, deadline_s: float, read_s: float) -> Scored | None:
        """Answer one question with what was read for it until `read_s`."""
        purchase = question.purchase
        known = self._known(view.recorded, purchase)
        if known is not None:
            return self._repeat(known, question)
        lineup = live.of(purchase)
        images = _NO_IMAGES if view.recorded is not None else view.images
        row = row_of(lineup.row, purchase, images)
        scores = [one.raw_score(row) for one in lineup.answer]
        shadows: list[float] = []
        given_up = ["read"] if view.given_up else []
        if lineup.shadow:
            if read_s < deadline_s:
                shadows = [one.raw_score(row) for one in lineup.shadow]
            else:
                given_up.append("shadow")
        record = self._decide(lineup, purchase, view, row, scores, shadows)
        record.given_up = tuple(given_up)
        made = _Made(record, row, lineup, question, deadline_s, read_s)
        if not self._wants_reasons(made):
            return self._kept(made)
        if question.tell is None or lineup.explain_s < WORTH_S or not self._in_time(made):
            self._explain(made)
            return self._kept(made)
        if self._explainer.take(partial(self._explain_aside, made)):
            return None
        record.given_up += ("explanations",)
        return self._kept(made)

    def _score_alike(
        self, lineup: Lineup, questions: Sequence[Question], views: Sequence[View], deadline_s: float, read_s: float
    ) -> list[Scored]:
        """Answer questions that meet the same lineup."""
        images = [_NO_IMAGES if view.recorded is not None else view.images for view in views]
        rows = [row_of(lineup.row, question.purchase, seen) for question, seen in zip(questions, images, strict=True)]
        answers = [live.raw_scores(rows) for live in lineup.answer]
        shadows = [live.raw_scores(rows) for live in lineup.shadow] if time.monotonic() < deadline_s else []
        results = []
        for at, (question, view, row) in enumerate(zip(questions, views, rows, strict=True)):
            known = self._known(view.recorded, question.purchase)
            if known is not None:
                results.append(self._repeat(known, question))
                continue
            given_up = ["read"] if view.given_up else []
            if lineup.shadow and not shadows:
                given_up.append("shadow")
            record = self._decide(
                lineup, question.purchase, view, row, [raw[at] for raw in answers], [raw[at] for raw in shadows]
            )
            record.given_up = tuple(given_up)
            made = _Made(record, row, lineup, question, deadline_s, read_s)
            if self._wants_reasons(made):
                self._explain(made)
            scored_s = time.monotonic()
            results.append(self._finish(made, scored_s, scored_s))
        return results

    def _lineup(self) -> Lineup:
        lineup = self._lineups.lineup
        if lineup is None:
            raise NoModel("no model version is live: publish and promote one")
        return lineup

    def _left(self, deadline_s: float) -> float:
        """Return the time that is left, 0 for none: then all is given up that does not come at once."""
        return max(deadline_s - time.monotonic(), 0.0)

    def _known(self, recorded: LoggedEvent | None, purchase: Event) -> DecisionRecord | None:
        """Return the decision of an earlier call for this purchase; raises InvalidInput when it was another."""
        if recorded is None:
            return None
        if not recorded.event.same_content(purchase):
            raise InvalidInput([_CONFLICT])
        return recorded.decision

    def _repeat(self, decision: DecisionRecord, question: Question) -> Scored:
        names = self._store.row_layout(decision.row_layout) if question.with_features else ()
        features = tuple(zip(names, struct.unpack(f"<{len(names)}d", decision.row), strict=True)) if names else ()
        return Scored(decision, features)

    def _decide(
        self,
        lineup: Lineup,
        purchase: Event,
        view: View,
        row: list[float],
        raw_scores: Sequence[float],
        raw_shadows: Sequence[float],
    ) -> DecisionRecord:
        scores = [
            VersionScore(live.version, raw, live.probability(raw), False)
            for live, raw in zip(lineup.answer, raw_scores, strict=True)
        ]
        score = scores[0].score if len(scores) == 1 else sum(one.score for one in scores) / len(scores)
        if raw_shadows:
            scores += [
                VersionScore(live.version, raw, live.probability(raw), True)
                for live, raw in zip(lineup.shadow, raw_shadows, strict=True)
            ]
        missing, revisions, degraded = missing_of(purchase, view)
        by_score = decide(score, lineup.thresholds)
        ruling = lineup.policy.rule(
            row,
            purchase,
            by_score,
            self._listed(purchase),
            missing if degraded else None,
            self._settings.degraded_rule,
        )
        # Chance softens what the score says, never a rule: nor what a degraded answer decides, which is one.
        drawn = ruling.decision is Decision.DECLINE and ruling.asked is Decision.APPROVE and not degraded
        control = drawn and self._control.takes(purchase.event_id)
        newest_ms = newest_purchase_ms(view.images) if view.recorded is None else 0
        return DecisionRecord(
            purchase,
            self._clock.now_ms(),
            score,
            Decision.APPROVE if control else ruling.decision,
            lineup.thresholds,
            tuple(scores),
            lineup.versions,
            lineup.revision,
            lineup.row_layout,
            lineup.pack(*row),
            revisions,
            missing,
            degraded,
            profile_age_ms=max(purchase.event_time_ms - newest_ms, 0) if newest_ms else -1,
            reasons=ruling.reasons[: self._settings.max_reasons],
            control=control,
            control_share=self._control.share if drawn else 0.0,
            policy_version=lineup.policy.version,
            rules=ruling.rules,
            score_decision=by_score,
        )

    def _wants_reasons(self, made: _Made) -> bool:
        """Tell whether features are to be named beside the rules."""
        record = made.record
        if not made.question.explain and (record.decision is Decision.APPROVE or not self._settings.explain_decisions):
            return False
        return len(record.reasons) < self._settings.max_reasons

    def _in_time(self, made: _Made) -> bool:
        return time.monotonic() + made.lineup.explain_s <= made.deadline_s

    def _explain(self, made: _Made) -> None:
        """Name the features that moved the score, or give that up."""
        record = made.record
        if self._in_time(made):
            record.reasons += tuple(made.lineup.reasons(made.row, self._settings.max_reasons - len(record.reasons)))
        else:
            record.given_up += ("explanations",)

    def _explain_aside(self, made: _Made) -> None:
        """Explain an answer while others are answered, and go on with it."""
        tell = made.question.tell
        assert tell is not None, "who waits in place is not told"
        answer: Scored | Exception | None
        try:
            self._explain(made)
            answer = self._kept(made)
        except Exception as error:  # noqa: BLE001  the edge knows what its caller may learn
            answer = error
        if answer is not None:
            tell(answer)

    def _kept(self, made: _Made) -> Scored | None:
        """Return an answer, or begin to record its purchase first."""
        scored_s = time.monotonic()
        if not made.question.record:
            return self._finish(made, scored_s, scored_s)
        submission = Submission(made.record.purchase, made.record)
        self._recorder.record(submission, made.question.record_by_s, partial(self._written, made, scored_s))
        return None

    def _written(self, made: _Made, scored_s: float, outcome: Outcome) -> None:
        """Tell an answer, now that it is known what became of its purchase."""
        tell = made.question.tell
        assert tell is not None, "who records is told"
        answer: Scored | Exception
        try:
            answer = self._recorded(made, scored_s, outcome)
        except Exception as error:  # noqa: BLE001  the edge knows what its caller may learn
            answer = error
        tell(answer)

    def _recorded(self, made: _Made, scored_s: float, outcome: Outcome) -> Scored:
        """Return an answer by what became of its purchase; raises InvalidInput when it was refused."""
        if outcome.status is Status.REJECTED:
            raise InvalidInput([Violation(outcome.field, outcome.reason)])
        if outcome.status is Status.DUPLICATE and outcome.decision is not None:
            return self._repeat(outcome.decision, made.question)  # of a call that was faster
        record = made.record
        if outcome.status in _DURABLE:
            record.recorded = True
        else:
            # The write may still be under way, and what it keeps of the decision is not to change.
            made = made._replace(record=replace(record, given_up=(*record.given_up, "record")))
        return self._finish(made, scored_s, time.monotonic())

    def _finish(self, made: _Made, scored_s: float, replied_s: float) -> Scored:
        """Hand an answer to the decision log, and return it."""
        record, row, lineup, question, _, read_s = made
        self._decisions.put(
            Served(record, question.arrived_s, question.begun_s, read_s, scored_s, replied_s, question.traceparent)
        )
        features = tuple(zip(lineup.names, row, strict=True)) if question.with_features else ()
        return Scored(record, features)
