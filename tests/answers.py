"""Answers of a scorer and outcomes of a recorder, waited for."""

from __future__ import annotations

from queue import SimpleQueue

from service.question import Question, Scored
from service.recorder import Recorder
from service.scorer import Scorer
from service.store.protocol import Outcome, Submission

PATIENCE_S = 60.0


def scored(scorer: Scorer, question: Question, deadline_s: float) -> Scored:
    """Return the answer to a question that records nothing."""
    answer = scorer.score(question, deadline_s)
    assert answer is not None
    return answer


def scored_and_recorded(scorer: Scorer, question: Question, deadline_s: float) -> Scored:
    """Return the answer to a question once its purchase is recorded, or its time is over; raises what it ends with."""
    told: SimpleQueue[Scored | Exception] = SimpleQueue()
    at_once = scorer.score(question._replace(record=True, tell=told.put), deadline_s)
    answer = told.get(timeout=PATIENCE_S) if at_once is None else at_once
    if isinstance(answer, Exception):
        raise answer
    return answer


def recorded(recorder: Recorder, submission: Submission, deadline_s: float) -> Outcome:
    """Return what a recorder tells of a submission."""
    told: SimpleQueue[Outcome] = SimpleQueue()
    recorder.record(submission, deadline_s, told.put)
    return told.get(timeout=PATIENCE_S)
