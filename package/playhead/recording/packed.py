"""
A sealed segment as DuckDB keeps it: the same rows, those that are asked for together beside each other.

Events come as they happen, so the few of one execution lie among those of all that run at the same time, and a question
would have to decode everything between its first and its last. DuckDB passes over a vector of 2,048 rows in which nothing
matches. So within each stretch of 30,720 events failures and cancellations come first, then batch after batch, execution
after execution, each in order of seq: an execution costs a third of what it would, and a page by seq still reads little.
``000000000000000001-1.duckdb`` appears whole or not at all, and is never written again.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import duckdb

from playhead.recording import files
from playhead.recording.directory import sync
from playhead.recording.pace import flushed

STRETCH = 30_720  # half of a row group
_AT_ONCE = 16_384
_ORDER = """(seq - {first}) // {stretch}, CASE WHEN type IN ('job_failed', 'job_cancelled') THEN 0 ELSE 1 END,
batch_id, execution_id, seq"""


def write(db: duckdb.DuckDBPyConnection, table: str, first: int, path: Path) -> None:
    """
    Write the events of a segment that begins with seq ``first``.

    Raises:
        duckdb.Error, OSError: it could not be read or written; then there is no file.
    """
    draft = path.with_suffix(".tmp")
    files.unlink(draft)
    try:
        with contextlib.closing(files.connect(path.parent, threads=1)) as own:  # this thread's, which gives way to others
            own.register("rows", db.cursor().sql(f"SELECT * FROM {table}").to_arrow_reader(_AT_ONCE))
            events = files.attach(own, "packed", draft, is_read_only=False)
            with flushed(draft):
                own.execute(f"INSERT INTO {events} SELECT * FROM rows ORDER BY {_ORDER.format(first=first, stretch=STRETCH)}")
                own.execute("CHECKPOINT packed")
            files.detach(own, "packed")
        sync(draft)
        draft.rename(path)
        sync(path.parent)
    finally:
        files.unlink(draft)
