"""Commands that change what is live: promote, rollback, shadow, blend, canary, retire."""

from __future__ import annotations

import json
from getpass import getuser
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from training.cli.options import REGISTRY, Config, Json, Registry, Who, Why
from training.console import OUT

if TYPE_CHECKING:  # commands start faster without what they do not use
    from service.registry.lineup_file import LineupSpec

app = typer.Typer()

Versions = Annotated[list[int], typer.Argument(min=1, help="Numbers of the versions.")]
OneVersion = Annotated[int, typer.Argument(min=1, help="Number of the version.")]
Reason = Annotated[str, typer.Option(help="Why, for the history; it is asked for here.")]


@app.command(
    epilog='Examples:\n\n  python -m training promote 7 --margin 0.005 --why "better on July"\n\n'
    '  python -m training promote 7 --force --why "the champion cannot read the new habits"'
)
def promote(
    version: OneVersion,
    registry: Registry = REGISTRY,
    margin: Annotated[
        float, typer.Option(help="Least lead over the champion on the same test rows, in the metric compared.")
    ] = 0.0,
    force: Annotated[bool, typer.Option("--force", help="Promote it though it is not better; say why.")] = False,
    config: Config = None,
    who: Who = "",
    why: Why = "",
    as_json: Json = False,
) -> None:
    """Make a version the champion that answers, after every check that a service makes.

    It must be better than the present champion on its own test rows, as its report says; `--force` overrules that
    alone, and the history keeps it. A version that does not load is never promoted. Blends and canaries end with it.
    """
    from service.registry.promotion import promote as promote_version  # noqa: PLC0415

    habits = None
    if config is not None:
        from service.settings import load  # noqa: PLC0415

        habits = load(config).ingest.habits
    lineup = promote_version(registry, version, who or getuser(), why, habits=habits, margin=margin, force=force)
    _show(lineup, as_json=as_json)


@app.command(epilog='Example: python -m training rollback --why "too many reviews"')
def rollback(registry: Registry = REGISTRY, who: Who = "", why: Why = "", as_json: Json = False) -> None:
    """Go back to what answered and decided before; once more goes one answer or policy further back.

    When lineup.json is lost or not readable, the newest lineup of the history is restored instead.
    """
    from service.registry.promotion import rollback as roll_back  # noqa: PLC0415

    _show(roll_back(registry, who or getuser(), why), as_json=as_json)


@app.command(
    epilog="Examples:\n\n  python -m training shadow --none\n\n"
    '  python -m training shadow 8 9 --why "candidates of this week"'
)
def shadow(
    versions: Annotated[list[int] | None, typer.Argument(min=1, help="Numbers of the versions.")] = None,
    none: Annotated[bool, typer.Option("--none", help="Let no version score in shadow.")] = False,
    registry: Registry = REGISTRY,
    who: Who = "",
    why: Why = "",
    as_json: Json = False,
) -> None:
    """Let these versions, and no others, score every purchase unseen; `compare` judges them when labels came."""
    from service.registry.promotion import set_challengers  # noqa: PLC0415

    if none == bool(versions):
        raise typer.BadParameter("name versions, or give --none", param_hint="VERSIONS")
    _show(set_challengers(registry, versions or (), who or getuser(), why), as_json=as_json)


@app.command(
    epilog="Examples:\n\n  python -m training blend 7 8\n\n"
    '  python -m training blend 7 8 --review 0.31 --decline 0.87 --why "backtest of July"'
)
def blend(
    versions: Versions,
    review: Annotated[float | None, typer.Option(min=0, max=1, help="Score from which it is reviewed.")] = None,
    decline: Annotated[float | None, typer.Option(min=0, max=1, help="Score from which it is declined.")] = None,
    registry: Registry = REGISTRY,
    who: Who = "",
    why: Why = "",
    as_json: Json = False,
) -> None:
    """Let the mean score of several versions answer; the champion stays champion.

    A mean of scores has thresholds of its own: set them by a backtest. Left out, they are the mean of the members' own.
    """
    from service.registry.promotion import set_blend  # noqa: PLC0415

    _show(set_blend(registry, versions, who or getuser(), why, review=review, decline=decline), as_json=as_json)


@app.command(epilog='Example: python -m training canary 8 --share 0.05 --why "first day of the new features"')
def canary(
    version: OneVersion,
    share: Annotated[float, typer.Option(help="Share of the users, between 0 and 1.")],
    registry: Registry = REGISTRY,
    who: Who = "",
    why: Why = "",
    as_json: Json = False,
) -> None:
    """Let a version answer for a share of the users; a promotion of either version or a rollback ends it."""
    from service.registry.promotion import set_canary  # noqa: PLC0415

    _show(set_canary(registry, version, share, who or getuser(), why), as_json=as_json)


@app.command(epilog='Example: python -m training retire 3 --why "learned from wrong labels"')
def retire(
    version: OneVersion,
    why: Reason,
    force: Annotated[bool, typer.Option("--force", help="Even if a rollback would go back to it.")] = False,
    registry: Registry = REGISTRY,
    who: Who = "",
    as_json: Json = False,
) -> None:
    """Remove the files of a version that is not live, for good; its number and its manifest stay for the history."""
    from service.registry.retirement import retire as retire_version  # noqa: PLC0415

    lineup = retire_version(registry, version, who or getuser(), why, force=force)
    if as_json:
        typer.echo(json.dumps({"retired": version, "lineup_revision": lineup.revision}))
    else:
        OUT.print(f"Version {version} is retired (revision {lineup.revision}); what answers is as before.")


def _show(lineup: LineupSpec, *, as_json: bool) -> None:
    """Say what should be live now, and what happens next."""
    from training.versions import answer_words, listed_words, policy_words  # noqa: PLC0415

    if as_json:
        values = {
            "champion": lineup.champion,
            "lineup_revision": lineup.revision,
            "answer": answer_words(lineup),
            "answering": lineup.answering,
            "shadow": lineup.shadowing,
            "policy": lineup.policy,
        }
        typer.echo(json.dumps(values))
        return
    shadow_words = f"; {listed_words(lineup.shadowing)} in shadow" if lineup.shadowing else ""
    decides = f"; {policy_words(lineup)}" if lineup.policy else ""
    OUT.print(escape(f"Revision {lineup.revision}: {answer_words(lineup)}{shadow_words}{decides}."))
    OUT.print("Running services follow within a second (registry.poll_ms); `training rollback` undoes it.")
