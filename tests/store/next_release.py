"""A process that runs the next release, whose profiles know more: the tables of the core with a layout 2.

    python -m tests.store.next_release KIND WHERE SET_PREFIX SEED

Rebuilds the store of a `Place` while another thread records a stream, breaks off in the middle and begins
again, and fails unless every profile ends as the whole log says, in the new layout.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from typing import Final

import typer

from service.core import profile
from service.core.aggregates import Recent, Scalar, Sum
from service.core.event import EntityKind, Event, derived_id
from service.core.profile import EMPTY, SCHEMAS, ProfileState, Schema

LAYOUT: Final = 2

SCALARS: Final[dict[EntityKind, tuple[Scalar, ...]]] = {
    EntityKind.USER: (Sum("log_quantity", since=LAYOUT), Sum("log_quantity_sq", since=LAYOUT)),
    EntityKind.CARD: (Sum("log_quantity", since=LAYOUT),),
}
RECENTS: Final[dict[EntityKind, tuple[Recent, ...]]] = {
    EntityKind.SELLER: (Recent("cards", since=LAYOUT),),
    EntityKind.CARD: (Recent("sellers", since=LAYOUT),),
}


def become() -> None:
    """Change the tables, before anything is imported that is compiled out of them."""
    vars(profile)["LAYOUT"] = LAYOUT
    for kind, schema in SCHEMAS.items():
        scalars, recents = SCALARS.get(kind, ()), RECENTS.get(kind, ())
        SCHEMAS[kind] = Schema(
            kind, (*schema.scalars, *scalars), schema.series, (*recents, *schema.recents), layout=LAYOUT
        )
        EMPTY[kind] = ProfileState(SCHEMAS[kind]).image()


def anew(event: Event) -> Event:
    """Return an event of purchases that the release before has not seen."""
    if not event.purchase_id:
        return event
    renamed = replace(event, purchase_id=f"next-{event.purchase_id}")
    return replace(renamed, event_id=derived_id(renamed))


def main(kind: str, where: str, set_prefix: str, seed: int) -> None:
    """Rebuild while events come in."""
    from service.finding import Finding  # noqa: PLC0415 - only after `become`
    from service.rebuild import Plan, Progress, rebuild  # noqa: PLC0415 - only after `become`
    from service.store.protocol import Submission  # noqa: PLC0415 - as above
    from tests.make import make_stream  # noqa: PLC0415 - as above
    from tests.store.oracle import profiles_of, settle, whole_log  # noqa: PLC0415 - as above
    from tests.store.places import Place  # noqa: PLC0415 - as above

    assert kind in {"lmdb", "aerospike"}
    store = Place("lmdb" if kind == "lmdb" else "aerospike", where, set_prefix).open()
    events = [anew(event) for event in make_stream(seed, 700, entities=12)]
    done = threading.Event()

    def record() -> None:
        for at in range(0, len(events), 4):
            settle(store, [Submission(event) for event in events[at : at + 4]])
        done.set()

    def break_off(progress: Progress) -> None:
        if progress.profiles:
            raise KeyboardInterrupt

    writer = threading.Thread(target=record)
    writer.start()
    try:
        rebuild(store, "attempts", Plan(max_memory_bytes=8_000), break_off)
    except KeyboardInterrupt:
        typer.echo("broken off")
    report = rebuild(store, "attempts", Plan(max_memory_bytes=8_000))
    typer.echo(f"recording to the end: {not done.is_set()}, {dict(report.findings)}, {report.passes} passes")
    writer.join()
    assert report.passes > 1
    assert report.findings.keys() == {Finding.SAME, Finding.REBUILT}, report
    log = whole_log(store)
    for key, image in profiles_of(log).items():
        assert image[0] == LAYOUT
        assert store.profile(key) == image, key
    again = rebuild(store, "attempts", Plan(verify=True))
    assert set(again.findings) == {Finding.SAME}, again
    store.close()


if __name__ == "__main__":
    become()
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
