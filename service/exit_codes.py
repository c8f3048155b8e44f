"""Exit codes of every command, by name; `--help` lists them. What this project raises on purpose becomes one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import IntEnum

import typer

from service.errors import CallerError, DependencyError, FraudError, OperatorError


class ExitCode(IntEnum):
    """What the shell learns; 2 is what the command line library itself uses for a wrong call."""

    OK = 0
    FAILED = 1
    USAGE = 2
    BAD_INPUT = 3
    BAD_SETTING = 4
    UNAVAILABLE = 5
    NOT_FOUND = 6


EPILOG = (
    "Exit codes: 0 ok · 1 failed · 2 wrong call · 3 bad input · 4 bad setting or file · "
    "5 service or store unavailable · 6 not found"
)


def code_of(error: FraudError) -> ExitCode:
    """Return the exit code for an error, by who must act."""
    match error:
        case CallerError():
            return ExitCode.BAD_INPUT
        case OperatorError():
            return ExitCode.BAD_SETTING
        case DependencyError():
            return ExitCode.UNAVAILABLE
    return ExitCode.FAILED


def run(commands: Callable[[], object]) -> None:
    """Run a command line; an error of ours becomes one sentence on standard error and an exit code."""
    try:
        commands()
    except FraudError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(code_of(error))
