"""The command line of the offline half: `python -m training`."""

from __future__ import annotations

import typer

from service.exit_codes import EPILOG, run
from training.cli import benchmark, data, job, judge, learn, life, parity, policies, replay, snapshots, versions

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="From what happened to a promoted model: simulate, import or snapshot, train, compare, promote.",
    epilog=(
        f"{EPILOG}\n\nExample: python -m training snapshot, then python -m training train --snapshot latest, "
        "then python -m training promote 1"
    ),
)
for commands in (data, snapshots, replay, learn, versions, life, policies, judge, parity, job, benchmark):
    app.add_typer(commands.app)


def main() -> None:
    """Run the command line."""
    run(app)


if __name__ == "__main__":
    main()
