"""The content hash: names what a table holds, whatever the file format, compression or size of its pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import polars as pl


class ContentHash:
    """A SHA-256 of each column, fed piece by piece, and one of them all.

    Columns are integers, which may be null where they are never negative, or text without nulls, taken
    by its lengths and by its bytes. Cost: about a second for a gigabyte.
    """

    def __init__(self, name: str, columns: Sequence[str]) -> None:
        """Begin with no rows; `name` keeps tables of different meaning apart."""
        self._name = name
        self._rows = 0
        self._columns = {column: (hashlib.sha256(), hashlib.sha256()) for column in columns}

    def add(self, frame: pl.DataFrame) -> None:
        """Go on with the next rows."""
        self._rows += frame.height
        for name, (numbers, characters) in self._columns.items():
            column = frame.get_column(name)
            if column.dtype == pl.String:
                numbers.update(_bytes(column.str.len_bytes()))
                characters.update(column.str.join("").item().encode())
            else:
                # -1 stands for null; all columns are widened, so that a type may become wider.
                numbers.update(_bytes(column.cast(pl.Int64).fill_null(-1)))

    def hexdigest(self) -> str:
        """Return the hash of all rows so far, 64 hex digits."""
        whole = hashlib.sha256(f"{self._name} {self._rows}".encode())
        for name, (numbers, characters) in self._columns.items():
            whole.update(name.encode() + numbers.digest() + characters.digest())
        return whole.hexdigest()


def _bytes(column: pl.Series) -> bytes:
    return column.to_numpy().astype("<i8").tobytes()
