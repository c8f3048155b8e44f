"""The mapping of an import: which column of a file is which field of an event, and how it is written there.

A mapping is a TOML file; `docs/data.md` shows one. The mapping `handbook` is built in.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from service.errors import BadSetting

IdField = Literal["user_id", "seller_id", "item_id", "card_hash", "purchase_id"]
FieldName = Literal[
    "kind",
    "event_time_ms",
    "ingest_time_ms",
    "user_id",
    "seller_id",
    "item_id",
    "card_hash",
    "purchase_id",
    "amount_minor",
    "currency",
    "quantity",
    "settlement",
    "label",
    "label_time_ms",
]
TimeFormat = Literal["auto", "epoch_s", "epoch_ms"]


class Mapping(BaseModel):
    """How the rows of a file become events; a row is a purchase unless a `kind` column says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field("unnamed", description="Name of the mapping; the event file keeps it.")
    columns: dict[FieldName, str] = Field(
        description="Field of the event -> column of the file. `event_time_ms` must be there, and for purchases "
        "`user_id` and `amount_minor`. `purchase_id` left out: the number of the row. `ingest_time_ms` left out: "
        "known when it happened. `kind` and `settlement` hold names such as `purchase` or `COMPLETED`."
    )
    prefixes: dict[IdField, str] = Field({}, description='Put before an id: {user_id = "u-"} makes 596 into u-596.')
    hashed: tuple[IdField, ...] = Field(
        (), description="Ids that are replaced by a keyed hash (BLAKE2b, 16 hex digits): card numbers, names."
    )
    currency: str = Field("EUR", pattern="^[A-Z]{3}$", description="Currency of rows that bring none.")
    quantity: int = Field(1, ge=1, le=10**6, description="Number of items of purchases that bring none.")
    time_format: TimeFormat = Field(
        "auto",
        description="`auto`: a date-time column, or text such as 2018-04-01 00:00:31 or 2018-04-01T00:00:31.5+02:00; "
        "`epoch_s` or `epoch_ms`: seconds or milliseconds since 1970, as numbers or text.",
    )
    time_zone: str = Field("UTC", description="Zone of times that name none, such as Europe/Berlin.")
    amount_decimals: int = Field(
        2,
        ge=0,
        le=4,
        description="Decimal places from the amounts of the file to minor units: 2 makes 12.34 into 1234; 0: they "
        "are in minor units already. What is finer is rounded half to even, and counted.",
    )
    label_delay_days: float = Field(
        7.0, gt=0.0, le=365.0, description="Days from a purchase to its truth, where no `label_time_ms` column says it."
    )
    order: tuple[str, ...] = Field(
        (), description="Columns that order rows known at the same millisecond; left out: the order of the file."
    )
    numeric_ids: bool = Field(
        False, description="Let ids other than card_hash look like card numbers (the service has the same setting)."
    )

    @field_validator("columns")
    @classmethod
    def _has_all(cls, columns: dict[FieldName, str]) -> dict[FieldName, str]:
        needed: tuple[FieldName, ...] = ("event_time_ms", *(() if "kind" in columns else ("user_id", "amount_minor")))
        missing = [field for field in needed if field not in columns]
        if missing:
            raise ValueError(f"must name the column of {missing[0]}")
        return columns

    @field_validator("time_zone")
    @classmethod
    def _is_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, OSError, ValueError) as error:
            raise ValueError("must be a time zone such as UTC or Europe/Berlin") from error
        return name


HANDBOOK: Final = Mapping(
    name="handbook",
    columns={
        "event_time_ms": "TX_DATETIME",
        "user_id": "CUSTOMER_ID",
        "seller_id": "TERMINAL_ID",
        "card_hash": "CUSTOMER_ID",
        "purchase_id": "TRANSACTION_ID",
        "amount_minor": "TX_AMOUNT",
        "label": "TX_FRAUD",
    },
    prefixes={"user_id": "u-", "seller_id": "s-", "card_hash": "c-", "purchase_id": "p-"},
    label_delay_days=7.0,
    order=("TRANSACTION_ID",),
)
"""The handbook's Parquet: one card for each customer, no items, truth seven days later by convention.

The scenario column is left out: it gives the label away.
"""

BUILT_IN: Final = {HANDBOOK.name: HANDBOOK}


def load_mapping(name: str) -> Mapping:
    """Return the built-in mapping of that name, or the one in that TOML file.

    Raises BadSetting with one sentence that names the file and what is wrong in it.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    path = Path(name)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSetting(
            f"mapping {name}: {error.strerror or error}; built in are: {', '.join(sorted(BUILT_IN))}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"mapping {name}: not valid TOML: {error}") from error
    try:
        return Mapping.model_validate({"name": path.stem, **values})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "[key]")
        raise BadSetting(f"mapping {name}: {place}: {first['msg'].removeprefix('Value error, ')}") from error
