"""Every error of the service, sorted by who must act.

    FraudError
    ├── CallerError            the caller sent something wrong
    │   ├── InvalidInput       a field breaks its rule, or an id is known with other content
    │   ├── Unauthenticated    nobody that we know
    │   ├── PermissionDenied   somebody that we know, without the role that the call asks for
    │   └── RateLimited        more calls than the caller may make
    ├── OperatorError          whoever runs the service set something wrong
    │   ├── BadSetting         a setting or a file named by one
    │   ├── BadArtifact        a model version that must not go live
    │   └── NoModel            nothing is live yet
    └── DependencyError        something that we depend on failed
        ├── StoreUnavailable   the store did not answer
        ├── Overloaded         more calls in hand than the service is bounded to
        └── BudgetSpent        no answer fits the deadline any more

No status codes here: the servicer has the one table. What fails in normal life (a duplicate, a late
event, a version that does not load) is a value or a state, not an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class FraudError(Exception):
    """Anything that this project raises on purpose."""


class CallerError(FraudError):
    """The caller sent something wrong and must change it."""


class Violation(NamedTuple):
    """One field that breaks its rule; the description never repeats the value."""

    field: str
    description: str


class InvalidInput(CallerError):
    """One or more fields break their rules."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        """Keep what is wrong, field by field."""
        super().__init__("; ".join(f"{one.field} {one.description}" for one in violations))
        self.violations = tuple(violations)


class Unauthenticated(CallerError):
    """The call carries nothing that tells who makes it, or something that is not valid."""


class PermissionDenied(CallerError):
    """The caller is known and has not the role that the call asks for."""


class RateLimited(CallerError):
    """The caller makes more calls than it may; later it may make more."""


class OperatorError(FraudError):
    """Whoever runs the service must act; the text says what to do."""


class BadSetting(OperatorError):
    """A setting, or a file that a setting names, cannot be used."""


class BadArtifact(OperatorError):
    """A model version must not go live; the text says why."""


class NoModel(OperatorError):
    """No model version is live."""


class DependencyError(FraudError):
    """Something that we depend on failed; trying again may help."""


class StoreUnavailable(DependencyError):
    """The store did not do what it was asked to."""


class Overloaded(DependencyError):
    """As many calls are in hand as the service is bounded to; this one was not begun."""


class BudgetSpent(DependencyError):
    """The deadline passed before an answer could be made."""
