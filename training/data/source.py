"""Reads the columns that a mapping names out of Parquet, CSV or JSON Lines, as they stand there."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import polars as pl

from service.errors import BadSetting
from training.data.mapping import Mapping

_HINTS: Final = {
    ".csv": ": it must be UTF-8, with a header and no row longer than that",
    ".jsonl": ": it must be UTF-8, with one object on each line",
    ".ndjson": ": it must be UTF-8, with one object on each line",
}
_READ_BYTES: Final = 1 << 20
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_ .-]{0,63}")
_PLAIN: Final = (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Date, pl.Datetime, pl.Null)


def _read_csv(path: Path) -> pl.LazyFrame:
    # As text: a number would lose leading zeros of ids and the exact decimals of amounts.
    return pl.scan_csv(path, infer_schema=False)


def _read_json_lines(path: Path) -> pl.LazyFrame:
    return pl.scan_ndjson(path, infer_schema_length=None)


_READERS: Final[dict[str, Callable[[Path], pl.LazyFrame]]] = {
    ".parquet": pl.scan_parquet,
    ".csv": _read_csv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
}


def read_source(path: Path, mapping: Mapping) -> pl.DataFrame:
    """Return the columns that the mapping names, under their own names, in the order of the file.

    Raises BadSetting when the file cannot be read, is not what its suffix says or lacks a column.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise BadSetting(f"import {path}: the suffix must be one of {', '.join(_READERS)}")
    wanted = list(dict.fromkeys((*mapping.columns.values(), *mapping.order)))
    try:
        if not path.is_file():
            raise BadSetting(f"import {path}: there is no such file")
        lazy = reader(path)
        names = lazy.collect_schema().names()
        missing = [name for name in wanted if name not in names]
        if missing:
            raise BadSetting(
                f"import {path}: has no column {missing[0]}, which mapping {mapping.name} names; it has {_shown(names)}"
            )
        frame = lazy.select(wanted).collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        # Not the text of the error: it may repeat values of the file.
        hint = _HINTS.get(path.suffix.lower(), "")
        raise BadSetting(f"import {path}: cannot be read as {path.suffix.lower()}{hint}") from error
    odd = [column.name for column in frame if not (column.dtype.is_numeric() or column.dtype in _PLAIN)]
    if odd:
        raise BadSetting(f"import {path}: column {odd[0]} holds neither numbers, text, truth nor times")
    return frame.with_columns(pl.col(pl.Categorical, pl.Enum, pl.Decimal).cast(pl.String))


def _shown(names: list[str]) -> str:
    """Return the names of columns, unless the first line seems to be a row: values are not repeated."""
    if all(_NAME.fullmatch(name) for name in names):
        return ", ".join(names)
    return f"{len(names)} columns; is its first line a header?"


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()
