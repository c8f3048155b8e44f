"""From columns as files have them to columns as events have them: exact numbers, times in UTC, ids as text.

Every function returns a column of the same length, null where the source is null or cannot be read; the
caller tells these two apart.
"""

from __future__ import annotations

import hashlib
import re
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from service.errors import BadSetting
from training.data.mapping import TimeFormat

_EXACT_FLOATS: Final = 2.0**52
_LARGEST: Final = Decimal(2**63 - 1)
_HASH_BYTES: Final = 8
_DECIMAL: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_TRUE: Final = ("1", "true", "t", "yes", "y", "fraud")
_FALSE: Final = ("0", "false", "f", "no", "n", "honest", "genuine", "legit")
_DATE_TIMES: Final = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
_ZONE: Final = r"\s*(Z|z|UTC|[+-][0-9]{2}:?[0-9]{2})$"


class Scaled(NamedTuple):
    """Whole numbers, and which of them had to be rounded."""

    numbers: pl.Series
    rounded: pl.Series


def scaled(column: pl.Series, decimals: int) -> Scaled:
    """Return a column of decimals times 10^`decimals` as Int64, rounded half to even where it is finer.

    A float means the shortest decimal that it prints as, so 1.005 is exactly that. Numbers, decimals and
    text are taken; anything else, NaN and what does not fit 64 bits becomes null. Cost: columns for what
    has no more than `decimals` places, a microsecond for each of the others.
    """
    if column.dtype.is_integer():
        return _scaled_integers(column, decimals)
    if column.dtype.is_float():
        quick = _quick_floats(column, decimals)
    else:
        quick = _quick_text(column.cast(pl.String, strict=False), decimals)
    rest = quick.is_null() & column.is_not_null()
    if not rest.any():
        return Scaled(quick, rest)
    slow = [_exact(text, decimals) for text in column.filter(rest).to_list()]
    at = rest.arg_true()
    numbers = quick.scatter(at, pl.Series([number for number, _ in slow], dtype=pl.Int64))
    return Scaled(numbers, rest.scatter(at, pl.Series([rounded for _, rounded in slow], dtype=pl.Boolean)))


def _scaled_integers(column: pl.Series, decimals: int) -> Scaled:
    wide = column.cast(pl.Int64, strict=False)
    bound = (2**63 - 1) // 10**decimals
    frame = pl.select(pl.when(wide.is_between(-bound, bound)).then(wide * 10**decimals))
    return Scaled(frame.to_series(), pl.repeat(value=False, n=len(column), dtype=pl.Boolean, eager=True))


def _quick_floats(column: pl.Series, decimals: int) -> pl.Series:
    """Return the floats that are the nearest one to a decimal of so few places: dividing gives them back."""
    # numpy's division is correctly rounded; polars multiplies with the reciprocal of a constant.
    values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    with np.errstate(invalid="ignore", over="ignore"):
        near = np.rint(values * 10**decimals)
        fits = (np.abs(near) < _EXACT_FLOATS) & (near / 10**decimals == values)
    numbers = pl.Series(np.where(fits, near, 0.0).astype(np.int64))
    return pl.select(pl.when(pl.Series(fits)).then(numbers)).to_series()


def _quick_text(text: pl.Series, decimals: int) -> pl.Series:
    """Return plain decimals of up to 15 digits before the point and `decimals` after it."""
    parts = text.str.strip_chars().str.extract_groups(rf"^(-?)([0-9]{{1,14}})(?:\.([0-9]{{0,{decimals}}}))?$").struct
    whole = parts.field("2").cast(pl.Int64) * 10**decimals
    # A zero in front, because no places at all would be no number.
    fraction = ("0" + parts.field("3").fill_null("").str.pad_end(decimals, "0")).cast(pl.Int64)
    frame = pl.select(pl.when(parts.field("1") == "-").then(-(whole + fraction)).otherwise(whole + fraction))
    return frame.to_series()


def _exact(value: object, decimals: int) -> tuple[int | None, bool]:
    text = str(value).strip()
    if not _DECIMAL.fullmatch(text):
        return None, False
    exact = Decimal(text).scaleb(decimals)
    if abs(exact) > _LARGEST:
        return None, False
    number = exact.quantize(Decimal(1), rounding=ROUND_HALF_EVEN)
    return int(number), number != exact


def whole_numbers(column: pl.Series) -> pl.Series:
    """Return a column as Int64, null where it is not a whole number."""
    numbers, rounded = scaled(column, 0)
    return pl.select(pl.when(~rounded).then(numbers)).to_series()


def times_ms(column: pl.Series, time_format: TimeFormat, time_zone: str) -> pl.Series:
    """Return milliseconds since the epoch; times without a zone are taken to be in `time_zone`.

    A local time that came twice is the earlier one, one that a change of clocks left out becomes null.
    Fractions of a millisecond are cut off date-times and rounded off epochs. Raises BadSetting when
    numbers come without a format.
    """
    if time_format != "auto":
        return scaled(column, 3 if time_format == "epoch_s" else 0).numbers
    if column.dtype == pl.Date:
        return _local(column.cast(pl.Datetime("ms")), time_zone)
    if isinstance(column.dtype, pl.Datetime):
        naive = column.dtype.time_zone is None
        return _local(column, time_zone) if naive else column.dt.epoch("ms")
    if column.dtype == pl.String:
        return _written(column, time_zone)
    raise BadSetting(
        f"mapping: time_format must be epoch_s or epoch_ms, because column {column.name} holds no date-times"
    )


def _local(column: pl.Series, time_zone: str) -> pl.Series:
    zoned = column.dt.cast_time_unit("ms").dt.replace_time_zone(time_zone, ambiguous="earliest", non_existent="null")
    return zoned.dt.epoch("ms")


def _written(column: pl.Series, time_zone: str) -> pl.Series:
    text = column.str.strip_chars()
    zone = text.str.extract(_ZONE)
    plain = text.str.replace(_ZONE, "").str.replace("[Tt]", " ")
    read = [plain.str.to_datetime(form, time_unit="ms", strict=False) for form in _DATE_TIMES]
    naive = pl.select(pl.coalesce(read)).to_series()
    digits = zone.str.extract_groups(r"^([+-])([0-9]{2}):?([0-9]{2})$").struct
    minutes = digits.field("2").cast(pl.Int64) * 60 + digits.field("3").cast(pl.Int64)
    ahead_ms = pl.when(digits.field("1") == "-").then(-minutes).otherwise(minutes).fill_null(0) * 60_000
    universal = pl.when(zone.is_not_null()).then(naive.dt.epoch("ms") - ahead_ms)
    return pl.select(universal.otherwise(_local(naive, time_zone))).to_series()


def ids(column: pl.Series, prefix: str, key: bytes | None) -> pl.Series:
    """Return ids as text, with a prefix, hashed with `key` when there is one; empty and null ids become "".

    A float that is a whole number is written without its point; any other becomes null.
    """
    if column.dtype.is_float():
        text = whole_numbers(column).cast(pl.String)
        text = pl.select(pl.when(column.is_null()).then(pl.lit("")).otherwise(text)).to_series()
    else:
        text = column.cast(pl.String, strict=False).fill_null("")
    if key is not None:
        text = _hashed(text, key)
    return pl.select(pl.when(text != "").then(pl.concat_str(pl.lit(prefix), text)).otherwise(text)).to_series()


def _hashed(text: pl.Series, key: bytes) -> pl.Series:
    known = text.unique().drop_nulls()
    hashes = [
        hashlib.blake2b(one.encode(), key=key, digest_size=_HASH_BYTES).hexdigest() if one else "" for one in known
    ]
    return text.replace_strict(known, pl.Series(hashes, dtype=pl.String), default=None, return_dtype=pl.String)


def labels(column: pl.Series) -> pl.Series:
    """Return 1 for fraud, 0 for honest; understands numbers, booleans and the usual words."""
    if column.dtype == pl.Boolean:
        return column.cast(pl.Int8)
    if column.dtype.is_numeric():
        return whole_numbers(column).replace_strict([0, 1], [0, 1], default=None, return_dtype=pl.Int8)
    words = column.cast(pl.String, strict=False).str.strip_chars().str.to_lowercase()
    known = {**dict.fromkeys(_TRUE, 1), **dict.fromkeys(_FALSE, 0)}
    return words.replace_strict(known, default=None, return_dtype=pl.Int8)


def names(column: pl.Series, numbers: dict[str, int]) -> pl.Series:
    """Return the number of each name, whatever its case."""
    words = column.cast(pl.String, strict=False).str.strip_chars().str.to_uppercase()
    return words.replace_strict(numbers, default=None, return_dtype=pl.UInt8)
