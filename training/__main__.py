"""The command line of the offline half: `python -m training`."""

from __future__ import annotations

import typer

from service.exit_codes import EPILOG, run
from training.cli import benchmark, data, learn, life

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="From events to a promoted model: simulate or import, replay, train, promote, benchmark.",
    epilog=(
        f"{EPILOG}\n\nExample: python -m training simulate market.parquet, then "
        "python -m training train market.parquet, then python -m training promote 1"
    ),
)
for commands in (data, learn, life, benchmark):
    app.add_typer(commands.app)


def main() -> None:
    """Run the command line."""
    run(app)


if __name__ == "__main__":
    main()
