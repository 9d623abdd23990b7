"""What widgets over executions share: which one is looked at; and, for those that show the present alone, following."""

from __future__ import annotations

from typing import Any

import traitlets

from playhead.client.follow import Watch
from playhead.events import Event
from playhead.state import Execution, Executions
from playhead.widgets._arguments import checked_batch, checked_client, checked_rows, checked_seconds
from playhead.widgets._live import LiveWidget
from playhead.widgets._table import static_table

NOTICES = {
    "epoch": "The log was recreated: this is the new one, from its start.",
    "trimmed": "Older events were deleted meanwhile: this is what the log still holds.",
}


def _to_pair(selected: dict[str, str | None] | None, widget: object = None) -> list[str | None] | None:
    return None if selected is None else [selected.get("execution_id"), selected["job_id"]]


def _from_pair(pair: list[str | None] | None, widget: object = None) -> dict[str, str | None] | None:
    return None if pair is None else {"execution_id": pair[0], "job_id": pair[1]}


class Selecting(traitlets.HasTraits):
    """A widget in which an execution is selected: a trait, to be observed or assigned, as `Client.events` takes it."""

    selected = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True, to_json=_to_pair, from_json=_from_pair)

    @traitlets.validate("selected")  # type: ignore[untyped-decorator]  # traitlets has no types here
    def _check_selected(self, proposal: dict[str, Any]) -> dict[str, str | None] | None:
        chosen: dict[str, Any] | None = proposal["value"]
        if chosen is None:
            return None
        if not isinstance(chosen.get("job_id"), str) or set(chosen) - {"execution_id", "job_id"}:
            raise ValueError(
                f"selected={chosen!r} names no execution; write {{'execution_id': …, 'job_id': …}}, or None for none"
            )
        return {"execution_id": chosen.get("execution_id"), "job_id": chosen["job_id"]}


class Following(Selecting, LiveWidget):
    """
    A widget over the executions of a batch, each at a place: 0, 1, 2 … in the order in which they appeared.

    ``_take``, ``_reset`` and ``_told`` are called by the client's thread, ``_part`` and ``_rows`` by others under the lock.
    """

    batch_id = traitlets.Unicode(allow_none=True, read_only=True).tag(sync=True)
    max_display = traitlets.Int(6, min=1).tag(sync=True)

    def __init__(self, client: Any, *, batch_id: str | None, polling_interval: float, max_display: int) -> None:
        self._client = checked_client(client, type(self).__name__)
        self._batch = checked_batch(batch_id)
        rows = checked_rows(max_display)
        self._interval = checked_seconds("polling_interval", polling_interval, least=0.05)
        self._executions = Executions()
        self._places: dict[tuple[str | None, str], int] = {}
        self._watch: Watch | None = None
        super().__init__(self._client.url, max_display=rows)
        try:
            self._watch = self._client.watch(
                on_events=self._take, on_status=self._told, on_reset=self._reset, after="start", batch_id=self._batch,
                polling_interval=self._interval,
            )  # fmt: skip
        except BaseException:
            self.close()
            raise

    @traitlets.default("batch_id")  # type: ignore[untyped-decorator]  # traitlets has no types here
    def _the_batch(self) -> str | None:
        return self._batch

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
            self._executions = Executions()
            self._places = {}
            self._log_number += 1
            self._notice = NOTICES.get(reason, f"The log began afresh ({reason}).")
            self._is_news = True
            self._cleared()
        self._wake.set()

    def _polling_interval(self) -> float | None:
        return self._interval

    def _lag(self) -> int | None:
        return None if self._watch is None else self._watch.status.lag_events

    def _leave(self) -> None:
        if self._watch is not None:
            self._watch.close()

    def _table(self) -> str:
        with self._guard:
            return static_table(self._executions.newest(), self._batch)

    def __repr__(self) -> str:
        what = f"batch {self._batch!r}" if self._batch else "all batches"
        return f"<{type(self).__name__} of {what}: {len(self._places):,} executions>"
