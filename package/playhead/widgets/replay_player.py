"""`ReplayPlayer`: a batch on a track; its right end is live, anywhere else is the past."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

import traitlets

from playhead.client.api import Client
from playhead.widgets._arguments import checked_rows, checked_side
from playhead.widgets._live import built
from playhead.widgets._recorded import Recorded

_US = timedelta(microseconds=1)


def _to_us(at: timedelta | None, widget: object = None) -> int | None:
    return None if at is None else at // _US


def _from_us(us: float | None, widget: object = None) -> timedelta | None:
    return None if us is None else int(us) * _US


class ReplayPlayer(Recorded):
    """
    Play, pause, seek and change speed over the executions of a batch. The browser holds the recording and needs no kernel.

    The marker's right end is live. While it is in the past, what happens now is recorded behind it and nothing is lost.
    Keys: space, arrows, comma and full stop for an event, n and p for failures, l for live; the track tells them all.

    Args:
        client: Where the events come from: ``ph.connect()``.
        batch_id: This batch; everything when not given.
        max_display: Rows in sight; it can be assigned later.
        polling_interval: Seconds between two looks when no stream gets through.

    Attributes:
        at: The moment at the marker, UTC; None while it is live, as ``at=None`` means now elsewhere. A trait: observe it,
            or assign a time with a zone to move the marker. Told a few times a second, once the kernel has time for it.
        selected: The execution that is open, ``{"execution_id": …, "job_id": …}``, or None; a trait too.

    Raises:
        TypeError, ValueError: an argument that it cannot use; the message says what to write.
    """

    _esm = built("replay_player.js")
    max_display = traitlets.Int(8, min=1).tag(sync=True)

    def __init__(
        self, client: Client, *, batch_id: str | None = None, max_display: int = 8, polling_interval: float = 5.0
    ) -> None:
        rows = checked_rows(max_display)
        super().__init__(client, batch_id=batch_id, polling_interval=polling_interval, max_display=rows)

    @classmethod
    def compare(
        cls, client: Client, one: str, other: str, *, by: Literal["batch", "execution"] = "batch", max_display: int = 8,
        polling_interval: float = 5.0,
    ) -> Comparison:  # fmt: skip
        """
        Two batches, or with ``by="execution"`` two executions, side by side under one marker, aligned at their start.

        Raises:
            TypeError, ValueError: an argument that it cannot use; the message says what to write.
        """
        return Comparison(client, one, other, by=by, max_display=max_display, polling_interval=polling_interval)


class Comparison(Recorded):
    """
    What `ReplayPlayer.compare` gives.

    Attributes:
        at: How long after their start both are shown, a timedelta; None while they are live. A trait: observe or assign it.
    """

    _esm = built("comparison.js")
    max_display = traitlets.Int(8, min=1).tag(sync=True)
    by = traitlets.Unicode("batch", read_only=True).tag(sync=True)
    sides = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    at = traitlets.Instance(timedelta, allow_none=True).tag(sync=True, to_json=_to_us, from_json=_from_us)

    def __init__(
        self, client: Client, one: str, other: str, *, by: str, max_display: int, polling_interval: float
    ) -> None:
        if by not in ("batch", "execution"):
            raise ValueError(f"by={by!r} is not known; write by='batch' or by='execution'")
        self._sides = [checked_side(one), checked_side(other)]
        if one == other:
            raise ValueError(f"{one!r} is compared with itself; name two")
        rows = checked_rows(max_display)
        where = {f"{by}_id": self._sides}
        super().__init__(client, where=where, polling_interval=polling_interval, max_display=rows)
        self.set_trait("by", by)

    @traitlets.default("sides")  # type: ignore[untyped-decorator]  # traitlets has no types here
    def _the_sides(self) -> list[str]:
        return self._sides

    @traitlets.validate("at")  # type: ignore[untyped-decorator]  # traitlets has no types here
    def _check_at(self, proposal: dict[str, Any]) -> Any:
        return proposal["value"]

    @property
    def _title(self) -> str:
        return " and ".join(self._sides)
