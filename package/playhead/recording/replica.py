"""
A recording whose events have their seqs from elsewhere: many servers hold the same log, and one of them numbers it.

Here is what such a server does with its recording that no other program may: put events where they belong, copy rows from
another server's, begin behind what nobody holds any more, be the log of another epoch, and take off what is not in it.
One thread uses it at a time, and nothing is submitted to the recording meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import duckdb
import pyarrow as pa

from playhead.columns import TABLE, id_bytes
from playhead.errors import RecordingDamaged, RecordingFull
from playhead.recording import sql
from playhead.recording.directory import Directory
from playhead.recording.requests import Request
from playhead.recording.segments import Segments
from playhead.recording.stored import Stored
from playhead.recording.tail import Tail
from playhead.recording.upkeep import Upkeep
from playhead.recording.writer import Sifted, Writer

if TYPE_CHECKING:
    from playhead.recording.log import Recording

_ROWS = f"SELECT {sql.named(TABLE)} FROM {{table}} WHERE seq BETWEEN {{first}} AND {{last}} ORDER BY seq"
_A_MOMENT_S = 0.01
_BYTES = 32 * 2**20  # of rows that are read at once


class Rows(NamedTuple):
    """Rows of the log as they are on disk, in order, and the seq up to which they are all that is held."""

    table: pa.Table
    last: int


class Replica:
    """The inside of a `Recording` that takes a log's events as they were numbered."""

    def __init__(
        self, recording: Recording, segments: Segments, directory: Directory, tail: Tail, writer: Writer, upkeep: Upkeep
    ) -> None:
        self._recording, self._segments, self._directory = recording, segments, directory
        self._tail, self._writer, self._upkeep = tail, writer, upkeep

    def sift(self, group: Sequence[Request], *, trusts_ids: bool = True) -> Sifted:
        """
        The events of requests that are in the recording neither yet nor by another of them.

        With ``trusts_ids`` those that got their ids here are in no log; they may be when they were sent before.
        """
        return self._writer.sift(group, trusts_ids=trusts_ids)

    def store(self, many: Sequence[Stored]) -> None:
        """
        Make events durable that follow the head, and announce them.

        Raises:
            RecordingFull: the disk refuses them; nothing of them is stored.
        """
        assert many[0].first == self._segments.head + 1
        self._writer.store(many)

    def rows(self, after: int, most: int) -> Rows:
        """What is held behind a seq, of at most so many seqs; times in UTC without a zone, ``id`` as text."""
        last = min(after + most, self._segments.head)
        parts = []
        with self._segments.held(after + 1, last) as segments, self._segments.guarded(segments):
            for segment in segments:
                query = _ROWS.format(table=segment.table, first=after + 1, last=last)
                parts.append(self._segments.db.cursor().sql(query).to_arrow_table())
        empty = sql.unzoned(sql.TABLE_SCHEMA.empty_table())
        table = pa.concat_tables([empty, *(part.cast(empty.schema) for part in parts)])
        if table.nbytes > _BYTES:
            table = table.slice(0, max(1, table.num_rows * _BYTES // table.nbytes))
            last = table["seq"][-1].as_py()
        return Rows(table, last)

    def copy(self, rows: Rows) -> None:
        """
        Put rows behind the head that another recording of this log holds; they are not announced.

        Raises:
            RecordingFull: the disk refuses them; nothing of them is stored.
        """
        self._do(lambda: self._tail.add_rows(rows.table, id_bytes(rows.table["id"].to_pylist()), rows.last))

    def begin_at(self, first: int) -> None:
        """Have ``first`` be the next seq: what is before it is held nowhere any more. Raises RecordingFull."""
        self._do(lambda: self._begin_at(first))

    def adopt(self, epoch: str) -> None:
        """Be the log of another epoch from now on, which has all that is held at the same places. Raises RecordingFull."""
        self._do(lambda: self._tail.adopt(epoch, lambda: self._directory.adopt(epoch)))
        self._recording.epoch = self._writer.epoch = epoch

    def delete(self, than: datetime, organization_id: str | None, upto: int) -> int:
        """As `Recording.delete_older`, of the events up to a seq."""
        return self._recording.delete_older(than, organization_id, upto=upto)

    def cut(self, last: int) -> None:
        """Take off all events behind a seq. Raises RecordingFull; then some are left, and it is to be tried again."""
        self._do(lambda: self._upkeep.cut(last, self._begin_at))
        self._tail.forget()

    def _begin_at(self, first: int) -> None:
        """Once nobody has an older file of that name any more."""
        while True:
            while self._segments.is_leaving(first):
                time.sleep(_A_MOMENT_S)
            try:
                return self._tail.begin_at(first)
            except duckdb.Error as error:
                if "being detached" not in str(error):  # DuckDB lets go of the old file a moment later
                    raise
                time.sleep(_A_MOMENT_S)

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (duckdb.Error, OSError, pa.ArrowException, RecordingDamaged) as error:
            raise RecordingFull(str(self._recording.path), str(error).partition("\n")[0]) from error
