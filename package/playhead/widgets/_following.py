"""What a widget over executions does that shows the present alone: it follows, and has a place for each execution."""

from __future__ import annotations

from typing import Any

import msgspec
import traitlets

from playhead.client.status import ConnectionState
from playhead.events import JOB_TYPES, Event
from playhead.state import Execution, Executions
from playhead.widgets._arguments import checked_rows
from playhead.widgets._watching import Watching

Pair = tuple[str | None, str]


class Following(Watching):
    """
    A widget over the executions of a batch, each at a place: 0, 1, 2 … in the order in which they appeared.

    ``_take``, ``_reset`` and ``_told`` are called by the client's thread, ``_part`` and ``_rows`` by others under the lock.
    """

    max_display = traitlets.Int(6, min=1).tag(sync=True)

    def __init__(self, client: Any, *, batch_id: str | None, polling_interval: float, max_display: int) -> None:
        rows = checked_rows(max_display)
        self._places: dict[Pair, int] = {}
        self._provisional: dict[Pair, dict[str, Event]] = {}
        super().__init__(client, batch_id=batch_id, polling_interval=polling_interval, max_display=rows)
        try:
            self._watch = self._client.watch(
                on_events=self._take, on_status=self._told, on_reset=self._reset, after="start", batch_id=self._batch,
                polling_interval=self._interval, on_provisional=self._take_provisional,
            )  # fmt: skip
        except BaseException:
            self.close()
            raise

    def _changed(self, place: int, row: Execution) -> None:
        """The execution at a place is now ``row``."""

    def _cleared(self) -> None:
        """There are no executions any more."""

    def _take(self, events: list[Event], cursor: str) -> None:
        with self._guard:
            for event in events:
                row = self._executions.apply(event)
                if row is not None:
                    pair = row.execution_id, row.job_id
                    shown = self._foreseen(pair, row, event) if self._provisional else row
                    self._changed(self._place(pair), shown or row)
        if events:
            self._wake.set()

    def _take_provisional(self, events: list[Event]) -> None:
        """Show what has no seq yet; it is forgotten when it comes with one."""
        with self._guard:
            for event in events:
                if event.job_id is not None and event.type in JOB_TYPES:
                    pair = event.execution_id, event.job_id
                    self._provisional.setdefault(pair, {})[event.id] = event
                    row = self._foreseen(pair, self._executions.newest_of(*pair))
                    if row is not None:
                        self._changed(self._place(pair), row)
        self._wake.set()

    def _told(self, state: ConnectionState) -> None:
        """Once the server is well again, what it told before has come, or was another's already."""
        with self._guard:
            if not state.degraded and self._provisional:
                pairs, self._provisional = list(self._provisional), {}
                for pair in pairs:
                    if (row := self._executions.newest_of(*pair)) is not None:
                        self._changed(self._place(pair), row)
        super()._told(state)

    def _foreseen(self, pair: Pair, row: Execution | None, arrived: Event | None = None) -> Execution | None:
        """An execution with all that is known of it before it has a seq."""
        ahead = self._provisional.get(pair, {})
        if arrived is not None and ahead.pop(arrived.id, None) is not None and not ahead:
            del self._provisional[pair]
        if not ahead:
            return row
        executions = Executions()
        if row is not None:
            executions.go_on_from([msgspec.structs.replace(row)])
        for event in ahead.values():
            executions.apply(event)
        return executions.newest_of(*pair)

    def _place(self, pair: Pair) -> int:
        return self._places.setdefault(pair, len(self._places))

    def _reset(self, reason: str) -> None:
        with self._guard:
            self._begin_anew(reason)
            self._places, self._provisional = {}, {}
            self._cleared()
        self._wake.set()

    def _is_caught_up(self) -> bool:
        return self._watch is None or self._watch.status.state == "disconnected" or self._lag() == 0

    def __repr__(self) -> str:
        what = f"batch {self._batch!r}" if self._batch else "all batches"
        return f"<{type(self).__name__} of {what}: {len(self._places):,} executions>"
