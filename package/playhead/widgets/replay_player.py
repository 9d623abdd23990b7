"""`ReplayPlayer`: a batch on a track; its right end is live, anywhere else is the past."""

from __future__ import annotations

import math
from array import array
from datetime import UTC, datetime, timedelta
from typing import Any

import traitlets

from playhead.client.api import Client
from playhead.events import Event
from playhead.state import STATES, Execution
from playhead.widgets._following import Following
from playhead.widgets._live import Part, built

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
# name -> array type, in the order of the wire; the last four are indexes into the texts, 0 is none
_COLUMNS = {
    "at": "d", "place": "I", "state": "B", "attempt": "I", "progress": "f", "duration": "d",
    "job": "I", "step": "I", "url": "I", "error": "I",
}  # fmt: skip


def _to_us(at: datetime | None, widget: object = None) -> int | None:
    return None if at is None else (at - _EPOCH) // _US


def _from_us(us: float | None, widget: object = None) -> datetime | None:
    return None if us is None else _EPOCH + int(us) * _US


class _Tape:
    """Every change of every row, in columns: some 50 bytes a change, each text once."""

    def __init__(self) -> None:
        self._columns: dict[str, array[Any]] = {name: array(kind) for name, kind in _COLUMNS.items()}
        self.texts: list[str] = [""]
        self._known: dict[str, int] = {"": 0}
        self._latest = -math.inf

    def __len__(self) -> int:
        return len(self._columns["at"])

    def append(self, at: datetime, place: int, row: Execution) -> None:
        """The row at a place from a moment on. The track never runs backwards: an older moment counts as the latest."""
        self._latest = max(self._latest, float((at - _EPOCH) // _US))
        progress = math.nan if row.progress is None else row.progress
        duration = math.nan if row.duration_ms is None else row.duration_ms
        values = (
            self._latest, place, STATES.index(row.state), row.attempt, progress, duration,
            self._text(row.job_id), self._text(row.step), self._text(row.url), self._text(row.error),
        )  # fmt: skip
        for column, value in zip(self._columns.values(), values, strict=True):
            column.append(value)

    def since(self, first: int) -> list[bytes]:
        """The columns from a change on."""
        return [column[first:].tobytes() for column in self._columns.values()]

    def _text(self, text: str | None) -> int:
        if not text:
            return 0
        number = self._known.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
        return number


class ReplayPlayer(Following):
    """
    Play, pause, seek and change speed over the executions of a batch. The browser holds the recording and needs no kernel.

    The marker's right end is live. While it is in the past, what happens now is recorded behind it and nothing is lost.

    Args:
        client: Where the events come from: ``ph.connect()``.
        batch_id: This batch; everything when not given.
        max_display: Rows in sight; it can be assigned later.
        polling_interval: Seconds between two looks when no stream gets through.

    Attributes:
        at: The moment at the marker, UTC; None while it is live, as ``at=None`` means now elsewhere. A trait: observe it,
            or assign a time with a zone to move the marker. Told a few times a second, once the kernel has time for it.

    Raises:
        TypeError, ValueError: an argument that it cannot use; the message says what to write.
    """

    _esm = built("replay_player.js")
    at = traitlets.Instance(datetime, allow_none=True).tag(sync=True, to_json=_to_us, from_json=_from_us)

    def __init__(
        self, client: Client, *, batch_id: str | None = None, max_display: int = 8, polling_interval: float = 5.0
    ) -> None:
        self._tape = _Tape()
        self._sent = self._sent_texts = 0
        self._is_cleared = False
        super().__init__(client, batch_id=batch_id, polling_interval=polling_interval, max_display=max_display)

    @traitlets.validate("at")  # type: ignore[untyped-decorator]  # traitlets has no types here
    def _check_at(self, proposal: dict[str, Any]) -> datetime | None:
        at: datetime | None = proposal["value"]
        if at is None:
            return None
        if at.tzinfo is None:
            raise ValueError(f"at={at} has no zone; write at.replace(tzinfo=datetime.UTC), or the zone that is meant")
        return at.astimezone(UTC)

    def _changed(self, place: int, row: Execution, event: Event) -> None:
        self._tape.append(event.timestamp, place, row)

    def _cleared(self) -> None:
        self._tape = _Tape()
        self._sent = self._sent_texts = 0
        self._is_cleared = True

    def _part(self) -> Part | None:
        if len(self._tape) == self._sent and not self._is_cleared:
            return None
        fields = {"first": self._sent, "firstText": self._sent_texts, "texts": self._tape.texts[self._sent_texts :]}
        buffers = self._tape.since(self._sent)
        self._sent, self._sent_texts = len(self._tape), len(self._tape.texts)
        self._is_cleared = False
        return fields, buffers

    def _rows(self) -> dict[str, Any]:
        whole = {"first": 0, "firstText": 0, "texts": self._tape.texts, "columns": self._tape.since(0)}
        return {"tape": whole, "length": len(self._tape)}

    def _extent(self) -> dict[str, Any]:
        return {"length": self._sent}
