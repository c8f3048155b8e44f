"""`python -m service health`: whether a running service serves, for people, scripts and probes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from service.exit_codes import ExitCode

EPILOG: Final = (
    "Examples:\n\n  python -m service health\n\n"
    "  python -m service health --service fraud.v1.FraudScoring --wait 30\n\n"
    "  python -m service health --ca authorities.pem\n\n"
    "python -m service.health asks the same at a fifth of the cost: for probes, which ask every few seconds."
)


def command(
    target: Annotated[str, typer.Option("--target", "-t", help="host:port of the service.")] = "127.0.0.1:50051",
    service: Annotated[
        str,
        typer.Option(
            help="Name in gRPC's health protocol: left out, whether the process serves at all; "
            "fraud.v1.FraudScoring, whether a model is live as well."
        ),
    ] = "",
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for a service that has just been started.")] = 0,
    ca: Annotated[
        Path | None, typer.Option(help="PEM file of the service's authorities: asks over TLS; else FRAUD_CA.")
    ] = None,
) -> None:
    """Ask a running service whether it serves; exit code 5 says that it does not, with the reason."""
    from service.health import problem  # noqa: PLC0415  other commands start faster without it
    from service.identity import Identity  # noqa: PLC0415

    if found := problem(target, service, wait, Identity.from_environment(ca)):
        typer.echo(f"error: {target}: {found}", err=True)
        raise typer.Exit(ExitCode.UNAVAILABLE)
    typer.echo("serving")


def add_to(app: typer.Typer) -> None:
    """Add the command to a command line."""
    app.command("health", epilog=EPILOG)(command)
