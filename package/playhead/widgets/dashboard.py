"""`Dashboard`: everything about a batch, or about all of them, under one marker."""

from __future__ import annotations

import traitlets

from playhead.client.api import Client
from playhead.widgets._arguments import checked_rows
from playhead.widgets._live import built
from playhead.widgets._recorded import Recorded


class Dashboard(Recorded):
    """
    Status, batch, figures, timeline, executions and events under one marker: what is shown is the state at the marker.

    Args:
        client: Where the events come from: ``ph.connect()``.
        batch_id: This batch; all of them, to pick one from, when not given.
        max_display: Rows of the grid and of the feed in sight; it can be assigned later.
        polling_interval: Seconds between two looks when no stream gets through.

    Attributes:
        at: The moment at the marker, UTC; None while it is live.
        selected: The execution that is open, ``{"execution_id": …, "job_id": …}``, or None.

    Raises:
        TypeError, ValueError: an argument that it cannot use; the message says what to write.
    """

    _esm = built("dashboard.js")
    max_display = traitlets.Int(8, min=1).tag(sync=True)

    def __init__(
        self, client: Client, *, batch_id: str | None = None, max_display: int = 8, polling_interval: float = 5.0
    ) -> None:
        rows = checked_rows(max_display)
        super().__init__(client, batch_id=batch_id, polling_interval=polling_interval, max_display=rows)
