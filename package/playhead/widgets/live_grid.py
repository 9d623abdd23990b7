"""`LiveGrid`: the executions of a batch as they run."""

from __future__ import annotations

import threading
from typing import Any

import msgspec

from playhead.client.api import Client
from playhead.columns import known_fields, micros
from playhead.errors import PlayheadError
from playhead.events import Event
from playhead.state import STATES, Execution
from playhead.widgets._following import Following
from playhead.widgets._live import Part, built
from playhead.widgets._tape import zipped

_MOST_EVENTS = 100  # of an execution that a card lists
_encode = msgspec.json.Encoder().encode
_STATE = {state: place for place, state in enumerate(STATES)}
Names = tuple[str | None, str, str | None, str | None, str | None, str | None]


def _now(row: Execution) -> tuple[Any, ...]:
    """What the page is told of an execution whenever it changes (js/row_store.js)."""
    return (
        _STATE[row.state], row.progress, row.step, row.url, row.error, row.attempt, row.queued and micros(row.queued),
        row.started and micros(row.started), row.ended and micros(row.ended), row.events,
    )  # fmt: skip


def _names(row: Execution) -> Names:
    """What it is told once, and again when one of them is another."""
    return (row.execution_id, row.job_id, row.batch_id, row.goal, row.site_name, row.site_url)


class LiveGrid(Following):
    """
    The executions of a batch, failed and active first, live while the kernel is busy.

    The newest attempt of each job with its progress, step, url or error; counts by state; the connection, told
    truthfully. Rows past ``max_display`` are scrolled to and counted, never left out; what a search or a filter leaves
    out is counted too. A click, or Enter, opens an execution in full.

    Args:
        client: Where they come from: ``ph.connect()``.
        batch_id: This batch; everything when not given.
        polling_interval: Seconds between two looks when no stream gets through; the grid says when that is so.
        max_display: Rows in sight; it can be assigned later.

    Attributes:
        selected: The execution that is open, ``{"execution_id": …, "job_id": …}``, or None. A trait: observe it
            (``grid.observe(act, "selected")``), assign it, or ask for its events: ``client.events(**grid.selected)``.

    Raises:
        TypeError, ValueError: an argument that it cannot use; the message says what to write.
    """

    _esm = built("live_grid.js")

    def __init__(
        self, client: Client, *, batch_id: str | None = None, polling_interval: float = 5.0, max_display: int = 6
    ) -> None:
        self._newest: list[Execution] = []
        self._told_names: list[Names] = []
        self._dirty: set[int] = set()
        self._rev = 0
        self._is_cleared = False
        super().__init__(client, batch_id=batch_id, polling_interval=polling_interval, max_display=max_display)

    def _changed(self, place: int, row: Execution) -> None:
        if place == len(self._newest):
            self._newest.append(row)
        else:
            self._newest[place] = row
        self._dirty.add(place)

    def _cleared(self) -> None:
        self._newest, self._told_names, self._dirty = [], [], set()
        self._rev = 0
        self._is_cleared = True

    def _part(self) -> Part | None:
        if not self._dirty and not self._is_cleared:
            return None
        changes = [self._change(place) for place in sorted(self._dirty)]
        self._dirty.clear()
        self._is_cleared = False
        self._rev += 1
        return {"rev": self._rev}, [zipped(_encode(changes))]

    def _change(self, place: int) -> tuple[Any, ...]:
        row = self._newest[place]
        names = _names(row)
        if place < len(self._told_names):
            if names == self._told_names[place]:
                return (place, _now(row))
            self._told_names[place] = names
        else:
            self._told_names.append(names)
        return (place, _now(row), names)

    def _rows(self) -> dict[str, Any]:
        rows = [(*_now(row), *_names(row)) for row in self._newest]
        return {"rev": self._rev, "pieces": [zipped(_encode(list(zip(*rows, strict=True))), 6)]}

    def _extent(self) -> dict[str, Any]:
        return {"rev": self._rev}

    def _answer(self, content: dict[str, Any]) -> None:
        place = content.get("place")
        if content.get("kind") != "story" or not isinstance(place, int) or not 0 <= place < len(self._newest):
            return
        row = msgspec.structs.replace(self._newest[place])
        asked = (place, self._log_number, row)
        threading.Thread(target=self._tell_story, args=asked, name="playhead-story", daemon=True).start()

    def _tell_story(self, place: int, log: int, row: Execution) -> None:
        """What a card lists of an attempt, asked for beside all that goes on."""
        events: list[Event] = []
        note = ""
        try:
            asked = self._client.events(execution_id=row.execution_id, job_id=row.job_id, batch_id=self._batch)
            events = [one for one in asked if one.execution_id == row.execution_id and one.seq >= row.first_seq]
        except PlayheadError as error:
            note = f"the events could not be read: {error}"
        listed = _encode([_told(event) for event in events[: -_MOST_EVENTS - 1 : -1]])
        told = {"kind": "story", "place": place, "log": log, "attempt": row.attempt, "count": len(events), "note": note}
        with self._guard:
            if self._over is not None and not self._over.is_set():
                self.send(told | self._extent(), buffers=[listed])


def _told(event: Event) -> dict[str, Any]:
    """An event as a card lists it."""
    data, (_, _, _, step, url, progress) = event.data, known_fields(event.data)
    error, message = (data.get(name) if isinstance(data.get(name), str) else "" for name in ("error", "message"))
    return {
        "seq": event.seq, "at": micros(event.timestamp), "type": event.type, "step": step or "", "url": url or "",
        "progress": progress, "error": error, "message": message,
    }  # fmt: skip
