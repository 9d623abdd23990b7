"""What the widgets over a recording share: the history at once, then what comes, on a `Tape` that the page holds too."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import traitlets

from playhead.client.status import ConnectionState
from playhead.errors import PlayheadError
from playhead.events import Cursor, Event
from playhead.state import Execution, Executions
from playhead.times import now
from playhead.widgets._arguments import checked_batch
from playhead.widgets._live import Part
from playhead.widgets._tape import COLUMNS, SEALED, Tape, with_errors
from playhead.widgets._watching import Watching

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
_MOST = 1_000_000  # events of a log whose batches are not named: more is slow to open, and heavy in a page
_ON_THE_WAY = 2  # pieces that wait to be deflated
_SEAL = 16_384  # events after which what has come is sealed
_log = logging.getLogger("playhead.widgets")


def _to_us(at: datetime | None, widget: object = None) -> int | None:
    return None if at is None else (at - _EPOCH) // _US


def _from_us(us: float | None, widget: object = None) -> datetime | None:
    return None if us is None else _EPOCH + int(us) * _US


class Recorded(Watching):
    """A widget over the recorded events of a batch, with a marker: its right end is live, anywhere else is the past."""

    at = traitlets.Instance(datetime, allow_none=True).tag(sync=True, to_json=_to_us, from_json=_from_us)

    def __init__(
        self, client: Any, *, batch_id: str | None = None, where: dict[str, Any] | None = None, polling_interval: float,
        **traits: Any,
    ) -> None:  # fmt: skip
        self._where = where or {"batch_id": checked_batch(batch_id)}
        self._tape = Tape()
        self._parts: list[bytes] = []
        self._pending: list[Event] = []
        self._history_read = threading.Event()
        self._first: str | None = None  # the cursor that the history is read from; None for its start
        super().__init__(client, batch_id=batch_id, polling_interval=polling_interval, **traits)
        loader = threading.Thread(target=self._load, name=f"playhead-load-{type(self).__name__}", daemon=True)
        self._threads.append(loader)
        loader.start()

    @traitlets.validate("at")  # type: ignore[untyped-decorator]  # traitlets has no types here
    def _check_at(self, proposal: dict[str, Any]) -> datetime | None:
        at: datetime | None = proposal["value"]
        if at is None:
            return None
        if at.tzinfo is None:
            raise ValueError(f"at={at} has no zone; write at.replace(tzinfo=datetime.UTC), or the zone that is meant")
        return at.astimezone(UTC)

    # the history, in a thread of its own

    def _load(self) -> None:
        try:
            self._follow_on(self._history())
        except PlayheadError as error:
            self._told(ConnectionState("disconnected", "websocket", 0, now(), str(error)))
        except RuntimeError as error:
            if not _is_ending(error):
                raise
        finally:
            self._history_read.set()

    def _is_caught_up(self) -> bool:
        return self._history_read.is_set()

    def _history(self) -> str:
        """The position after the history, all of which is on the tape; or that before it, and nothing is."""
        after = ""
        try:
            after = self._read_history()
        except PlayheadError as error:
            _log.info("%s: the history is followed, not read at once: %s", type(self).__name__, error)
        except Exception as error:
            if _is_ending(error):
                raise
            _log.exception("%s: the history could not be read at once; it is followed", type(self).__name__)
        self._is_catching_up = False
        if not after:
            self._restart()
        return after or self._first or "start"

    def _follow_on(self, after: str) -> None:
        with self._guard:
            if self._over is None or self._over.is_set():
                return
            self._watch = self._client.watch(
                on_events=self._take, on_status=self._told, on_reset=self._reset, after=after,
                polling_interval=self._interval, **self._where,
            )  # fmt: skip

    def _read_history(self) -> str:
        """Put the history on the tape as it is read; the cursor after it."""
        from playhead.attempts import fold

        self._is_catching_up = True
        self._first = self._oldest_held()
        answer = self._client.events(**self._where).answer(COLUMNS, self._first)
        tables: list[pa.Table] = []
        tape = self._tape
        kept: list[Future[None]] = []
        with ThreadPoolExecutor(1, "playhead-read") as reading, ThreadPoolExecutor(1, "playhead-deflate") as deflating:
            for table in _ahead(_tables(answer.reader), reading):
                if self._over is None or self._over.is_set():
                    return answer.cursor
                if len(kept) > _ON_THE_WAY:
                    kept.pop(0).result()
                kept.append(deflating.submit(self._keep, tape, tape.encode(table), table.num_rows))
                tables.append(table)
            for one in kept:
                one.result()
        folded: pa.Table | None = None
        for table in tables:
            folded = fold(with_errors(table), folded)
        if folded is not None:
            newest = folded.filter(folded.column("is_newest"))
            rows = [_execution(row) for row in newest.to_pylist()]
            with self._guard:
                self._executions.go_on_from(rows)
        return answer.cursor

    def _oldest_held(self) -> str | None:
        """Of everything a page holds the newest million events, and says so; of what was named, all."""
        if any(self._where.values()):
            return None
        log = self._client.stats()
        earlier = log["head"] - _MOST
        if earlier < log["oldest"]:
            return None
        with self._guard:
            self._notice = (
                f"The newest {_MOST:,} events are held here; the log begins {earlier - log['oldest'] + 1:,} before them. "
                "Name a batch, batch_id=…, to see all of one."
            )
            self._is_news = True
        return str(Cursor(log["epoch"], earlier))

    def _keep(self, tape: Tape, piece: bytes, rows: int) -> None:
        deflated = tape.deflated(piece)
        with self._guard:
            self._parts.append(tape.keep(deflated, rows))
        self._wake.set()

    def _restart(self) -> None:
        with self._guard:
            if self._tape.length:  # some of it was read, and told, before it broke off
                self._log_number += 1
            self._tape, self._executions, self._parts, self._pending = Tape(), Executions(), [], []

    # the client's thread

    def _take(self, events: list[Event], cursor: str) -> None:
        if not events:
            return
        with self._guard:
            self._pending.extend(events)
            for event in events:
                self._executions.apply(event)
        self._wake.set()

    def _reset(self, reason: str) -> None:
        with self._guard:
            self._tape, self._parts, self._pending = Tape(), [], []
            self._begin_anew(reason)
        self._wake.set()

    # the widget's thread

    def _part(self) -> Part | None:
        pieces, self._parts = self._parts, []
        if self._pending:
            pieces.append(self._tape.append(self._pending))
            self._pending = []
        if self._tape.unsealed >= _SEAL or (not pieces and self._tape.is_worth_sealing):
            pieces.append(self._tape.seal())
        return (self._extent(), pieces) if pieces else None

    def _rows(self) -> dict[str, Any]:
        if self._pending:
            self._parts.append(self._tape.append(self._pending))
            self._pending = []
        return {"pieces": self._tape.pieces()} | self._extent()

    def _extent(self) -> dict[str, Any]:
        return {"length": self._tape.length}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._title or 'all batches'}: {self._tape.length + len(self._pending):,} events>"


def _is_ending(error: Exception) -> bool:
    """Whether the program ends, and so no pool takes work any more, and no thread can be begun."""
    return isinstance(error, RuntimeError) and "shutdown" in str(error)


def _tables(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """The rows that a reader gives, so many at a time that a piece of them is worth keeping."""
    batches: list[pa.RecordBatch] = []
    rows = 0
    for batch in reader:
        batches.append(batch)
        rows += batch.num_rows
        if rows >= SEALED:
            yield pa.Table.from_batches(batches)
            batches, rows = [], 0
    if rows:
        yield pa.Table.from_batches(batches)


def _ahead(tables: Iterator[pa.Table], pool: ThreadPoolExecutor) -> Iterator[pa.Table]:
    """The next is read while one is put on the tape."""
    following = pool.submit(next, tables, None)
    while (table := following.result()) is not None:
        following = pool.submit(next, tables, None)
        yield table


def _execution(row: dict[str, Any]) -> Execution:
    duration = row.pop("duration")
    fields = {name: row[name] for name in Execution.__struct_fields__ if name in row}
    return Execution(**fields, duration_ms=None if duration is None else duration.total_seconds() * 1000)
