"""Operations on profiles, scattered over files: one for each kind of entity, part of the entities, and writer.

All operations on one entity lie in one part, whoever wrote them, so that each part can be replayed by itself,
on any machine that sees the folder. Entities go to parts by the hash of their id.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from service.core.event import KINDS, EntityKind
from service.core.fixed import id64
from service.core.profile import ADDS, SCHEMAS, Source
from training.replay.kernel import Integers

_IDS: Final = {Source.USER: EntityKind.USER, Source.SELLER: EntityKind.SELLER, Source.CARD: EntityKind.CARD}

MET_KINDS: Final[Mapping[EntityKind, tuple[EntityKind, ...]]] = {
    kind: tuple(
        _IDS[add.source]
        for recent in SCHEMAS[kind].recents
        for adds in ADDS.values()
        for add in adds
        if add.aggregate == recent.name
    )
    for kind in KINDS
}
"""The other entities whose ids a profile of each kind remembers."""

_OPTIONS: Final = pa.ipc.IpcWriteOptions(compression="lz4")


class EntityOperations(NamedTuple):
    """Operations on entities of one kind, as columns.

    `entity` is `id64` of the id. Operations on one entity act by `when`; its values mean what the writer
    says. `row` numbers the row that reads the entity right before the operation acts (-1 = none); `action`
    is as in `training.replay.kernel`. `others` holds `id64` of the other entities by kind, 0 where absent.
    """

    entity: Integers
    when: Integers
    row: Integers
    action: npt.NDArray[np.uint8]
    time_ms: Integers
    ingest_time_ms: Integers
    amount: Integers
    quantity: Integers
    others: Mapping[EntityKind, Integers]


_OWN_FIELDS: Final = EntityOperations._fields[:-1]


class Scatter:
    """Writes the operations of one writer; a context manager. What a writer of the same number wrote is replaced.

    Cost: a file handle for each kind and part, some 60 bytes on disk for each operation.
    """

    def __init__(self, folder: Path, writer: int, parts: int) -> None:
        """Write into a folder that exists."""
        self._stack = ExitStack()
        self._parts = parts
        self._writers = {
            kind: [
                self._stack.enter_context(
                    pa.ipc.new_file(_path(folder, kind, part, writer), _schema(kind), options=_OPTIONS)
                )
                for part in range(parts)
            ]
            for kind in KINDS
        }

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the files."""
        self._stack.close()

    def add(self, kind: EntityKind, operations: EntityOperations) -> None:
        """Write operations on entities of one kind, each to its part."""
        part = operations.entity.view(np.uint64) % np.uint64(self._parts)
        order = np.argsort(part, kind="stable")
        ends = np.searchsorted(part[order], np.arange(self._parts + 1, dtype=np.uint64))
        own = (getattr(operations, name) for name in _OWN_FIELDS)
        columns = [*own, *(operations.others[other] for other in MET_KINDS[kind])]
        batch = pa.record_batch([pa.array(column[order]) for column in columns], schema=_schema(kind))
        for writer, begin, end in zip(self._writers[kind], ends[:-1], ends[1:], strict=True):
            if end > begin:
                writer.write_batch(batch.slice(begin, end - begin))


def gathered(folder: Path, kind: EntityKind, part: int) -> EntityOperations:
    """Return the operations that all writers wrote for one part, entity by entity, each entity's by `when`."""
    tables = [_schema(kind).empty_table()]
    for path in operation_files(folder, kind, part):
        with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
            tables.append(reader.read_all())
    table = pa.concat_tables(tables)
    columns = {name: table[name].to_numpy() for name in table.column_names}
    order = np.lexsort((columns["when"], columns["entity"]))
    columns = {name: column[order] for name, column in columns.items()}
    others = {other: columns.pop(_name(other)) for other in MET_KINDS[kind]}
    return EntityOperations(**columns, others=others)


def operation_files(folder: Path, kind: EntityKind, part: int) -> list[Path]:
    """Return the files that hold the operations of a part."""
    return sorted(folder.glob(_path(folder, kind, part, None).name))


def hashed_ids(ids: pl.Series) -> Integers:
    """Return `id64` of each id, 0 for "". Cost: 0.4 µs for each different id."""
    encoded = pa.chunked_array(ids.to_arrow()).combine_chunks().dictionary_encode()
    hashes = [id64(entity_id) if entity_id else 0 for entity_id in encoded.dictionary.to_pylist()]
    found: Integers = np.array(hashes, np.int64)[encoded.indices.to_numpy()]
    return found


def _path(folder: Path, kind: EntityKind, part: int, writer: int | None) -> Path:
    return folder / f"operations-{kind.name.lower()}-{part:05}-{'*' if writer is None else f'{writer:05}'}.arrow"


def _schema(kind: EntityKind) -> pa.Schema:
    names = (*_OWN_FIELDS, *map(_name, MET_KINDS[kind]))
    return pa.schema([(name, pa.uint8() if name == "action" else pa.int64()) for name in names])


def _name(other: EntityKind) -> str:
    return f"{other.name.lower()}64"
