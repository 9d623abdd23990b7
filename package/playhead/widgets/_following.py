"""What the widgets over executions share: following a batch, a place for each execution, beginning afresh."""

from __future__ import annotations

from typing import Any

import traitlets

from playhead.client.follow import Watch
from playhead.events import Event
from playhead.state import Execution, Executions
from playhead.widgets._arguments import checked_batch, checked_client, checked_rows, checked_seconds
from playhead.widgets._live import LiveWidget
from playhead.widgets._table import static_table

_NOTICES = {
    "epoch": "The log was recreated: this is the new one, from its start.",
    "trimmed": "Older events were deleted meanwhile: this is what the log still holds.",
}


class Following(LiveWidget):
    """
    A widget over the executions of a batch, each at a place: 0, 1, 2 … in the order in which they appeared.

    ``_take``, ``_reset`` and ``_told`` are called by the client's thread, ``_part`` and ``_rows`` by others under the lock.
    """

    batch_id = traitlets.Unicode(allow_none=True, read_only=True).tag(sync=True)
    max_display = traitlets.Int(6, min=1).tag(sync=True)

    def __init__(self, client: Any, *, batch_id: str | None, polling_interval: float, max_display: int) -> None:
        known = checked_client(client, type(self).__name__)
        self._batch = checked_batch(batch_id)
        rows = checked_rows(max_display)
        self._interval = checked_seconds("polling_interval", polling_interval, least=0.05)
        self._executions = Executions()
        self._places: dict[tuple[str | None, str], int] = {}
        self._watch: Watch | None = None
        super().__init__(known.url, max_display=rows)
        try:
            self._watch = known.watch(
                on_events=self._take, on_status=self._told, on_reset=self._reset, after="start", batch_id=self._batch,
                polling_interval=self._interval,
            )  # fmt: skip
        except BaseException:
            self.close()
            raise

    @traitlets.default("batch_id")  # type: ignore[untyped-decorator]  # traitlets has no types here
    def _the_batch(self) -> str | None:
        return self._batch

    def _changed(self, place: int, row: Execution, event: Event) -> None:
        """The execution at a place is now ``row``, by ``event``."""

    def _cleared(self) -> None:
        """There are no executions any more."""

    def _take(self, events: list[Event], cursor: str) -> None:
        with self._guard:
            for event in events:
                row = self._executions.apply(event)
                if row is not None:
                    place = self._places.setdefault((row.execution_id, row.job_id), len(self._places))
                    self._changed(place, row, event)
        if events:
            self._wake.set()

    def _reset(self, reason: str) -> None:
        with self._guard:
            self._executions = Executions()
            self._places = {}
            self._log_number += 1
            self._notice = _NOTICES.get(reason, f"The log began afresh ({reason}).")
            self._is_news = True
            self._cleared()
        self._wake.set()

    def _polling_interval(self) -> float | None:
        return self._interval

    def _leave(self) -> None:
        if self._watch is not None:
            self._watch.close()

    def _html(self) -> str:
        with self._guard:
            return static_table(self._executions.newest(), self.batch_id)

    def __repr__(self) -> str:
        what = f"batch {self.batch_id!r}" if self.batch_id else "all batches"
        return f"<{type(self).__name__} of {what}: {len(self._places):,} executions>"


