"""What a client knows of its connection, for people and widgets."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec


class ConnectionState(msgspec.Struct, frozen=True):
    """
    Attributes:
        state: Connected; reconnecting by itself; disconnected for good or for long.
        transport: What carries the events now, or did last.
        attempt: Tries since the connection was lost; 0 when connected.
        since: When this state began.
        detail: What happened and what to do; empty when all is well.
        lag_events: Events in the log past the last one seen; None when not known.
        lag_ms: Age of the newest event when it arrived; None before the first.
    """

    state: Literal["connected", "reconnecting", "disconnected"]
    transport: Literal["websocket", "sse", "polling", "recording"]
    attempt: int
    since: datetime
    detail: str = ""
    lag_events: int | None = None
    lag_ms: float | None = None
