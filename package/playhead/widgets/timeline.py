"""`Timeline`: executions as bars over time."""

from __future__ import annotations

import traitlets

from playhead.client.api import Client
from playhead.widgets._arguments import checked_pixels
from playhead.widgets._live import built
from playhead.widgets._recorded import Recorded


class Timeline(Recorded):
    """
    Each attempt of a batch as a bar from its start to its end, as it was at the marker; above them how much happened when.

    Zoom by buttons, by + and - and by Ctrl with the wheel; pan by dragging and by the arrow keys; a click selects.

    Args:
        client: Where the events come from: ``ph.connect()``.
        batch_id: This batch; everything when not given.
        height: Pixels for the bars at most; it can be assigned later. What does not fit is scrolled to.
        polling_interval: Seconds between two looks when no stream gets through.

    Attributes:
        at: The moment at the marker, UTC; None while it is live.
        selected: The execution that was clicked, ``{"execution_id": …, "job_id": …}``, or None.

    Raises:
        TypeError, ValueError: an argument that it cannot use; the message says what to write.
    """

    _esm = built("timeline.js")
    height = traitlets.Int(240, min=40).tag(sync=True)

    def __init__(
        self, client: Client, *, batch_id: str | None = None, height: int = 240, polling_interval: float = 5.0
    ) -> None:
        pixels = checked_pixels(height)
        super().__init__(client, batch_id=batch_id, polling_interval=polling_interval, height=pixels)
