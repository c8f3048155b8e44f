"""How commands talk: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleDimensions, JustifyMethod
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from service.exit_codes import ExitCode

WIDE: Final = 140
"""Characters in a line of what is no terminal, unless COLUMNS says otherwise: files and pipes need no narrow tables."""


class _Output(Console):
    """Standard output: as wide as the terminal, and wide where there is none."""

    @property  # type: ignore[misc]  # nobody sets it
    def size(self) -> ConsoleDimensions:
        """Return how much fits on it."""
        size = super().size
        return size if self.is_terminal or "COLUMNS" in os.environ else ConsoleDimensions(WIDE, size.height)


OUT: Final[Console] = _Output()
ERR: Final = Console(stderr=True)

Tell = Callable[[str, int, int], None]


@contextmanager
def progress(*, quiet: bool, console: Console = ERR) -> Iterator[Tell]:
    """Give a function `tell(what, done, total)` that draws bars, when a person looks at the console.

    `total` 0 = nobody knows yet.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total or None)
            bars.update(tasks[what], completed=done, total=total or None)

        yield tell


def show(values: Mapping[str, Any], *, as_json: bool) -> None:
    """Print named values: as one JSON object, or line by line with times in words."""
    if as_json:
        typer.echo(json.dumps(values))
        return
    lines = Table.grid(padding=(0, 2))
    for name, value in values.items():
        is_time = name.endswith("_ms")
        text = datetime.fromtimestamp(value / 1000, UTC).isoformat(" ", "seconds") if is_time else cell(value)
        lines.add_row(name.removesuffix("_ms").replace("_", " "), text)
    OUT.print(lines)


def table(rows: list[dict[str, Any]]) -> Table:
    """Return a table with the columns of the first row; numbers stand right, and what names a row is never broken."""
    shown = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, value in rows[0].items():
        justify: JustifyMethod = "left" if isinstance(value, str) else "right"
        shown.add_column(name.replace("_", " "), justify=justify, no_wrap=not shown.columns, overflow="fold")
    for row in rows:
        shown.add_row(*(cell(row.get(name)) for name in rows[0]))
    return shown


def cell(value: object) -> str:
    """Return a value as people read it."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4f}"
        case int():
            return f"{value:,}"
        case dict():
            return ", ".join(f"{name} {cell(one)}" for name, one in value.items())
    return str(value)


def fail(sentence: str, code: ExitCode) -> NoReturn:
    """End the command with a sentence and an exit code."""
    typer.echo(f"error: {sentence}", err=True)
    raise typer.Exit(code)
