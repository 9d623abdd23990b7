"""A question about history: nothing is read until it is used, and what is read is never sampled or cut."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from playhead.events import Cursor, Event

if TYPE_CHECKING:
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


class EventQuery:
    """Events that match, in log order: to a frame, a table, a file, or one by one."""

    def __init__(
        self, ask: Callable[[Sequence[str], str | None], Answer], count: Callable[[], int], filters: dict[str, Any]
    ) -> None:
        self._ask, self._count, self._filters = ask, count, filters
        self._limit: int | None = filters.get("limit")

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

    def to_parquet(self, path: str | os.PathLike[str]) -> int:
        """
        Write a Parquet file (zstd); how many events it has. It appears whole or not at all.

        It says the position to go on from, and `connect` opens it again, to read.
        """
        import pyarrow.parquet

        answer = self.answer()
        draft = Path(f"{os.fspath(path)}.part")
        rows = last = 0
        try:
            with pyarrow.parquet.ParquetWriter(draft, answer.reader.schema, compression="zstd") as writer:
                for batch in answer.reader:
                    writer.write_batch(batch)
                    rows += batch.num_rows
                    last = batch.column("seq")[-1].as_py()
                writer.add_key_value_metadata({"playhead.cursor": answer.end(self._limit, rows, last)})
            draft.rename(path)
        finally:
            draft.unlink(missing_ok=True)
        return rows

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
