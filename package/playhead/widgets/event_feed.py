"""`EventFeed`: what happened, newest first."""

from __future__ import annotations

import traitlets

from playhead.client.api import Client
from playhead.widgets._arguments import checked_rows
from playhead.widgets._live import built
from playhead.widgets._recorded import Recorded


class EventFeed(Recorded):
    """
    The events of a batch as they come, newest first, with a search and a choice of kinds; what these leave out is counted.

    Args:
        client: Where the events come from: ``ph.connect()``.
        batch_id: This batch; everything when not given.
        max_display: Lines in sight; it can be assigned later. The others are scrolled to.
        polling_interval: Seconds between two looks when no stream gets through.

    Attributes:
        at: The events up to this moment are shown, UTC; None for all, live.
        selected: The execution of the event that was clicked, ``{"execution_id": …, "job_id": …}``, or None.

    Raises:
        TypeError, ValueError: an argument that it cannot use; the message says what to write.
    """

    _esm = built("event_feed.js")
    max_display = traitlets.Int(10, min=1).tag(sync=True)

    def __init__(
        self, client: Client, *, batch_id: str | None = None, max_display: int = 10, polling_interval: float = 5.0
    ) -> None:
        rows = checked_rows(max_display)
        super().__init__(client, batch_id=batch_id, polling_interval=polling_interval, max_display=rows)
