"""What every call of one server shares: its recording, live end, access and counters."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection

from playhead.errors import RecordingDamaged
from playhead.events import Cursor, NewEvent
from playhead.recording import Appended, Recording
from playhead_server.access import Access
from playhead_server.confirmations import Confirmations
from playhead_server.fanout import Fanout
from playhead_server.metrics import Metrics
from playhead_server.settings import Settings

if TYPE_CHECKING:
    from playhead_server.cluster.cluster import Cluster


@dataclass
class Service:
    """One server's parts; the app's state holds it."""

    settings: Settings
    recording: Recording
    access: Access
    fanout: Fanout
    confirmations: Confirmations
    metrics: Metrics
    started: float = field(default_factory=time.monotonic)
    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    sockets: int = 0
    streams: int = 0
    is_stopping: bool = False
    cluster: Cluster | None = None
    _oldest: tuple[Cursor, datetime] | None = field(default=None, init=False, repr=False)

    @property
    def trouble(self) -> str | None:
        """Why this server does less than it should at present; None when all is well."""
        return self.cluster.trouble if self.cluster is not None else None

    def state(self) -> dict[str, str]:
        """The same as clients are told."""
        return {"state": "ok"} if self.trouble is None else {"state": "degraded", "reason": self.trouble}

    def oldest_time(self) -> datetime | None:
        """When the oldest event held was stored; None when none is. Looked up only when it is another one."""
        oldest = self.recording.cursor(self.recording.oldest)
        if self._oldest is None or self._oldest[0] != oldest:
            try:
                found = self.recording.read(oldest.seq - 1, upto=oldest.seq, limit=1)
            except RecordingDamaged:  # which is among what is missing from now on
                return None
            self._oldest = (oldest, found[0].created_at) if found else None
        return self._oldest[1] if self._oldest is not None else None

    def submit(self, events: Sequence[NewEvent], organization_id: str | None) -> Future[Appended]:
        """Queue events for the log; as `Recording.submit`."""
        return (self.cluster or self.recording).submit(events, organization_id)

    def delete_older(self, than: datetime, organization_id: str | None) -> int:
        """Really delete older events, everywhere; as `Recording.delete_older`."""
        count = (self.cluster or self.recording).delete_older(than, organization_id)
        self.metrics.deleted.labels("asked").inc(count)
        return count

    def stop(self) -> None:
        """Let every reader go; what was submitted is still stored."""
        self.is_stopping = True
        self.fanout.close()


def service_of(connection: HTTPConnection) -> Service:
    """The service of a request or socket."""
    found: Service = connection.app.state.service
    return found
