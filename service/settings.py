"""Settings: every knob of the service, with its unit, its bound and its safe default.

Read from a TOML file (`--config FILE` or FRAUD_CONFIG), then from the environment, which wins:
`FRAUD_SERVER__THREADS=8` sets `server.threads`. `python -m service settings` prints them all.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service.core.decision import DegradedRule
from service.core.profile import Habits
from service.errors import BadSetting

Milliseconds = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A group of settings; a name that it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(Section):
    """The gRPC edge."""

    listen: str = Field("127.0.0.1:50051", description="Address and port to listen on; port 0 takes a free one.")
    workers: Count = Field(1, le=256, description="Processes that share the port; one for each core.")
    run_path: Path = Field(
        Path("var/workers"),
        description="Directory where the workers of one machine tell each other what they have live.",
    )
    threads: Count = Field(4, le=64, description="Threads that serve calls, in each worker.")
    max_concurrent_calls: Count = Field(
        256, le=10_000, description="Calls in hand at once; one more is refused with RESOURCE_EXHAUSTED."
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
        256, description="Scored purchases that may wait to be durable; beyond it they answer recorded=false."
    )
    reply_reserve_ms: Milliseconds = Field(2, description="Milliseconds of the budget that are kept for the reply.")
    max_batch_purchases: Count = Field(256, le=4096, description="Purchases in one ScoreBatch.")
    max_batch_events: Count = Field(1000, le=10_000, description="Events in one Record.")
    reflection: bool = Field(True, description="Serve gRPC reflection, so that grpcurl works without the proto.")


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
    read_timeout_ms: Count = Field(6, description="Milliseconds for one read of a score; the budget may shorten it.")
    read_socket_timeout_ms: Count = Field(3, description="Milliseconds until a read goes to another replica.")
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
    max_reasons: Count = Field(5, le=50, description="Reasons in one answer.")
    explain_decisions: bool = Field(True, description="Work out reasons also unasked when the decision is not APPROVE.")
    control_share: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        0.0,
        description="Share of the would-be declines that are let through by chance, so that their truth becomes known.",
    )
    decision_queue: Count = Field(
        10_000, description="Decisions waiting to be kept; beyond that they are dropped and counted."
    )
    decision_batch: Count = Field(200, description="Decisions in one write.")


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
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        0,
        description="Port of the loopback interface that serves Prometheus metrics; 0 = off. Of several workers each "
        "has its own: this one and those after it.",
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
