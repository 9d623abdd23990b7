"""
Questions to the log, and their answers in Arrow: pages, streams, counts, executions, batches.

Everything that reads goes through here: history pages, live readers that fell behind, exports, frames.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

import duckdb
import msgspec
import pyarrow as pa

from playhead.columns import micros, utc
from playhead.events import Cursor, Filter
from playhead.recording import sql
from playhead.recording.index import KINDS, Index
from playhead.recording.segments import Segment, Segments
from playhead.recording.sql import At
from playhead.state import STATES, executions_sql

__all__ = ["EVERYTHING", "At", "History", "Span"]
EVERYTHING = Filter()
_PIECE = 65_536
_JOB_COLUMNS = (
    "seq, type, timestamp, execution_id, job_id, batch_id, site_url, site_name, goal, current_step, current_url, "
    "progress_percentage, data"
)


class Span(NamedTuple):
    """A range of seq, both ends inclusive."""

    first: int
    last: int


class _Piece(NamedTuple):
    """A segment, and the part of it where something that matches may be."""

    segment: Segment
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

    @contextlib.contextmanager
    def _pieces(self, where: Filter, span: Span, at: At) -> Iterator[list[_Piece]]:
        """The pieces to read, in order of seq, held while the block runs."""
        last = min(span.last, at.seq) if isinstance(at, Cursor) else span.last
        since = -(2**62) if where.since is None else micros(where.since)
        until = 2**62 if where.until is None else micros(where.until) - 1
        if isinstance(at, datetime):
            until = min(until, micros(at))
        with self._segments.held(span.first, last) as segments:
            found = []
            for segment in segments:
                piece = _Piece(segment, max(span.first, segment.oldest), min(last, segment.last))
                if segment.index is not None:
                    narrowed = _narrowed(piece, segment.index, where, since, until)
                    if narrowed is None:
                        continue
                    piece = narrowed
                if piece.first <= piece.last:
                    found.append(piece)
            yield found

    def table(
        self, where: Filter, span: Span, at: At, *, limit: int | None = None, offset: int = 0, descending: bool = False
    ) -> pa.Table:
        """The whole columns of the events that match, in one table."""
        clause, values = sql.condition(where, at)
        order = f" ORDER BY seq{' DESC' if descending else ''}"
        columns = sql.columns(is_frame=False)
        with self._pieces(where, span, at) as pieces:
            if clause == "true" and limit is not None:
                pieces, offset = _counted(pieces, limit, offset, descending)
            return self._page(pieces, columns, clause, values, order, limit, offset, descending)

    def _page(
        self, pieces: list[_Piece], columns: str, clause: str, values: list[Any], order: str, limit: int | None, offset: int,
        descending: bool,
    ) -> pa.Table:  # fmt: skip
        if limit is None or len(pieces) < 2:
            selects, times = _union(pieces, columns, clause)
            if not selects:
                return sql.TABLE_SCHEMA.empty_table()
            return sql.zoned(self._ask(selects + order + sql.page(limit, offset), values * times).to_arrow_table())
        tables: list[pa.Table] = []
        wanted = limit + offset
        for piece in reversed(pieces) if descending else pieces:  # from the end that is asked for, no further than needed
            select, _ = _union([piece], columns, clause)
            tables.append(self._ask(f"{select}{order} LIMIT {wanted}", values).to_arrow_table())
            wanted -= tables[-1].num_rows
            if wanted <= 0:
                break
        return sql.zoned(pa.concat_tables(tables).slice(offset, limit))

    def stream(
        self, where: Filter, span: Span, at: At, *, limit: int | None = None, offset: int = 0, descending: bool = False
    ) -> pa.RecordBatchReader:
        """The frame's columns of the events that match, as they are read, in flat memory."""
        if limit is not None and limit <= _PIECE:
            table = self.table(where, span, at, limit=limit, offset=offset, descending=descending)
            return table.select(sql.FRAME_SCHEMA.names).cast(sql.FRAME_SCHEMA).to_reader()
        return pa.RecordBatchReader.from_batches(
            sql.FRAME_SCHEMA, self._batches(where, span, at, limit, offset, descending)
        )

    def _batches(
        self, where: Filter, span: Span, at: At, limit: int | None, offset: int, descending: bool
    ) -> Iterator[pa.RecordBatch]:
        """Piece by piece, so that no more than one of them is ever sorted or held."""
        clause, values = sql.condition(where, at)
        with self._pieces(where, span, at) as pieces:
            if clause == "true":
                pieces, offset = _counted(pieces, None, offset, descending)
            for piece in reversed(pieces) if descending else pieces:
                query, _ = _union([piece], sql.columns(is_frame=True), clause)
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
        clause, values = sql.condition(where, at)
        with self._pieces(where, Span(after + 1, self._segments.head), at) as pieces:
            counted = [piece for piece in pieces if clause == "true" and _is_dense(piece.segment)]
            known = sum(last - first + 1 for _, first, last in counted)
            pieces = [piece for piece in pieces if piece not in counted]
            selects, times = _union(pieces, "count(*) AS n", clause)
            if not selects:
                return known
            rows = self._ask(f"SELECT sum(n)::BIGINT FROM ({selects})", values * times).fetchall()
        return known + int(rows[0][0] or 0)

    def executions(
        self, where: Filter, states: Sequence[str], at: At, attempts: Literal["all", "last"], limit: int | None, offset: int
    ) -> pa.Table:
        """As `Recording.executions`."""
        for state in states:
            if state not in STATES:
                raise ValueError(f"state {state!r} is none of {', '.join(STATES)}")
        if attempts not in ("all", "last"):
            raise ValueError(f"attempts is 'all' or 'last', not {attempts!r}")
        with self._executions_query(where, at) as (query, values):
            outer, outer_values = sql.ids_condition(where, "batch_id")
            if attempts == "last":
                query = f"SELECT * FROM ({query}) QUALIFY attempt = max(attempt) OVER (PARTITION BY execution_id, job_id)"
            if states:
                outer.append(f"state IN ({', '.join('?' * len(states))})")
                outer_values += states
            query = f"SELECT * FROM ({query}) WHERE {' AND '.join(outer) or 'true'} ORDER BY first_seq"
            table = self._ask(query + sql.page(limit, offset), values + outer_values).to_arrow_table()
        return sql.zoned(table)

    @contextlib.contextmanager
    def _executions_query(self, where: Filter, at: At) -> Iterator[tuple[str, list[Any]]]:
        """Every attempt that may be wanted, from all events of its pair."""
        whose = Filter(where.execution_id, (), where.job_id, (), None, None, where.organization_id)
        clause, values = sql.condition(whose, at)
        span = Span(1, self._segments.head)
        pair = "(coalesce(execution_id, ''), job_id)"
        if where.batch_id:  # its batch is that of its first event, and others may name another or none
            in_batch = Filter(batch_id=where.batch_id, organization_id=where.organization_id)
            pairs = self._pairs(in_batch, span)
            whose = msgspec.structs.replace(whose, job_id=where.job_id or tuple({job for _, job in pairs}) or ("",))
        with self._pieces(whose, span, at) as pieces:
            selects, times = _union(pieces, _JOB_COLUMNS, clause)
            events = selects or f"SELECT {_JOB_COLUMNS} FROM {self._segments.newest.table} WHERE false"
            params = values * times
            if where.batch_id:
                wanted = "SELECT unnest(?::VARCHAR[]) AS e, unnest(?::VARCHAR[]) AS j"
                events = f"SELECT * FROM ({events}) WHERE {pair} IN (SELECT (e, j) FROM ({wanted}))"
                params += [[execution or "" for execution, _ in pairs], [job for _, job in pairs]]
            kinds, kind_values = sql.ids_condition(where, "type")
            window, window_values = sql.time_condition(where)
            query = executions_sql(events, " AND ".join(kinds + window) or "true")
            yield query, params + kind_values + window_values

    def _pairs(self, where: Filter, span: Span) -> list[tuple[str | None, str]]:
        """The (executionId, jobId) that events which match speak of."""
        clause, values = sql.condition(where, None)
        with self._pieces(where, span, None) as pieces:
            selects, times = _union(pieces, "execution_id, job_id", f"{clause} AND job_id IS NOT NULL")
            return self._ask(f"SELECT DISTINCT * FROM ({selects})", values * times).fetchall() if selects else []

    def batches(self, where: Filter, limit: int | None, offset: int) -> list[dict[str, Any]]:
        """As `Recording.batches`."""
        span = Span(1, self._segments.head)
        clause, values = sql.condition(where, None)
        whose = Filter(batch_id=where.batch_id, organization_id=where.organization_id)
        all_of_it, owner = sql.condition(whose, None)
        with self._pieces(where, span, None) as chosen_pieces, self._pieces(whose, span, None) as pieces:
            chosen, times = _union(chosen_pieces, "batch_id", f"{clause} AND batch_id IS NOT NULL")
            events, again = _union(pieces, "batch_id, seq, timestamp", all_of_it)
            if not chosen:
                return []
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


def _narrowed(piece: _Piece, index: Index, where: Filter, since: int, until: int) -> _Piece | None:
    """What of a piece can hold a match, by the segment's index; None for nothing."""
    if index.times.last < since or index.times.first > until:
        return None
    for kind in KINDS:
        wanted = getattr(where, kind)
        if wanted:
            found = index.find(kind, wanted)
            if found is None:
                return None
            piece = piece._replace(first=max(piece.first, found.first), last=min(piece.last, found.last))
    return piece


def _is_dense(segment: Segment) -> bool:
    """Whether nothing was deleted inside, so that its seqs can be counted without looking."""
    return segment.rows == segment.last - segment.oldest + 1


def _counted(pieces: list[_Piece], limit: int | None, offset: int, descending: bool) -> tuple[list[_Piece], int]:
    """Where everything matches: the pieces cut to what is asked for, by arithmetic, and what is left of the offset."""
    kept: list[_Piece] = []
    left = 2**62 if limit is None else limit
    for place, piece in enumerate(reversed(pieces) if descending else pieces):
        if not _is_dense(piece.segment):
            rest = pieces[: len(pieces) - place] if descending else pieces[place:]
            return (rest + kept[::-1] if descending else kept + rest), offset
        skipped = min(offset, piece.last - piece.first + 1)
        offset -= skipped
        first, last = (piece.first, piece.last - skipped) if descending else (piece.first + skipped, piece.last)
        taken = min(left, last - first + 1)
        left -= taken
        if taken:
            first, last = (last - taken + 1, last) if descending else (first, first + taken - 1)
            kept.append(_Piece(piece.segment, first, last))
        if not left:
            break
    return kept[::-1] if descending else kept, offset


def _union(pieces: Iterable[_Piece], columns: str, where: str) -> tuple[str, int]:
    """One SELECT over the pieces, empty for none, and how many times it takes the values of ``where``."""
    selects = [
        f"SELECT {columns} FROM {segment.table} WHERE seq BETWEEN {first} AND {last} AND {where}"
        for segment, first, last in pieces
    ]
    return " UNION ALL ".join(selects), len(selects)
