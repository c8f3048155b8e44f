"""Settings: every knob of the service, with its unit, its bound and its safe default.

Read from a TOML file (`--config FILE` or FRAUD_CONFIG), then from the environment, which wins:
`FRAUD_SERVER__THREADS=8` sets `server.threads`. `python -m service settings` prints them all.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service.core.decision import DegradedRule
from service.core.profile import Habits
from service.edge_settings import AccessSettings, LogSettings, ServerSettings, TlsSettings, TracingSettings
from service.errors import BadSetting
from service.section import Count, Milliseconds, Section


class LmdbSettings(Section):
    """The embedded store."""

    path: Path = Field(Path("var/store"), description="Directory of the store; made when it is not there.")
    max_size_bytes: Count = Field(
        1 << 34, description="Largest size of the store in bytes; address space, not disk, until it is used."
    )
    max_commit_events: Count = Field(1000, description="Events in one commit, at most.")
    max_readers: Count = Field(512, description="Threads of all processes that may read at once.")


class AerospikeSettings(Section):
    """The clustered store."""

    hosts: tuple[str, ...] = Field(("127.0.0.1:3000",), description="Seed nodes, host:port.")
    cluster_name: str = Field("", description='Name that the cluster must have; "" takes any.')
    namespace: str = Field("profiles", max_length=31, description="Namespace of all sets.")
    set_prefix: str = Field(
        "", max_length=40, description="Prefix of every set name: several deployments, one namespace."
    )
    read_timeout_ms: Count = Field(14, description="Milliseconds for one read of a score; the budget may shorten it.")
    read_socket_timeout_ms: Count = Field(9, description="Milliseconds until a read goes to another replica.")
    read_retries: Annotated[int, Field(ge=0, le=10)] = Field(1, description="Further tries of a read within its time.")
    write_timeout_ms: Count = Field(250, description="Milliseconds for one write.")
    write_attempts: Count = Field(5, le=100, description="Attempts at one write before the event is RETRY.")
    min_connections: Count = Field(4, description="Connections that are kept open to each node.")
    max_connections: Count = Field(64, description="Connections to each node, at most.")
    breaker_errors: Annotated[int, Field(ge=1, le=100)] = Field(
        100, description="Errors within one second after which a node is left alone for the rest of it."
    )
    profile_ttl_s: Annotated[int, Field(ge=0)] = Field(
        0, description="Life of a profile after its last event; 0 = for ever."
    )
    event_ttl_s: Annotated[int, Field(ge=0)] = Field(0, description="Life of an event's record; 0 = for ever.")
    dedupe_horizon_s: Count = Field(
        300,
        description="Seconds for which a profile remembers the events that it took; an older one that comes again "
        "and was never finished goes to quarantine. Bounds how busy one entity may be: see docs/decisions/0007.",
    )


class StoreSettings(Section):
    """Which store, and what both have in common."""

    kind: Literal["lmdb", "aerospike"] = Field("lmdb", description="Where profiles, events and decisions are kept.")
    lmdb: LmdbSettings = LmdbSettings()
    aerospike: AerospikeSettings = AerospikeSettings()
    max_parked: Count = Field(100_000, description="Events that may wait for a purchase that is not known yet.")
    sweep_every_s: Count = Field(5, description="Seconds between looks for events that a crash left pending.")
    sweep_older_than_s: Count = Field(2, description="Age in seconds from which a pending event is taken over.")


class IngestSettings(Section):
    """What is taken in."""

    currency: str = Field("EUR", pattern="^[A-Z]{3}$", description="The one currency of all amounts (ISO 4217).")
    habits: Habits = Field(
        "attempts",
        description="What habits are made of: `attempts` (every purchase) or `settlements` (those COMPLETED).",
    )
    clock: Literal["wall", "event"] = Field(
        "wall", description="`wall`, or `event` for import and simulation: now is the newest event time."
    )
    numeric_ids: bool = Field(
        default=False,
        description="Ids are plain long numbers here: let those that pass for a card number through, but in card_hash.",
    )
    max_future_skew_ms: Milliseconds = Field(
        300_000, description="How far in the future an event may lie (wall clock), in milliseconds."
    )


class ScoringSettings(Section):
    """How answers are made."""

    degraded_rule: DegradedRule = Field(
        "at_least_review",
        description="What a degraded answer decides: `at_least_review`, `score` or `decline`.",
    )
    score_reserve_ms: Milliseconds = Field(
        3,
        description="Milliseconds that a read of a clustered store leaves for the score, but no more than half of "
        "what is left.",
    )
    max_reasons: Count = Field(5, le=50, description="Reasons in one answer.")
    explain_decisions: bool = Field(True, description="Work out reasons also unasked when the decision is not APPROVE.")
    max_explaining: Count = Field(
        16, description="Answers that may wait for their reasons; beyond it they go without, which is counted."
    )
    control_share: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        0.0,
        description="Share of the would-be declines that are let through by chance, so that their truth becomes known.",
    )
    decision_queue: Count = Field(
        10_000, description="Decisions waiting to be kept; beyond that they are dropped and counted."
    )
    decision_batch: Count = Field(200, description="Decisions in one write.")


class BreakerSettings(Section):
    """When scores stop asking a store that does not answer in time; see docs/decisions/0019."""

    reads: Annotated[int, Field(ge=1, le=64)] = Field(20, description="Last reads of a worker that count.")
    bad_reads: Annotated[int, Field(ge=1, le=64)] = Field(
        10, description="Bad ones among them, not answered at all or slow, from which on the store is not asked."
    )
    slow_ms: Count = Field(
        15, description="Milliseconds from which on a read is slow; a batch has that for every 32 purchases."
    )
    open_ms: Count = Field(
        100, description="Milliseconds until one read tries the store again; doubled each time that it is bad."
    )
    max_open_ms: Count = Field(1000, le=60_000, description="The longest such wait.")
    fair_ms: Count = Field(
        3, description="Milliseconds that a read must have had for it to count that the store did not answer."
    )
    good_reads: Count = Field(3, le=64, description="Good tries, one at a time, until all reads ask the store again.")

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        """Refuse a count of bad reads that cannot be reached: that breaker would never open."""
        if self.bad_reads > self.reads:
            raise ValueError("bad_reads must not exceed reads")
        return self


class DriftSettings(Section):
    """How live traffic is compared with what the champion saw in training; see docs/metrics.md."""

    half_life_s: Count = Field(
        6 * 3600, description="Seconds after which an answer counts half: short sees sudden changes, long sees no day."
    )
    min_rows: Count = Field(
        1000, description="Answers, those of earlier counted less, below which drift is not told: it would be chance."
    )
    every_s: Count = Field(30, le=3600, description="Seconds between two computations of it.")


class ListsSettings(Section):
    """The lists of what operators decided about single users, sellers, items and cards; see docs/decisions/0018."""

    max_entries: Count = Field(
        100_000, le=1_000_000, description="Entries, at most; every worker holds all of them in memory."
    )
    refresh_ms: Count = Field(500, le=60_000, description="Milliseconds between looks for changed entries.")


class RetentionSettings(Section):
    """What `service retention` lets go of, and when; see docs/decisions/0018."""

    verified_snapshots: Path | None = Field(
        None,
        description="Folder of snapshots: events and decisions are let go of only when a verified one holds them. "
        "Unset = never. `service forget` also destroys the keys of pseudonyms there.",
    )
    events_days: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Days for which events are kept, from when they became known; 0 = for ever. Longer than truth "
        "takes to come: a chargeback of a purchase that is gone is parked.",
    )
    decisions_days: Annotated[int, Field(ge=0)] = Field(
        0, description="Days for which decisions are kept, from when they were made; 0 = for ever."
    )
    lists_audit_days: Annotated[int, Field(ge=0)] = Field(
        0, description="Days for which the audit of the lists is kept; 0 = for ever."
    )
    max_entries: Count = Field(
        1_000_000, description="Events, decisions and changes of the lists that one run lets go of, at most, each."
    )


class RegistrySettings(Section):
    """Where models come from."""

    path: Path = Field(Path("var/registry"), description="Directory of the model registry, or of its local copy.")
    remote: str = Field(
        "", description='Object store that holds the registry, as s3://bucket/prefix; "" = the directory itself does.'
    )
    poll_ms: Count = Field(500, description="Milliseconds between looks for a new lineup.")


class Settings(BaseSettings):
    """All settings of the service."""

    model_config = SettingsConfigDict(
        env_prefix="FRAUD_",
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    ingest: IngestSettings = IngestSettings()
    scoring: ScoringSettings = ScoringSettings()
    registry: RegistrySettings = RegistrySettings()
    lists: ListsSettings = ListsSettings()
    retention: RetentionSettings = RetentionSettings()
    drift: DriftSettings = DriftSettings()
    breaker: BreakerSettings = BreakerSettings()
    access: AccessSettings = AccessSettings()
    tls: TlsSettings = TlsSettings()
    tracing: TracingSettings = TracingSettings()
    log: LogSettings = LogSettings()
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        0, description="Port that serves Prometheus metrics, one for all workers; 0 = off."
    )
    metrics_host: str = Field(
        "127.0.0.1",
        description="Address of that port. Metrics hold no ids, but tell what is sold and stopped: keep it inside.",
    )
    metrics_files_path: Path = Field(
        Path("var/metrics"),
        description="Directory of *.prom files, as `training compare --metrics` writes them, that are served along.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")

    def with_workers(self, workers: int) -> Self:
        """Return the settings with another number of workers, 1 to 256."""
        return self.model_copy(update={"server": self.server.model_copy(update={"workers": workers})})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, and the file over the defaults."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


def load(config: Path | None = None) -> Settings:
    """Read the settings; raises BadSetting with one sentence that names the setting and the file."""
    path = config or (Path(os.environ["FRAUD_CONFIG"]) if os.environ.get("FRAUD_CONFIG") else None)
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            message = f"settings file {path}: {error.strerror or error}"
            raise BadSetting(message) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            message = f"settings file {path}: not valid TOML: {error}"
            raise BadSetting(message) from error
        unknown = sorted(set(values) - set(Settings.model_fields))
        if unknown:
            message = f"settings file {path}: unknown setting {unknown[0]!r}"
            raise BadSetting(message)
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        message = f"setting {name}: {first['msg'][0].lower()}{first['msg'][1:]}"
        raise BadSetting(message) from error
