"""Questions about executions and batches: which there are, and how they stood at any position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from playhead.attempts import ATTEMPTS, COLUMNS, fold
from playhead.columns import utc
from playhead.events import Cursor, Filter
from playhead.recording import sql
from playhead.recording.history import History, Pair, Span, pairs_of, union
from playhead.recording.index import pair_digests
from playhead.recording.places import digest
from playhead.recording.segments import Segments
from playhead.recording.sql import At
from playhead.recording.together import Together
from playhead.recording.travel import Travel
from playhead.state import ACTIVE, STATES

_AT_ONCE = 100_000  # events that are folded at once; more are folded segment by segment


class ExecutionHistory:
    """What the events make of executions, for those who ask."""

    def __init__(self, segments: Segments, history: History, travel: Travel) -> None:
        self._segments, self._history, self._travel = segments, history, travel

    def executions(
        self, where: Filter, states: Sequence[str], at: At, attempts: Literal["all", "last"], limit: int | None, offset: int
    ) -> pa.Table:
        """As `Recording.executions`."""
        for state in states:
            if state not in STATES:
                raise ValueError(f"state {state!r} is none of {', '.join(STATES)}")
        if attempts not in ("all", "last"):
            raise ValueError(f"attempts is 'all' or 'last', not {attempts!r}")
        has_ids = where.execution_id or where.batch_id or where.job_id
        if states and set(states) <= set(ACTIVE) and not (has_ids or where.type or where.since or where.until):
            parts: Iterator[pa.Table] = iter([self._travel.active(at, where.organization_id)])
        elif has_ids:
            parts = iter([self._named(where, at)])
        else:
            parts = self._everything(where, at)
        found = [_chosen(part, where, states, attempts).select(COLUMNS) for part in parts]
        table = pa.concat_tables(found) if found else ATTEMPTS.empty_table().select(COLUMNS)
        return sql.in_order(table, "first_seq").slice(offset, limit)

    def _named(self, where: Filter, at: At) -> pa.Table:
        """Every attempt of the pairs that a filter names by ids."""
        wanted, values = _wanted(where)
        span = Span(1, self._segments.head)
        if not where.batch_id:
            whose = Filter(where.execution_id, (), where.job_id, (), None, None, where.organization_id)
            return fold(self._history.job_events(whose, span, at, wanted=wanted, values=values))
        whose = Filter(where.execution_id, where.batch_id, where.job_id, (), None, None, where.organization_id)
        events = self._history.job_events(whose, span, at, wanted=wanted, values=values)
        upto = at.seq if isinstance(at, Cursor) else self._segments.head
        if strays := self._strays(events, where.batch_id, upto):
            whole = self._history.events_of_pairs(
                strays, span, at, where.organization_id, wanted=wanted, values=values
            )
            rest = events.filter(pc.invert(pc.is_in(events["seq"], whole["seq"])))
            events = pa.concat_tables([rest, whole])
        return fold(events)

    def _strays(self, events: pa.Table, batches: Sequence[str], upto: int) -> list[Pair]:
        """The pairs of which some events name another batch or none: the batch of a pair is that of its first event."""
        pairs = pairs_of(events)
        if not pairs:
            return []
        digests, ours = pair_digests(pairs), np.array([digest(name) for name in batches], np.uint64)
        found = np.zeros(len(pairs), bool)
        for segment in self._segments.all():
            if segment.first <= upto and segment.rows:
                first, _, named = self._segments.indexed(segment).pairs(digests)
                is_ours = np.isin(named, ours, kind="sort")  # numpy 2.0's other way overflows for numbers of 64 bits
                found |= (first > 0) & (first <= upto) & ~is_ours
        return [pair for pair, is_stray in zip(pairs, found, strict=True) if is_stray]

    def _everything(self, where: Filter, at: At) -> Iterator[pa.Table]:
        """Every attempt there is."""
        wanted, values = _wanted(where)
        whose, span = Filter(organization_id=where.organization_id), Span(1, self._segments.head)
        with self._history.pieces(whose, span, at) as pieces:
            if sum(piece.last - piece.first + 1 for piece in pieces) <= _AT_ONCE:
                yield fold(self._history.job_events(whose, span, at, wanted=wanted, values=values))
            else:
                yield from Together(self._history, self._segments, whose, at, wanted, values).attempts(pieces)

    def batches(self, where: Filter, limit: int | None, offset: int) -> list[dict[str, Any]]:
        """As `Recording.batches`."""
        span = Span(1, self._segments.head)
        clause, values = sql.condition(where, None)
        whose = Filter(batch_id=where.batch_id, organization_id=where.organization_id)
        all_of_it, owner = sql.condition(whose, None)
        with self._history.pieces(where, span, None) as chosen_pieces, self._history.pieces(whose, span, None) as pieces:
            chosen, times = union(chosen_pieces, "batch_id", f"{clause} AND batch_id IS NOT NULL")
            events, again = union(pieces, "batch_id, seq, timestamp", all_of_it)
            if not chosen:
                return []
            rows = self._history.ask(
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


def _wanted(where: Filter) -> tuple[str, list[Any]]:
    """SQL for whether an event makes its execution wanted, and its values."""
    kinds, kind_values = sql.ids_condition(where, "type")
    window, window_values = sql.time_condition(where)
    return " AND ".join(kinds + window) or "true", kind_values + window_values


def _chosen(rows: pa.Table, where: Filter, states: Sequence[str], attempts: str) -> pa.Table:
    """Of attempts, those that are asked for."""
    keep = rows["is_wanted"]
    if attempts == "last":
        keep = pc.and_(keep, rows["is_newest"])
    if where.batch_id:
        keep = pc.and_(keep, pc.is_in(rows["batch_id"], pa.array(where.batch_id)))
    if states:
        keep = pc.and_(keep, pc.is_in(rows["state"], pa.array(states)))
    return rows.filter(keep)
