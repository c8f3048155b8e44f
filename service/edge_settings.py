"""Settings of the gRPC edge: the port, who may call, encryption, what is traced and logged of calls."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from service.section import Count, Milliseconds, Section


class ServerSettings(Section):
    """The gRPC edge."""

    listen: str = Field("127.0.0.1:50051", description="Address and port to listen on; port 0 takes a free one.")
    workers: Count = Field(1, le=256, description="Processes that share the port; one for each core.")
    pin_workers: bool = Field(
        default=False,
        description="Keep each worker on a processor of its own, of those that the service may use: a tenth less CPU, "
        "and a p99 that is a third lower. For machines, or sets of processors, that nobody else has: two services that "
        "pin their workers would share the first ones.",
    )
    run_path: Path = Field(
        Path("var/workers"),
        description="Directory where the workers of one machine tell each other what they have live.",
    )
    threads: Count = Field(4, le=64, description="Threads that serve calls other than Score, in each worker.")
    sharing_threads: Count = Field(
        2,
        le=64,
        description="Threads, in each worker, for scores that wait for a read of a clustered store; those that wait "
        "when one is free share a read, eight at most. Two keep a processor busy, one reading while the other scores; "
        "more only take turns on it. A store that takes longer to answer than eight scores, some 3 ms, is worth one "
        "more for each time that it does. Scores on the embedded store need none.",
    )
    recording_threads: Count = Field(
        8,
        le=256,
        description="Threads, in each worker, that write scored purchases to a clustered store. The embedded store "
        "has one, which commits all that wait at once.",
    )
    max_concurrent_calls: Count = Field(
        256,
        le=10_000,
        description="Calls in hand at once, of Score and of all others each; one more is refused with "
        "RESOURCE_EXHAUSTED.",
    )
    max_wait_ms: Count = Field(
        10,
        le=60_000,
        description="Milliseconds that a Score may wait for its turn, by how long others took lately; one that would "
        "wait longer is refused with RESOURCE_EXHAUSTED. For crowds that pass: the less time there is to spare, the "
        "less of it, down to max_standing_wait_ms.",
    )
    max_standing_wait_ms: Count = Field(
        1,
        le=60_000,
        description="The same while there is hardly any time to spare, so that waiting helps nobody: it would only "
        "make all answers late. No more than max_wait_ms counts.",
    )
    max_calls_per_connection: Count = Field(
        256,
        le=10_000,
        description="Calls at once over one connection; its client waits with further ones. Without such a bound "
        "calls that are begun and taken back at once fill the memory. A client that comes near it may get UNAVAILABLE "
        "from gRPC, which also counts calls that are over until they are cleared away: leave room.",
    )
    max_memory_mb: Count = Field(
        1024,
        le=1 << 20,
        description="Megabytes that a worker may have for itself, without the pages of the embedded store; beyond "
        "them it drains, ends with code 1 and is started again. It needs 50 to 90, and the models; a flood of calls "
        "takes 380 a second.",
    )
    max_message_bytes: Count = Field(1 << 20, le=1 << 26, description="Largest request, in bytes.")
    max_connection_age_s: Count = Field(
        600, description="Age in seconds at which a connection is closed, so that load spreads over workers."
    )
    drain_s: Count = Field(10, le=600, description="Seconds that calls in hand get to finish on shutdown.")
    budget_ms: Count = Field(
        20, le=60_000, description="Milliseconds for one score; a shorter deadline of the caller wins."
    )
    record_budget_ms: Count = Field(
        1000,
        le=60_000,
        description="Milliseconds that an answer may wait until its purchase is durable; see budget_ms.",
    )
    max_recording: Count = Field(
        128,
        description="Scored purchases that may wait to be durable, fewer than calls may be in hand; beyond it they "
        "answer recorded=false.",
    )
    reply_reserve_ms: Milliseconds = Field(2, description="Milliseconds of the budget that are kept for the reply.")
    max_batch_purchases: Count = Field(256, le=4096, description="Purchases in one ScoreBatch.")
    max_batch_events: Count = Field(1000, le=10_000, description="Events in one Record.")
    reflection: bool = Field(True, description="Serve gRPC reflection, so that grpcurl works without the proto.")


class AccessSettings(Section):
    """Who may call."""

    callers_path: Path | None = Field(
        None,
        description="TOML file of callers: who they are, their roles and rates; made by `service tokens`. "
        "Unset = whoever can connect may call everything.",
    )
    open: tuple[Literal["health", "lineup"], ...] = Field(
        ("health",), description="What anybody who can connect may ask: `health`, `lineup`."
    )
    max_callers: Count = Field(10_000, le=1_000_000, description="Entries in the file of callers, at most.")
    poll_ms: Count = Field(
        1000, description="Milliseconds between looks for changed callers and certificates; none needs a restart."
    )
    allow_insecure: bool = Field(
        default=False,
        description="Listen beyond the loopback interface without TLS or without knowing callers: for ports that "
        "something else protects, such as a service mesh.",
    )


class TlsSettings(Section):
    """Encryption of the gRPC port. PEM files; read again when they change."""

    certificate_path: Path | None = Field(
        None, description="Certificate of the server and the chain behind it. Unset = no TLS."
    )
    key_path: Path | None = Field(None, description="Private key of the certificate, without a passphrase.")
    client_ca_path: Path | None = Field(
        None,
        description="Authorities of client certificates. Set = nobody connects without one (mutual TLS).",
    )


class TracingSettings(Section):
    """OpenTelemetry traces of scores; the extra `tracing` brings what it needs."""

    endpoint: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description='Collector that takes OTLP over gRPC, as http://127.0.0.1:4317; "" = no traces.',
    )
    service_name: str = Field("fraud-scoring", min_length=1, description="Name of this service in traces.")
    ratio: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        0.01, description="Share of the calls without a `traceparent` that are traced."
    )
    follow_callers: bool = Field(True, description="Trace the calls whose `traceparent` says that they are.")
    max_traces_per_s: Count = Field(100, description="Traces begun in a second by a worker; further ones are dropped.")
    max_waiting: Count = Field(1000, description="Traces that wait to be sent; further ones are dropped.")
    timeout_s: Count = Field(5, le=60, description="Seconds for one message to the collector, with all its tries.")


class LogSettings(Section):
    """What is logged of calls; none that is well and fast is."""

    slow_ms: Milliseconds = Field(100, description="Milliseconds from which on an answered call is logged; 0 = none.")
    max_calls_per_s: Count = Field(
        5, le=1000, description="Calls logged in a second by a worker; further ones are counted."
    )
