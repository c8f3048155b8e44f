"""Exit codes of every command, by name; `--help` lists them."""

from __future__ import annotations

from enum import IntEnum


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
