"""
A segment as a Parquet file: the columns of an events table, in order of seq, times in UTC, zstd.

Any tool reads the folder as it is: ``pandas.read_parquet("night.playhead/archive")``. A file appears whole or not at all.
``000000000000000001-2.parquet`` is the second writing of the segment that begins with seq 1 (events inside were deleted);
the highest number counts. Small row groups (16,384 rows) let a question read a part; ids and numbers are
delta-coded, which makes the file a fifth smaller and quicker to write than dictionaries do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from playhead.columns import TABLE
from playhead.events import Cursor
from playhead.recording import sql
from playhead.recording.damage import checksum
from playhead.recording.directory import sync
from playhead.recording.files import Database

_ROWS = 16_384  # a row group
_DELTA = {
    "seq": "DELTA_BINARY_PACKED", "timestamp": "DELTA_BINARY_PACKED", "created_at": "DELTA_BINARY_PACKED",
    "expires_at": "DELTA_BINARY_PACKED", "id": "DELTA_BYTE_ARRAY",
}  # fmt: skip


def write(rows: Iterator[pa.RecordBatch], path: Path, expect: Callable[[str, int], None]) -> int:
    """
    Write rows of the table in order of seq; how many there were. Without any there is no file.

    ``expect`` is told the file's name and its checksum before it appears.
    """
    draft = path.parent / f".{path.name}.tmp"
    count = 0
    try:
        with pq.ParquetWriter(
            draft, sql.TABLE_SCHEMA, compression="zstd", column_encoding=_DELTA,
            use_dictionary=[name for name in TABLE if name not in _DELTA],
        ) as writer:  # fmt: skip
            for table in _groups(rows):
                writer.write_table(table, row_group_size=_ROWS)
                count += table.num_rows
        if count:
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            expect(path.name, checksum(draft))
            draft.rename(path)
            sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)
    return count


def _groups(rows: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Tables of one row group each, so that no more than that is held."""
    waiting: list[pa.RecordBatch] = []
    held = 0
    for batch in rows:
        waiting.append(batch)
        held += batch.num_rows
        while held >= _ROWS:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, _ROWS)
            waiting = table.slice(_ROWS).to_batches()
            held -= _ROWS
    if held:
        yield pa.Table.from_batches(waiting)


def relation(db: Database, path: Path) -> str:
    """
    SQL for the events table in a Parquet file, of a segment or exported.

    Times are as in the other segments, in UTC without a zone, by their numbers: a cast would take a local zone for it.

    Raises:
        ValueError: it has not the columns of events.
        duckdb.Error: it is no Parquet file, or damaged.
    """
    name = str(path).replace("'", "''")
    source = f"read_parquet('{name}')"
    kinds = {row[0]: row[1] for row in db.cursor().execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    if absent := [column for column in TABLE if column not in kinds and column != "expires_at"]:
        raise ValueError(f"{path.name} has no column {', '.join(absent)}, so it is no export of events")
    parts = [_column(column, kind, kinds.get(column)) for column, kind in TABLE.items()]
    return f"(SELECT {', '.join(parts)} FROM {source})"


def cursor_of(file: Path) -> Cursor | None:
    """
    The position that an exported file was written at, where it says so.

    Raises:
        ValueError: its events are not in log order.
    """
    with pq.ParquetFile(file) as found:
        numbers = found.read(columns=["seq"]).column("seq").to_numpy()
        if len(numbers) and not bool((numbers[1:] > numbers[:-1]).all()):
            raise ValueError(f"the events of {file.name} are not in log order; import it into a recording")
        text = (found.metadata.metadata or {}).get(b"playhead.cursor")
    return Cursor.parse(text.decode()) if text else None


def _column(name: str, kind: str, found: str | None) -> str:
    if found is None:
        return f"NULL::{kind} AS {name}"
    if kind == "TIMESTAMP":
        return f"make_timestamp(epoch_us({name})) AS {name}" if found.startswith("TIMESTAMP") else f"NULL::{kind} AS {name}"
    if found == kind:
        return name
    return f"{name}::{kind} AS {name}"
