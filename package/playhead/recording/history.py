"""
Questions to the log, and their answers in Arrow: pages, streams, counts, executions, batches.

Everything that reads goes through here: history pages, live readers that fell behind, exports, frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import duckdb
import pyarrow as pa

from playhead.columns import utc
from playhead.events import Filter
from playhead.recording import sql
from playhead.recording.segments import Segment, Segments
from playhead.recording.sql import At
from playhead.state import STATES, executions_sql

__all__ = ["EVERYTHING", "At", "History", "Span"]
EVERYTHING = Filter()
_PIECE = 65_536


class Span(NamedTuple):
    """A range of seq, both ends inclusive."""

    first: int
    last: int


class History:
    """What the segments hold, for those who ask."""

    def __init__(self, segments: Segments) -> None:
        self._segments = segments

    def span(self, after: int | None, upto: int | None, descending: bool) -> Span:
        """The range between two positions: above ``after``, below it when descending; None for all."""
        last = self._segments.head if upto is None else min(upto, self._segments.head)
        if after is None:
            return Span(1, last)
        return Span(1, min(last, after - 1)) if descending else Span(after + 1, last)

    def table(
        self, where: Filter, span: Span, at: At, *, limit: int | None = None, offset: int = 0, descending: bool = False
    ) -> pa.Table:
        """The whole columns of the events that match, in one table."""
        clause, values = sql.condition(where, span.first, span.last, at)
        with self._segments.held(span.first, span.last) as held:
            segments = held or self._segments.all()[-1:]  # with no rows it still gives the columns
            selects, times = sql.union(segments, sql.columns(is_frame=False), clause)
            query = f"SELECT * FROM ({selects}) ORDER BY seq {'DESC' if descending else ''}{sql.page(limit, offset)}"
            return sql.zoned(self._ask(query, values * times).to_arrow_table())

    def stream(
        self, where: Filter, span: Span, at: At, *, limit: int | None = None, offset: int = 0, descending: bool = False
    ) -> pa.RecordBatchReader:
        """The frame's columns of the events that match, as they are read, in flat memory."""
        return pa.RecordBatchReader.from_batches(
            sql.FRAME_SCHEMA, self._pieces(where, span, at, limit, offset, descending)
        )

    def _pieces(
        self, where: Filter, span: Span, at: At, limit: int | None, offset: int, descending: bool
    ) -> Iterator[pa.RecordBatch]:
        """Segment by segment, so that no more than one of them is ever sorted or held."""
        clause, values = sql.condition(where, span.first, span.last, at)
        columns = sql.columns(is_frame=True)
        with self._segments.held(span.first, span.last) as segments:
            for segment in reversed(segments) if descending else segments:
                query = f"SELECT {columns} FROM {segment.table} WHERE {clause}"
                if descending:  # a scan upwards keeps the order of insertion, which is that of seq
                    query += " ORDER BY seq DESC"
                for batch in self._ask(query, values).to_arrow_reader(_PIECE):
                    skipped = min(offset, batch.num_rows)
                    offset -= skipped
                    part = batch.slice(skipped, limit)
                    if limit is not None:
                        limit -= part.num_rows
                    if part.num_rows:
                        yield sql.zoned(part)
                    if limit == 0:
                        return

    def count(self, where: Filter, at: At, after: int) -> int:
        """How many events match."""
        clause, values = sql.condition(where, after + 1, self._segments.head, at)
        with self._segments.held(after + 1) as segments:
            if not segments:
                return 0
            selects, times = sql.union(segments, "count(*) AS n", clause)
            rows = self._ask(f"SELECT sum(n)::BIGINT FROM ({selects})", values * times).fetchall()
        return int(rows[0][0] or 0)

    def executions(
        self, where: Filter, states: Sequence[str], at: At, attempts: Literal["all", "last"], limit: int | None, offset: int
    ) -> pa.Table:
        """As `Recording.executions`."""
        for state in states:
            if state not in STATES:
                raise ValueError(f"state {state!r} is none of {', '.join(STATES)}")
        if attempts not in ("all", "last"):
            raise ValueError(f"attempts is 'all' or 'last', not {attempts!r}")
        with self._segments.held() as held:
            query, values = self._executions_query(held or self._segments.all(), where, at)
            outer, outer_values = sql.ids_condition(where, "batch_id")
            if attempts == "last":
                query = f"SELECT * FROM ({query}) QUALIFY attempt = max(attempt) OVER (PARTITION BY execution_id, job_id)"
            if states:
                outer.append(f"state IN ({', '.join('?' * len(states))})")
                outer_values += states
            query = f"SELECT * FROM ({query}) WHERE {' AND '.join(outer) or 'true'} ORDER BY first_seq"
            table = self._ask(query + sql.page(limit, offset), values + outer_values).to_arrow_table()
        return sql.zoned(table)

    def _executions_query(self, segments: list[Segment], where: Filter, at: At) -> tuple[str, list[Any]]:
        """Every attempt that may be wanted, from all events of its pair."""
        parts, values = sql.position_condition(1, self._segments.head, at, where.organization_id)
        more, given = sql.ids_condition(where, "execution_id", "job_id")
        events, times = sql.union(segments, "*", " AND ".join(parts + more))
        params = (values + given) * times
        if where.batch_id:  # its batch is that of its first event, and others may name another or none
            in_batch, batch_values = sql.ids_condition(where, "batch_id")
            pairs, again = sql.union(segments, "coalesce(execution_id, '') AS e, job_id AS j", in_batch[0])
            pair = "(coalesce(execution_id, ''), job_id)"
            events = f"SELECT * FROM ({events}) WHERE {pair} IN (SELECT (e, j) FROM ({pairs}))"
            params += batch_values * again
        kinds, kind_values = sql.ids_condition(where, "type")
        window, window_values = sql.time_condition(where)
        return executions_sql(events, " AND ".join(kinds + window) or "true"), params + kind_values + window_values

    def batches(self, where: Filter, limit: int | None, offset: int) -> list[dict[str, Any]]:
        """As `Recording.batches`."""
        head = self._segments.head
        clause, values = sql.condition(where, 1, head, None)
        whose, owner = sql.position_condition(1, head, None, where.organization_id)
        with self._segments.held() as segments:
            if not segments:
                return []
            chosen, times = sql.union(segments, "batch_id", f"{clause} AND batch_id IS NOT NULL")
            events, again = sql.union(segments, "batch_id, seq, timestamp", " AND ".join(whose))
            rows = self._ask(
                f"SELECT batch_id, arg_min(timestamp, seq), arg_max(timestamp, seq) FROM ({events}) "
                f"WHERE batch_id IN ({chosen}) GROUP BY batch_id ORDER BY min(seq) DESC{sql.page(limit, offset)}",
                owner * again + values * times,
            ).fetchall()  # fmt: skip
        if not rows:
            return []
        wanted = Filter(batch_id=tuple(row[0] for row in rows), organization_id=where.organization_id)
        counts: dict[str, dict[str, int]] = {row[0]: dict.fromkeys(STATES, 0) for row in rows}
        newest = self.executions(wanted, (), None, "last", None, 0)
        for batch, state in zip(newest["batch_id"].to_pylist(), newest["state"].to_pylist(), strict=True):
            counts[batch][state] += 1
        return [
            {
                "batchId": batch,
                "counts": counts[batch],
                "executions": sum(counts[batch].values()),
                "first": utc(first),
                "last": utc(last),
            }
            for batch, first, last in rows
        ]

    def _ask(self, query: str, values: list[Any]) -> duckdb.DuckDBPyRelation:
        """A question on a cursor of its own: any thread may ask, and none waits for another."""
        return self._segments.db.cursor().sql(query, params=values)
