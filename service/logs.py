"""Structured logs: one JSON object a line on standard error, whoever writes it; never a card, a token or an id.

Our own lines are constant text with fields that hold none of that. What others write, and what an exception
says, cannot be known: exceptions are told by their type and place, with their text only when they are ours or the
operating system's, and whatever passes for a card number or a token is taken out of every line.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from traceback import walk_tb
from types import TracebackType
from typing import Any, Final

import structlog

from service.callers import TOKEN_PREFIX
from service.core.limits import looks_like_card
from service.errors import FraudError

MAX_FRAMES: Final = 20
"""Places of an exception that are told, the innermost ones."""

MAX_CAUSES: Final = 5
"""Exceptions of a chain that are told, the first of which was logged."""

_TOKEN: Final = re.compile(rf"\b{TOKEN_PREFIX}[A-Za-z0-9_-]{{20,}}")
_MAYBE_CARD: Final = re.compile(r"(?<![0-9A-Za-z])[0-9](?:[-. ]?[0-9]){11,18}(?![0-9A-Za-z])")

_Line = structlog.typing.EventDict


def configure(level: str) -> None:
    """Set up logging for this process, whose id every line tells: several workers share one stream.

    Lines of libraries, from warnings on, and exceptions that nobody caught become lines of ours.
    """
    process = os.getpid()

    def name_process(_logger: object, _method: str, line: _Line) -> _Line:
        line["process"] = process
        return line

    common: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        name_process,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _tell_exception,
        _scrub,
    ]
    structlog.configure(
        processors=[*common, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *common],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def describe_exception(error: BaseException) -> list[dict[str, Any]]:
    """Return what may be logged of an exception and of those behind it, the outermost first."""
    return [
        {"type": _name(one), "text": _text(one), "at": _places(one.__traceback__)}
        for one, _ in zip(_chain(error), range(MAX_CAUSES), strict=False)
    ]


def scrub(value: Any) -> Any:  # noqa: ANN401  whatever stands in a line
    """Return a value of a line without card numbers and tokens."""
    if isinstance(value, str):
        return _MAYBE_CARD.sub(_without_card, _TOKEN.sub("[token]", value))
    if isinstance(value, dict):
        return {name: scrub(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [scrub(one) for one in value]
    return value


# --- what every line goes through ---------------------------------------------------------------


def _tell_exception(_logger: object, _method: str, line: _Line) -> _Line:
    found = line.pop("exc_info", None)
    error = sys.exception() if found is True else found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        line["exception"] = describe_exception(error)
    return line


def _scrub(_logger: object, _method: str, line: _Line) -> _Line:
    return {
        name: value if name == "timestamp" or name.startswith("_") else scrub(value) for name, value in line.items()
    }


def _without_card(match: re.Match[str]) -> str:
    return "[card number]" if looks_like_card(re.sub("[-. ]", "", match[0])) else match[0]


# --- exceptions ---------------------------------------------------------------------------------


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _name(error: BaseException) -> str:
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _text(error: BaseException) -> str:
    """Return what the exception says, where that is known to hold nothing of a request."""
    if isinstance(error, FraudError):
        return str(error)
    return error.strerror or "" if isinstance(error, OSError) else ""


def _places(trace: TracebackType | None) -> list[str]:
    """Return where it went through, the outermost first."""
    places = [f"{frame.f_code.co_filename}:{line} {frame.f_code.co_name}" for frame, line in walk_tb(trace)]
    return places[-MAX_FRAMES:]


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    structlog.get_logger(__name__).critical("process ended by an exception", exc_info=error)


def _uncaught_in_thread(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread else ""
    structlog.get_logger(__name__).critical("thread ended by an exception", thread=name, exc_info=ended.exc_value)
