"""What a widget over executions does that shows the present alone: it follows, and has a place for each execution."""

from __future__ import annotations

from typing import Any

import traitlets

from playhead.events import Event
from playhead.state import Execution
from playhead.widgets._arguments import checked_rows
from playhead.widgets._watching import Watching


class Following(Watching):
    """
    A widget over the executions of a batch, each at a place: 0, 1, 2 … in the order in which they appeared.

    ``_take``, ``_reset`` and ``_told`` are called by the client's thread, ``_part`` and ``_rows`` by others under the lock.
    """

    max_display = traitlets.Int(6, min=1).tag(sync=True)

    def __init__(self, client: Any, *, batch_id: str | None, polling_interval: float, max_display: int) -> None:
        rows = checked_rows(max_display)
        self._places: dict[tuple[str | None, str], int] = {}
        super().__init__(client, batch_id=batch_id, polling_interval=polling_interval, max_display=rows)
        try:
            self._watch = self._client.watch(
                on_events=self._take, on_status=self._told, on_reset=self._reset, after="start", batch_id=self._batch,
                polling_interval=self._interval,
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
                    place = self._places.setdefault((row.execution_id, row.job_id), len(self._places))
                    self._changed(place, row)
        if events:
            self._wake.set()

    def _reset(self, reason: str) -> None:
        with self._guard:
            self._begin_anew(reason)
            self._places = {}
            self._cleared()
        self._wake.set()

    def _is_caught_up(self) -> bool:
        return self._watch is None or self._watch.status.state == "disconnected" or self._lag() == 0

    def __repr__(self) -> str:
        what = f"batch {self._batch!r}" if self._batch else "all batches"
        return f"<{type(self).__name__} of {what}: {len(self._places):,} executions>"
