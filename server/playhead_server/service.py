"""What every call of one server shares: its recording, live end, access and counters."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from playhead.recording import Recording
from playhead_server.access import Access
from playhead_server.confirmations import Confirmations
from playhead_server.fanout import Fanout
from playhead_server.settings import Settings


@dataclass
class Service:
    """One server's parts; the app's state holds it."""

    settings: Settings
    recording: Recording
    access: Access
    fanout: Fanout
    confirmations: Confirmations
    started: float = field(default_factory=time.monotonic)
    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    sockets: int = 0
    streams: int = 0
    is_stopping: bool = False

    def stop(self) -> None:
        """Let every reader go; what was submitted is still stored."""
        self.is_stopping = True
        self.fanout.close()


def service_of(connection: HTTPConnection) -> Service:
    """The service of a request or socket."""
    found: Service = connection.app.state.service
    return found
