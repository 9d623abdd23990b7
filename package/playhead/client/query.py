"""A question about history: nothing is read until it is used, and what is read is never sampled or cut."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from playhead.client.questions import Questions, Rows
from playhead.events import Cursor, Event

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl
    import pyarrow as pa


class Answer(NamedTuple):
    """Rows as they stream, and the position up to which they were read."""

    reader: pa.RecordBatchReader
    cursor: str

    def table(self, limit: int | None) -> tuple[pa.Table, str]:
        """All rows, and the position to go on from."""
        table = self.reader.read_all()
        return table, self.end(limit, table.num_rows, table.column("seq")[-1].as_py() if table.num_rows else 0)

    def end(self, limit: int | None, rows: int, last: int) -> str:
        """The position to go on from after ``rows``: where ``limit`` cut them off, that of the last one."""
        if limit is None or rows < limit or not limit:
            return self.cursor
        return str(Cursor(Cursor.parse(self.cursor).epoch, last))


class Asked(NamedTuple):
    """What a client does for a query: read some columns (all when none is named) from a cursor on, and count."""

    ask: Callable[[Sequence[str], str | None], Answer]
    total: Callable[[], int]


class EventQuery(Questions):
    """Events that match, in log order: to a frame, a table, a file, one by one, or as the answer to a question."""

    def __init__(self, asked: Asked, filters: dict[str, Any], rows: Rows | None) -> None:
        super().__init__(filters, rows)
        self._ask, self._count = asked

    def __repr__(self) -> str:
        return f"<EventQuery {self._filters}>"

    def answer(self, columns: Sequence[str] = (), after: str | None = None) -> Answer:
        """The rows, or some columns of them, from a cursor on, as they stream, with the position that they are read up to."""
        return self._ask(columns, after)

    def to_reader(self) -> pa.RecordBatchReader:
        """The rows as they stream, for what is larger than memory."""
        return self.answer().reader

    def to_arrow(self) -> pa.Table:
        """A table with the columns of an events frame; its schema's metadata has the cursor."""
        table, cursor = self.answer().table(self._limit)
        return table.replace_schema_metadata({"playhead.cursor": cursor})

    def to_pandas(self) -> pd.DataFrame:
        """An events frame; ``attrs["playhead"]`` has the cursor that `follow` continues from."""
        from playhead.frames import events_frame

        table, cursor = self.answer().table(self._limit)
        return events_frame(table, cursor=cursor, filters=self._filters)

    def to_polars(self) -> pl.DataFrame:
        """The same for Polars."""
        import polars

        frame = polars.from_arrow(self.to_arrow())
        if not isinstance(frame, polars.DataFrame):
            raise TypeError("a table became a series")
        return frame

    def to_duckdb(self, connection: duckdb.DuckDBPyConnection | None = None) -> duckdb.DuckDBPyRelation:
        """
        A relation with the columns of an events frame, to go on with in SQL: ``.filter``, ``.aggregate``, ``.query``.

        Args:
            connection: Where it lives; DuckDB's own default when not given.
        """
        import duckdb

        return (duckdb if connection is None else connection).from_arrow(self.to_arrow())

    def to_parquet(self, path: str | os.PathLike[str], *, partition: Literal["day"] | None = None) -> int:
        """
        Write a Parquet file (zstd); how many events it has. It appears whole or not at all.

        It says the position to go on from, and `connect` opens it again, to read.

        Args:
            path: The file; with ``partition`` a folder that is not there yet.
            partition: ``"day"``: a folder of files ``day=2026-11-23/…parquet`` by the day of ``timestamp`` in UTC, which
                pandas, Polars, DuckDB, Dask, Spark and Trino read as one table; ``_playhead.json`` in it has the position.

        Raises:
            FileExistsError: the folder is there already.
        """
        from playhead.files import write, write_by_day

        if partition not in (None, "day"):
            raise ValueError(f"partition is 'day' or None, not {partition!r}")
        answer = self.answer()
        if partition is None:
            return write(path, answer.reader, partial(answer.end, self._limit), name="parquet")
        return write_by_day(path, answer.reader, partial(answer.end, self._limit), {"filters": self._filters})

    def to_csv(self, path: str | os.PathLike[str]) -> int:
        """Write a CSV file with the columns of an events frame; how many events it has. It appears whole or not at all."""
        from playhead.files import write

        answer = self.answer()
        return write(path, answer.reader, partial(answer.end, self._limit), name="csv")

    def to_ndjson(self, path: str | os.PathLike[str]) -> int:
        """Write lines of wire JSON, gzipped where the path ends in ``.gz``; how many. The file appears whole or not at all."""
        from playhead.files import write

        answer = self.answer()
        return write(path, answer.reader, partial(answer.end, self._limit), name="ndjson")

    def count(self) -> int:
        """How many there are, without reading them."""
        return self._count()

    def groups(self) -> Iterator[list[Event]]:
        """Events in log order, as many at a time as they are read."""
        from playhead.columns import events_of

        for batch in self.answer().reader:
            yield events_of(batch)

    def __iter__(self) -> Iterator[Event]:
        for group in self.groups():
            yield from group
