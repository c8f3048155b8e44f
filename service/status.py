"""From errors to what a caller sees: the one table of status codes.

An error that is not ours reaches the caller as INTERNAL without text.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import grpc
from google.rpc import error_details_pb2, status_pb2

from service.errors import (
    BudgetSpent,
    FraudError,
    InvalidInput,
    NoModel,
    Overloaded,
    PermissionDenied,
    RateLimited,
    StoreUnavailable,
    Unauthenticated,
)

_DETAILS_KEY: Final = "grpc-status-details-bin"
"""Where gRPC carries `google.rpc.Status`: https://grpc.io/docs/guides/error/#richer-error-model"""


class Status(NamedTuple):
    """How a call ended without an answer."""

    code: grpc.StatusCode
    text: str
    metadata: tuple[tuple[str, bytes], ...] = ()
    """Trailing metadata: which fields are wrong, for INVALID_ARGUMENT."""


_INTERNAL: Final = Status(grpc.StatusCode.INTERNAL, "internal error")

_CODES: Final[tuple[tuple[type[FraudError], grpc.StatusCode], ...]] = (
    (Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (PermissionDenied, grpc.StatusCode.PERMISSION_DENIED),
    (RateLimited, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (BudgetSpent, grpc.StatusCode.DEADLINE_EXCEEDED),
    (NoModel, grpc.StatusCode.UNAVAILABLE),
    (StoreUnavailable, grpc.StatusCode.UNAVAILABLE),
)


def status_of(error: Exception) -> Status:
    """Return the status that an error stands for."""
    if isinstance(error, InvalidInput):
        return _bad_request(error)
    for kind, code in _CODES:
        if isinstance(error, kind):
            return Status(code, str(error))
    return _INTERNAL


def _bad_request(error: InvalidInput) -> Status:
    """Return INVALID_ARGUMENT with a `google.rpc.BadRequest` that names every field."""
    details = error_details_pb2.BadRequest()
    for violation in error.violations:
        details.field_violations.add(field=violation.field, description=violation.description)
    code, text = grpc.StatusCode.INVALID_ARGUMENT, str(error)
    status = status_pb2.Status(code=code.value[0], message=text)
    status.details.add().Pack(details)
    return Status(code, text, ((_DETAILS_KEY, status.SerializeToString()),))
