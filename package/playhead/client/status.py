"""What a client knows of its connection, for people and widgets."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

State = Literal["connected", "reconnecting", "disconnected"]
Transport = Literal["websocket", "sse", "polling", "recording"]


class ConnectionState(msgspec.Struct, frozen=True):
    """
    How a reader is connected.

    Attributes:
        state: Connected; reconnecting by itself; disconnected for good or for long.
        transport: What carries the events now, or did last.
        attempt: Tries since the connection was lost; 0 when connected.
        since: When this state began, UTC.
        detail: What happened and what to do; empty when all is well.
        lag_ms: Milliseconds from an event's ``created_at`` until it arrived, of the newest one, by this machine's clock;
            None before the first.
        lag_events: How many numbers of the log, of all events, lie between what was read and the newest that the server
            spoke of; 0 for one that has caught up, None before it is known.
        degraded: Why the server is on its own while others share its log (Redis is away, say): what it takes in is safe,
            and gets its seq later; empty when all is well.
    """

    state: State
    transport: Transport
    attempt: int
    since: datetime
    detail: str = ""
    lag_ms: float | None = None
    lag_events: int | None = None
    degraded: str = ""
