"""The command line of the online half: `python -m service`."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.progress import track
from rich.table import Table

from service.commands import backup, forget, health, lists, rebuild, retention, tokens
from service.exit_codes import EPILOG, ExitCode, run
from service.settings import Settings, load
from service.show import ERR, OUT, print_decision, print_message, print_outcomes, print_profile

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help="Score checkouts: serve, ask, record, and look at what was decided.",
    epilog=f"{EPILOG}\n\nExample: python -m service serve --config deploy/service.toml",
)

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file of settings; FRAUD_… in the environment wins.", show_default=False),
]
Target = Annotated[str, typer.Option("--target", "-t", help="host:port of the service.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

Authority = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        help="PEM file of the authorities behind the service's certificate, or `public`; encrypts the connection. "
        "Also FRAUD_CA; a token comes from FRAUD_TOKEN.",
        show_default=False,
    ),
]

_TARGET = "127.0.0.1:50051"


@app.command(
    epilog="Examples:\n\n  python -m service serve\n\n"
    "  FRAUD_SERVER__LISTEN=127.0.0.1:50052 python -m service serve --workers 4"
)
def serve(
    config: Config = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that share the port; default: the setting server.workers.", min=1, max=256),
    ] = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its lines are no JSON, and what they tell comes as a status too
    settings = load(config)
    if workers is not None:
        settings = settings.with_workers(workers)
    if settings.server.workers == 1:
        from service.worker import work  # noqa: PLC0415  other commands start faster without it

        work(settings)
        return
    from service.logs import configure  # noqa: PLC0415
    from service.supervisor import Supervisor  # noqa: PLC0415

    configure(settings.log_level)
    raise typer.Exit(Supervisor(settings).run())


@app.command(hidden=True, epilog="Example: serve --workers 2 runs service worker twice")
def worker() -> None:
    """Serve as one of several workers, told by the supervisor that started it."""
    from service.worker import work_as_told  # noqa: PLC0415

    work_as_told()


@app.command(
    epilog="Examples:\n\n"
    "  python -m service score --purchase p-1 --user u-1 --seller s-1 --amount 12999\n\n"
    "  python -m service score --purchase p-2 --user u-1 --card c7f4 --amount 500 --record --explain --json"
)
def score(  # noqa: PLR0917  one option for each field of a purchase
    purchase: Annotated[str, typer.Option(help="Id of the purchase.")],
    user: Annotated[str, typer.Option(help="Id of the user.")],
    amount: Annotated[int, typer.Option(help="Amount in minor units.")],
    seller: Annotated[str, typer.Option(help="Id of the seller.")] = "",
    item: Annotated[str, typer.Option(help="Id of the item.")] = "",
    card: Annotated[str, typer.Option(help="Keyed hash of the card.")] = "",
    quantity: Annotated[int, typer.Option(help="Number of items.", min=0, max=2**32 - 1)] = 1,
    time_ms: Annotated[int, typer.Option(help="When it happened, ms since the epoch; 0 = now.")] = 0,
    record: Annotated[bool, typer.Option(help="Also record the purchase.")] = False,
    explain: Annotated[bool, typer.Option(help="Ask for reasons.")] = False,
    features: Annotated[bool, typer.Option(help="Ask for the features.")] = False,
    deadline_ms: Annotated[int, typer.Option(help="Deadline of the call in ms.", min=1)] = 1000,
    target: Target = _TARGET,
    ca: Authority = None,
    as_json: Json = False,
) -> None:
    """Ask a running service for the score of one purchase."""
    from service.client import FraudClient  # noqa: PLC0415
    from service.identity import Identity  # noqa: PLC0415
    from service.pb import fraud_pb2 as pb  # noqa: PLC0415

    message = pb.Purchase(
        purchase_id=purchase,
        user_id=user,
        seller_id=seller,
        item_id=item,
        card_hash=card,
        amount_minor=amount,
        quantity=quantity,
        event_time_ms=time_ms,
    )
    with FraudClient(target, score_deadline_ms=deadline_ms, identity=Identity.from_environment(ca)) as client:
        answer = _call(lambda: client.score(message, record=record, explain=explain, with_features=features), target)
    if as_json:
        print_message(answer)
        return
    OUT.print(
        f"[bold]{pb.Decision.Name(answer.decision)}[/bold]  score {answer.score:.4f}  "
        f"versions {list(answer.model_versions)}  lineup {answer.lineup_revision}"
        + ("  [yellow]degraded[/yellow]" if answer.degraded else "")
        + ("  recorded" if answer.recorded else "")
    )
    for missing in answer.missing:
        OUT.print(f"  {pb.EntityKind.Name(missing.kind).lower()}: {pb.MissingCause.Name(missing.cause).lower()}")
    for reason in answer.reasons:
        OUT.print(f"  {reason.contribution:+.2f}  {reason.text}")
    for feature in answer.features:
        OUT.print(f"  {feature.name} = {feature.value:.6g}")


@app.command(
    epilog="Examples:\n\n  python -m service record events.jsonl\n\n"
    """  echo '{"userRegistered": {"userId": "u-1"}}' | python -m service record -"""
)
def record(
    file: Annotated[Path, typer.Argument(help="Events as JSON Lines (fraud.v1.Event), or - for standard input.")],
    target: Target = _TARGET,
    ca: Authority = None,
    batch: Annotated[int, typer.Option(help="Events in one call.", min=1, max=10_000)] = 500,
    as_json: Json = False,
) -> None:
    """Record events from a file of JSON Lines; a bad line is named and stops nothing else."""
    from google.protobuf import json_format  # noqa: PLC0415

    from service.client import FraudClient  # noqa: PLC0415
    from service.identity import Identity  # noqa: PLC0415
    from service.pb import fraud_pb2 as pb  # noqa: PLC0415

    numbered = [(number, line) for number, line in enumerate(_lines(file), 1) if line.strip()]
    counts: Counter[str] = Counter()
    problems: list[dict[str, Any]] = []

    def note(number: int, status: str, field: str, reason: str) -> None:
        counts[status] += 1
        if status in {"REJECTED", "RETRY"}:
            problems.append({"line": number, "status": status, "field": field, "reason": reason})

    def parsed(number: int, line: str) -> pb.Event | None:
        try:
            return json_format.Parse(line, pb.Event())
        except json_format.ParseError as error:
            note(number, "REJECTED", *_wrong_json(str(error)))
            return None

    with FraudClient(target, identity=Identity.from_environment(ca)) as client:
        starts = range(0, len(numbered), batch)
        for start in track(starts, "recording", console=ERR, disable=as_json or not ERR.is_terminal):
            events = {number: parsed(number, line) for number, line in numbered[start : start + batch]}
            good = {number: event for number, event in events.items() if event is not None}
            if good:
                outcomes = _call(partial(client.record, good.values()), target)
                for number, outcome in zip(good, outcomes, strict=True):
                    note(number, pb.RecordStatus.Name(outcome.status), outcome.field, outcome.reason)
    print_outcomes(counts, problems, as_json=as_json)
    if problems:
        raise typer.Exit(ExitCode.BAD_INPUT)


@app.command(epilog="Example: python -m service profile user u-000123 --json")
def profile(
    kind: Annotated[str, typer.Argument(help="user, seller, item or card.")],
    entity_id: Annotated[str, typer.Argument(metavar="ID", help="Its id.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show the profile of one entity, as the store holds it."""
    from service.core.event import EntityKey, EntityKind  # noqa: PLC0415
    from service.core.profile import EMPTY, describe  # noqa: PLC0415
    from service.store.opening import open_store  # noqa: PLC0415

    if kind.upper() not in EntityKind.__members__:
        _fail(f"kind must be one of {', '.join(one.name.lower() for one in EntityKind)}", ExitCode.USAGE)
    key = EntityKey(EntityKind[kind.upper()], entity_id)
    store = open_store(load(config))
    try:
        image = store.profile(key)
    finally:
        store.close()
    if image is EMPTY[key.kind]:
        _fail(f"nothing was ever recorded of {kind.lower()} {entity_id}", ExitCode.NOT_FOUND)
    shown = describe(key.kind, image)
    if as_json:
        typer.echo(json.dumps(shown))
        return
    print_profile(kind.lower(), entity_id, shown)


@app.command(epilog="Example: python -m service decision p-20260714-000123")
def decision(
    purchase_id: Annotated[str, typer.Argument(metavar="PURCHASE_ID", help="Id of the purchase.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show what was decided about a purchase, and why: reasons, row, versions, profiles as they were read."""
    from service.explain import decision_document  # noqa: PLC0415
    from service.store.opening import open_store  # noqa: PLC0415

    store = open_store(load(config))
    try:
        records = store.decisions(purchase_id)
        documents = [decision_document(one, store.row_layout(one.row_layout)) for one in records]
    finally:
        store.close()
    if not documents:
        _fail(f"no decision is kept for purchase {purchase_id}", ExitCode.NOT_FOUND)
    if as_json:
        typer.echo(json.dumps(documents))
        return
    for document in documents:
        print_decision(document)


@app.command(epilog="Example: python -m service lineup --target 127.0.0.1:50051")
def lineup(
    target: Target = _TARGET,
    ca: Authority = None,
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for a service that has just been started.")] = 0,
    as_json: Json = False,
) -> None:
    """Show which model versions a running service has live."""
    from service.client import FraudClient  # noqa: PLC0415
    from service.identity import Identity  # noqa: PLC0415
    from service.pb import fraud_pb2 as pb  # noqa: PLC0415

    with FraudClient(target, identity=Identity.from_environment(ca)) as client:
        answer = _call(lambda: client.lineup(wait), target)
    if as_json:
        print_message(answer)
        return
    for worker in answer.workers:
        OUT.print(
            f"worker {worker.worker}: lineup {worker.lineup_revision}, answer {list(worker.answer)}, "
            + (f"canary {worker.canary} for {worker.canary_share:.3%} of users, " if worker.canary else "")
            + f"challengers {list(worker.challengers)}"
            + (f", policy {worker.policy_version}" if worker.policy_version else "")
            + (f"  [red]{worker.reason}[/red]" if worker.reason else "")
        )
        for version in worker.versions:
            OUT.print(f"  version {version.version}: {pb.VersionStatus.Name(version.status)} {version.reason}")


@app.command(epilog="Example: python -m service settings --config deploy/service.toml")
def settings(config: Config = None, as_json: Json = False) -> None:
    """Print every setting: its value, its default and what it means."""
    chosen, rows = load(config), list(_settings(Settings.model_construct()))
    values = {name: value for name, value, _ in _settings(chosen)}
    if as_json:
        typer.echo(json.dumps({name: values[name] for name, _, _ in rows}, default=str))
        return
    table = Table("setting", "value", "default", "meaning")
    for name, default, meaning in rows:
        table.add_row(name, str(values[name]), "" if values[name] == default else str(default), meaning)
    OUT.print(table)
    OUT.print("environment: FRAUD_ + the name in capitals with __ for the dot, e.g. FRAUD_SERVER__THREADS=8")


@app.command(epilog="Example: FRAUD_STORE__KIND=aerospike python -m service check")
def check(config: Config = None) -> None:
    """Check settings and store, and say in a sentence what to set when something cannot work."""
    from service.store.opening import open_store  # noqa: PLC0415

    store = open_store(load(config))
    try:
        problem = store.check()
    finally:
        store.close()
    if problem:
        _fail(problem, ExitCode.UNAVAILABLE)
    OUT.print("store usable")


backup.add_to(app)
health.add_to(app)
forget.add_to(app)
lists.add_to(app)
rebuild.add_to(app)
retention.add_to(app)
tokens.add_to(app)


# --- what commands share ------------------------------------------------------------------------


def _settings(model: Any, prefix: str = "") -> Iterator[tuple[str, Any, str]]:  # noqa: ANN401  any section
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if hasattr(type(value), "model_fields"):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value, field.description or ""


def _wrong_json(message: str) -> tuple[str, str]:
    """Return the field that a line of JSON has wrong, and what is wrong with it; never the value itself."""
    path = [
        re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower()
        for name in re.findall(r"Failed to parse (\w+) field", message)
    ]
    unknown = re.search(r'has no field named "(\w+)"', message)
    if unknown:
        return ".".join([*path, unknown.group(1)]), "is not a field of this message"
    return (".".join(path), "has the wrong type") if path else ("line", "is not a fraud.v1.Event in JSON")


def _lines(file: Path) -> list[str]:
    if str(file) == "-":
        return sys.stdin.read().splitlines()
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        _fail(f"cannot read {file}: {error.strerror}", ExitCode.BAD_INPUT)
    except UnicodeDecodeError:
        _fail(f"cannot read {file}: it is not UTF-8 text", ExitCode.BAD_INPUT)


def _call(ask: Any, target: str) -> Any:  # noqa: ANN401  whatever the call returns
    import grpc  # noqa: PLC0415

    try:
        return ask()
    except grpc.RpcError as error:
        code = error.code()
        if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
            _fail(f"{target}: {error.details()}", ExitCode.UNAVAILABLE)
        bad = ExitCode.BAD_INPUT if code is grpc.StatusCode.INVALID_ARGUMENT else ExitCode.FAILED
        _fail(error.details() or code.name, bad)


def _fail(sentence: str, code: ExitCode) -> NoReturn:
    typer.echo(f"error: {sentence}", err=True)
    raise typer.Exit(code)


def main() -> None:
    """Run the command line."""
    run(app)


if __name__ == "__main__":
    main()
