"""`ReplayPlayer`: a batch on a track; its right end is live, anywhere else is the past."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import Any

import anywidget
import traitlets

from playhead.client.api import Client
from playhead.events import Event
from playhead.state import Executions
from playhead.widgets._base import CSS, Row, bundle_with, row_of, source, static_table

_TICK_S = 0.1


class ReplayPlayer(anywidget.AnyWidget):
    """
    Play, pause, seek and speed over the same grid. The browser holds the recording and scrubs without the kernel.

    Args:
        client: Where the events come from.
        batch_id: This batch; everything when not given.
        max_display: Rows in sight.
    """

    _esm = source("replay_player.js")
    _css = CSS
    at_ms = traitlets.Float(0).tag(sync=True)
    max_display = traitlets.Int(8, min=1).tag(sync=True)
    history = traitlets.Int(0).tag(sync=True, to_json=lambda value, widget: widget._history())

    def __init__(self, client: Client, *, batch_id: str | None = None, max_display: int = 8) -> None:
        self._guard = threading.RLock()
        self._executions = Executions()
        self._places: dict[tuple[str | None, str], int] = {}
        self._changes: list[tuple[float, int, Row]] = []
        self._sent = 0
        self._wake = threading.Event()
        self._is_over = False
        super().__init__(max_display=max_display)
        self._sent = len(self._changes)
        self._watch = client.watch(on_events=self._take, after="start", batch_id=batch_id)
        threading.Thread(target=self._send_changes, name="playhead-player", daemon=True).start()

    @property
    def at(self) -> datetime | None:
        """Where the marker is, UTC; None before it was moved."""
        return datetime.fromtimestamp(self.at_ms / 1000, UTC) if self.at_ms else None

    def _take(self, events: list[Event], cursor: str) -> None:
        with self._guard:
            latest = self._changes[-1][0] if self._changes else 0.0
            for event in events:
                row = self._executions.apply(event)
                if row is not None:
                    place = self._places.setdefault((row.execution_id, row.job_id), len(self._places))
                    latest = max(latest, event.timestamp.timestamp() * 1000)  # the track never runs backwards
                    self._changes.append((latest, place, row_of(row)))
        if events:
            self._wake.set()

    def _send_changes(self) -> None:
        while not self._is_over:
            self._wake.wait()
            self._wake.clear()
            with self._guard:
                fresh = self._changes[self._sent :]
                if fresh and not self._is_over:
                    text = json.dumps(fresh, separators=(",", ":")).encode()
                    self.send({"kind": "changes", "first": self._sent}, buffers=[text])
                    self._sent = len(self._changes)
            threading.Event().wait(_TICK_S)

    def _history(self) -> bytes:
        with self._guard:
            return json.dumps(self._changes[: self._sent], separators=(",", ":")).encode()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        with self._guard:
            rows = self._executions.newest()
            table = static_table(rows)
        return bundle_with(super()._repr_mimebundle_(**options), f"<ReplayPlayer {len(rows)} executions>", table)

    def close(self, *args: Any, **options: Any) -> None:
        """Stop following and remove the widget."""
        self._is_over = True
        self._watch.close()
        self._wake.set()
        super().close(*args, **options)
