"""`LiveGrid`: the executions of a batch as they run."""

from __future__ import annotations

import json
import threading
from typing import Any

import anywidget
import traitlets

from playhead.client.api import Client
from playhead.client.status import ConnectionState
from playhead.events import Event
from playhead.state import Executions
from playhead.widgets._base import CSS, Row, bundle_with, row_of, source, static_table, status_text

_TICK_S = 0.06


class LiveGrid(anywidget.AnyWidget):
    """
    Executions, failed and active first, live while the kernel is busy.

    Args:
        client: Where they come from.
        batch_id: This batch; everything when not given.
        polling_interval: Seconds between polls when no stream gets through.
        max_display: Rows in sight; the rest scrolls, and is counted in the summary line.
    """

    _esm = source("live_grid.js")
    _css = CSS
    connection = traitlets.Unicode("reconnecting").tag(sync=True)
    status_text = traitlets.Unicode("connecting").tag(sync=True)
    max_display = traitlets.Int(6, min=1).tag(sync=True)
    # never assigned while events stream; serialised when a page asks for the state, so a reload shows it
    snapshot = traitlets.Int(0).tag(sync=True, to_json=lambda value, widget: widget._snapshot())

    def __init__(
        self, client: Client, *, batch_id: str | None = None, polling_interval: float = 5.0, max_display: int = 6
    ) -> None:
        self._guard = threading.RLock()
        self._executions = Executions()
        self._places: dict[tuple[str | None, str], int] = {}
        self._rows: list[Row] = []
        self._changed: set[int] = set()
        self._rev = 0
        self._wake = threading.Event()
        self._is_over = False
        super().__init__(max_display=max_display)
        self._watch = client.watch(
            on_events=self._take, on_status=self._told, after="start", batch_id=batch_id, polling_interval=polling_interval
        )
        threading.Thread(target=self._send_changes, name="playhead-grid", daemon=True).start()

    def _take(self, events: list[Event], cursor: str) -> None:
        with self._guard:
            for event in events:
                row = self._executions.apply(event)
                if row is not None:
                    place = self._places.setdefault((row.execution_id, row.job_id), len(self._rows))
                    if place == len(self._rows):
                        self._rows.append(row_of(row))
                    else:
                        self._rows[place] = row_of(row)
                    self._changed.add(place)
        if events:
            self._wake.set()

    def _told(self, state: ConnectionState) -> None:
        self.connection = state.state
        self.status_text = status_text(state)

    def _send_changes(self) -> None:
        """At most 16 messages a second, whatever the rate of events."""
        while not self._is_over:
            self._wake.wait()
            self._wake.clear()
            with self._guard:  # sent inside the lock: the order of revisions is the order on the wire
                changed = [(place, self._rows[place]) for place in sorted(self._changed)]
                self._changed.clear()
                if changed and not self._is_over:
                    self._rev += 1
                    text = json.dumps(changed, separators=(",", ":")).encode()
                    self.send({"kind": "delta", "rev": self._rev}, buffers=[text])
            threading.Event().wait(_TICK_S)

    def _snapshot(self) -> bytes:
        with self._guard:
            return json.dumps({"rev": self._rev, "rows": self._rows}, separators=(",", ":")).encode()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        with self._guard:
            rows = self._executions.newest()
            table = static_table(rows)
        return bundle_with(super()._repr_mimebundle_(**options), f"<LiveGrid {len(rows)} executions>", table)

    def close(self, *args: Any, **options: Any) -> None:
        """Stop following and remove the widget."""
        self._is_over = True
        self._watch.close()
        self._wake.set()
        super().close(*args, **options)
