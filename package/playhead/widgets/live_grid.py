"""`LiveGrid`: the executions of a batch as they run."""

from __future__ import annotations

from typing import Any

import msgspec

from playhead.client.api import Client
from playhead.events import Event
from playhead.state import STATES, Execution
from playhead.widgets._following import Following
from playhead.widgets._live import Part, built

_encode = msgspec.json.Encoder().encode
Row = tuple[str, int, float | None, str | None, str | None, str | None, int, float | None]


def _row(row: Execution) -> Row:
    """What the page is told of an execution."""
    return (
        row.job_id, STATES.index(row.state), row.progress, row.step, row.url, row.error, row.attempt, row.duration_ms
    )  # fmt: skip


class LiveGrid(Following):
    """
    The executions of a batch, failed and active first, live while the kernel is busy.

    The newest attempt of each job with its progress, step, url or error; counts by state; the connection, told
    truthfully. Rows past ``max_display`` are scrolled to and counted, never left out.

    Args:
        client: Where they come from: ``ph.connect()``.
        batch_id: This batch; everything when not given.
        polling_interval: Seconds between two looks when no stream gets through; the grid says when that is so.
        max_display: Rows in sight; it can be assigned later.

    Raises:
        TypeError, ValueError: an argument that it cannot use; the message says what to write.
    """

    _esm = built("live_grid.js")

    def __init__(
        self, client: Client, *, batch_id: str | None = None, polling_interval: float = 5.0, max_display: int = 6
    ) -> None:
        self._newest: list[Execution] = []
        self._dirty: set[int] = set()
        self._rev = 0
        self._is_cleared = False
        super().__init__(client, batch_id=batch_id, polling_interval=polling_interval, max_display=max_display)

    def _changed(self, place: int, row: Execution, event: Event) -> None:
        if place == len(self._newest):
            self._newest.append(row)
        else:
            self._newest[place] = row
        self._dirty.add(place)

    def _cleared(self) -> None:
        self._newest, self._dirty = [], set()
        self._rev = 0
        self._is_cleared = True

    def _part(self) -> Part | None:
        if not self._dirty and not self._is_cleared:
            return None
        changes = [(place, _row(self._newest[place])) for place in sorted(self._dirty)]
        self._dirty.clear()
        self._is_cleared = False
        self._rev += 1
        return {}, [_encode(changes)]

    def _rows(self) -> dict[str, Any]:
        return {"rev": self._rev, "rows": _encode([_row(row) for row in self._newest])}

    def _extent(self) -> dict[str, Any]:
        return {"rev": self._rev}
