"""Commands on the decision policy: check, activate, deactivate, show, list."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from getpass import getuser
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from service.exit_codes import ExitCode
from training.cli.options import REGISTRY, Json, Registry, Who
from training.console import OUT, fail, show, table

if TYPE_CHECKING:  # commands start faster without what they do not use
    from service.registry.lineup_file import LineupSpec
    from service.registry.policy_spec import PolicySpec

app = typer.Typer()

_policy = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Say what limits, lists and degraded answers decide beside the score: check, backtest, activate.",
    epilog="Example: python -m training policy check policy.toml, then backtest --policy policy.toml, then activate it",
)
app.add_typer(_policy, name="policy")

PolicyPath = Annotated[Path, typer.Argument(metavar="FILE", help="The policy, as TOML; docs/policy.md explains it.")]
Why = Annotated[str, typer.Option(help="Why, for the history; it is asked for here.")]


@_policy.command(epilog="Example: python -m training policy check policy.toml")
def check(path: PolicyPath, registry: Registry = REGISTRY, as_json: Json = False) -> None:
    """Read a policy as the service would and tell how it was understood; nothing is published."""
    from training.policies import written_policy  # noqa: PLC0415

    policy = written_policy(path).policy
    unused = _unused(registry, policy)
    if as_json:
        shown = policy.model_dump(mode="json", by_alias=True, exclude_none=True)
        typer.echo(json.dumps({"policy": shown, "features_of_no_live_model": unused}))
        return
    _show_policy(policy)
    if unused:
        OUT.print(escape(f"No live model uses {', '.join(unused)}: computed for the policy alone."))
    OUT.print(escape(f"{path} is well-formed; `training backtest --policy {path}` tells what it would have decided."))


@_policy.command(
    epilog='Examples:\n\n  python -m training policy activate policy.toml --why "card testing since Monday"\n\n'
    '  python -m training policy activate 2 --why "3 stopped too many honest customers"'
)
def activate(
    policy: Annotated[str, typer.Argument(metavar="FILE", help="The policy: a file, or a published number.")],
    why: Why,
    registry: Registry = REGISTRY,
    who: Who = "",
    as_json: Json = False,
) -> None:
    """Publish a policy and let it decide, after every check that a service makes; a rollback undoes it.

    A file is published under the next number, or under the one that the same text has. Running services follow by
    themselves, and a policy that does not load changes nothing.
    """
    from service.registry.policy_file import publish_policy  # noqa: PLC0415
    from service.registry.promotion import activate_policy  # noqa: PLC0415
    from training.policies import written_policy  # noqa: PLC0415

    if policy.isascii() and policy.isdigit() and not Path(policy).exists():
        number = int(policy)
        if not number:
            raise typer.BadParameter("policies are numbered from 1; `deactivate` lets none decide", param_hint="FILE")
    else:
        written = written_policy(Path(policy))
        if not why.strip():
            raise typer.BadParameter("say why", param_hint="--why")
        at_ms = time.time_ns() // 1_000_000
        number = publish_policy(registry, written.policy, written.source, who or getuser(), at_ms)
    _say(activate_policy(registry, number, who or getuser(), why), as_json=as_json)


@_policy.command(epilog='Example: python -m training policy deactivate --why "the attack is over"')
def deactivate(why: Why, registry: Registry = REGISTRY, who: Who = "", as_json: Json = False) -> None:
    """Let no policy decide: thresholds are the model's own, lists mean what they mean by default, limits are gone."""
    from service.registry.promotion import activate_policy  # noqa: PLC0415

    _say(activate_policy(registry, 0, who or getuser(), why), as_json=as_json)


@_policy.command(
    "show", epilog="Examples:\n\n  python -m training policy show\n\n  python -m training policy show 2 --toml"
)
def show_policy(
    version: Annotated[
        int | None, typer.Argument(min=1, help="Number of the policy.", show_default="the active one")
    ] = None,
    registry: Registry = REGISTRY,
    toml: Annotated[bool, typer.Option("--toml", help="Print the text that it was made of, to edit it.")] = False,
    as_json: Json = False,
) -> None:
    """Tell what a published policy says, and what became of it."""
    from service.registry.policy_file import policies, read_policy  # noqa: PLC0415
    from training.versions import events, time_words  # noqa: PLC0415

    lineup = _lineup(registry)
    number = version or (0 if lineup is None else lineup.policy)
    if not number:
        fail(f"no policy is active in {registry}: name one, or `training policy activate FILE`", ExitCode.NOT_FOUND)
    if number not in policies(registry):
        fail(f"policy {number} is not in the registry {registry}", ExitCode.NOT_FOUND)
    file = read_policy(registry, number)
    if toml:
        typer.echo(file.source, nl=not file.source.endswith("\n"))
        return
    concerning = [one for one in events(registry) if one.policy == number]
    role = "active" if lineup is not None and lineup.policy == number else ""
    if as_json:
        history = [one.values() for one in concerning]
        typer.echo(json.dumps({"role": role, **file.model_dump(mode="json", by_alias=True), "history": history}))
        return
    heading = {"policy": str(number), "role": role or "none", "published": f"{time_words(file.at_ms)} by {file.who}"}
    _show_policy(file.policy, heading)
    if concerning:
        OUT.print("\n[bold]history[/]")
        OUT.print(table([{name: escape(text) for name, text in one.row().items()} for one in concerning]))


@_policy.command("list", epilog="Example: python -m training policy list --json")
def list_policies(registry: Registry = REGISTRY, as_json: Json = False) -> None:
    """List the published policies, which one is active, and why each was activated."""
    from training.policies import listed_policies  # noqa: PLC0415

    found = listed_policies(registry, _lineup(registry))
    if as_json:
        typer.echo(json.dumps([one.values() for one in found]))
    elif found:
        OUT.print(table([{name: escape(text) for name, text in one.row().items()} for one in found]))
    else:
        OUT.print(f"{registry} holds no policies: `python -m training policy activate FILE` publishes one")


def _show_policy(policy: PolicySpec, heading: Mapping[str, str] = MappingProxyType({})) -> None:
    from training.policies import limit_rows, policy_words  # noqa: PLC0415

    values = {**heading, **policy_words(policy)}
    show({name: escape(text) for name, text in values.items() if text}, as_json=False)
    if policy.limits:
        OUT.print(table([{name: escape(text) for name, text in row.items()} for row in limit_rows(policy)]))
    else:
        OUT.print("It has no limits.")


def _unused(registry: Path, policy: PolicySpec) -> list[str]:
    """Return the features that no live model uses; none where nobody can tell."""
    from service.errors import BadArtifact  # noqa: PLC0415
    from service.registry.artifact import read_manifest, version_path  # noqa: PLC0415
    from training.policies import unused_features  # noqa: PLC0415

    lineup = _lineup(registry)
    if lineup is None:
        return []
    try:
        manifests = [read_manifest(version_path(registry, version)) for version in lineup.wanted]
    except BadArtifact:
        return []
    return unused_features(policy, {used.name: used for manifest in manifests for used in manifest.features})


def _lineup(registry: Path) -> LineupSpec | None:
    from service.registry.lineup_file import read_lineup  # noqa: PLC0415

    return read_lineup(registry)


def _say(lineup: LineupSpec, *, as_json: bool) -> None:
    """Say what decides now, and what happens next."""
    if as_json:
        typer.echo(json.dumps({"policy": lineup.policy, "lineup_revision": lineup.revision}))
        return
    from training.versions import policy_words  # noqa: PLC0415

    OUT.print(f"Revision {lineup.revision}: {policy_words(lineup)}.")
    OUT.print("Running services follow within a second (registry.poll_ms); `training rollback` undoes it.")
