"""Whether a cluster can hold what is configured; if not, a sentence that says what to set."""

from __future__ import annotations

import os
from typing import Final

import aerospike
from aerospike_helpers import expressions as exp
from aerospike_helpers.batch.records import Read, Write
from aerospike_helpers.operations import expression_operations, operations

from service.errors import StoreUnavailable
from service.settings import AerospikeSettings
from service.store.aerospike_client import OK, reason_of
from service.store.aerospike_parts import Parts

MAX_CLOCK_SKEW_S: Final = 30
"""How far the clock of this host may be off the cluster's: stamps of events are compared between hosts."""

_MAX_LIFE_S: Final = 10 * 365 * 86_400
_LAST_WRITE: Final = expression_operations.expression_read("written_ns", exp.LastUpdateTime().compile())


def problem_of(parts: Parts) -> str:
    """Return "" when the cluster can serve, else one sentence. Cost: three requests; one of them writes."""
    settings = parts.settings
    try:
        parts.connection.usable()
    except StoreUnavailable as error:
        return str(error)
    try:
        said = parts.connection.info(f"namespace/{settings.namespace}")
    except StoreUnavailable as error:
        return f"{error}: {_where_to_look(settings)}"
    if not said:
        return f"no node of the store answers: {_where_to_look(settings)}"
    for text in said.values():
        problem = _problem_of_node(_parameters(text), settings)
        if problem:
            return problem
    return _life_problem(settings) or _write_problem(parts)


def _where_to_look(settings: AerospikeSettings) -> str:
    """Return what to look at when nobody answers."""
    return f"see that Aerospike runs at store.aerospike.hosts ({', '.join(settings.hosts)})"


def _parameters(text: str) -> dict[str, str]:
    return dict(one.split("=", 1) for one in text.strip().split(";") if "=" in one)


def _problem_of_node(parameters: dict[str, str], settings: AerospikeSettings) -> str:
    """Return what is wrong with the namespace on one node."""
    name = settings.namespace
    if "stop_writes" not in parameters:
        return f"the cluster has no namespace {name!r}: add it to aerospike.conf, or correct store.aerospike.namespace"
    if parameters["stop_writes"] == "true":
        return f"namespace {name!r} refuses writes because it is full: give it more memory or storage"
    lives = [
        f"store.aerospike.{setting}"
        for setting, life_s in (("profile_ttl_s", settings.profile_ttl_s), ("event_ttl_s", settings.event_ttl_s))
        if life_s
    ]
    expires = parameters.get("nsup-period") != "0" or parameters.get("allow-ttl-without-nsup") == "true"
    if lives and not expires:
        return (
            f"namespace {name!r} refuses records that expire: set its nsup-period to 60, say, in aerospike.conf, "
            f"or set {' and '.join(lives)} to 0"
        )
    return ""


def _life_problem(settings: AerospikeSettings) -> str:
    """Return what is wrong with the lives of records."""
    for name, life_s in (("profile_ttl_s", settings.profile_ttl_s), ("event_ttl_s", settings.event_ttl_s)):
        if 0 < life_s <= settings.dedupe_horizon_s:
            return f"set store.aerospike.{name} above dedupe_horizon_s ({settings.dedupe_horizon_s}), or to 0"
        if life_s > _MAX_LIFE_S:
            return f"set store.aerospike.{name} to at most {_MAX_LIFE_S} (ten years), or to 0"
    return ""


def _write_problem(parts: Parts) -> str:
    """Write a record and ask when the cluster thinks that it was written."""
    key = parts.sets.meta(f"check-{os.getpid() % 64}")
    try:
        written, read = (
            parts.connection.submit([operation])[0]
            for operation in (
                Write(key, [operations.write("pid", os.getpid())], policy={"ttl": aerospike.TTL_NEVER_EXPIRE}),
                Read(key, [_LAST_WRITE]),
            )
        )
    except StoreUnavailable as error:
        return str(error)
    for answer in (written, read):
        if answer.code != OK:
            return f"the cluster does not take writes: {reason_of(answer.code)}"
    skew_s = parts.ledger.now_ms() / 1e3 - read.bins["written_ns"] / 1e9
    if abs(skew_s) > MAX_CLOCK_SKEW_S:
        return f"the clock of this host is {skew_s:+.0f} s off the cluster's: keep both by NTP"
    return ""
