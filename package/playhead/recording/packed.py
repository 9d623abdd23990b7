"""
A sealed segment as DuckDB keeps it: the same rows, those that are asked for together beside each other.

Events come as they happen, so the few of one execution lie among those of all that run at the same time, and a question
would have to decode everything between its first and its last. DuckDB passes over a vector of 2,048 rows in which nothing
matches. So in each row group failures and cancellations come first; then, within each stretch of 16,384 events, batch after
batch, execution after execution, each in order of seq. An execution costs half of what it would, failures in an hour a
third, and a page by seq still reads little.
``000000000000000001-1.duckdb`` appears whole or not at all, and is never written again.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from playhead.recording import files, sql
from playhead.recording.directory import sync
from playhead.recording.pace import flushed

STRETCH = 16_384  # as between two keyframes; a quarter of a row group
_AT_ONCE = 16_384
_ORDER = """(seq - {first}) // {group},
CASE WHEN {failure} THEN -1 ELSE (seq - {first}) // {stretch} END, batch_id, execution_id, seq"""


def write(db: files.Database, table: str, first: int, path: Path) -> None:
    """
    Write the events of a segment that begins with seq ``first``.

    Raises:
        duckdb.Error, OSError: it could not be read or written; then there is no file.
    """
    draft = path.with_suffix(".tmp")
    files.unlink(draft)
    try:
        with (
            contextlib.closing(files.Database(path, path.parent, threads=1)) as own,  # this thread's, which gives way to others
            contextlib.closing(own.cursor()) as work,
        ):
            work.register("rows", db.cursor().sql(f"SELECT * FROM {table}").to_arrow_reader(_AT_ONCE))
            order = _ORDER.format(failure=sql.IS_FAILURE, first=first, group=files.ROW_GROUP, stretch=STRETCH)
            events = files.attach(own, "packed", draft, is_read_only=False)
            with flushed(draft):
                work.execute(f"INSERT INTO {events} SELECT * FROM rows ORDER BY {order}")
                work.execute("CHECKPOINT packed")
            files.detach(own, "packed")
        sync(draft)
        draft.rename(path)
        sync(path.parent)
    finally:
        files.unlink(draft)
