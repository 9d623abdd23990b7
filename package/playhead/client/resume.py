"""
What to do about a connection, decided without I/O: is there a gap, retry or give up, how long to wait.

The rule of the wire: ``from`` is at or before my cursor, or I reconnect; no event at or before my cursor is given on;
then my cursor is ``to``.
"""

from __future__ import annotations

import random
from typing import Literal

from playhead.client.status import Transport
from playhead.events import Cursor, Event

Verdict = Literal["take", "gap", "epoch"]
_FIRST_S, _MOST_S = 0.1, 10.0
DISCONNECTED_AFTER = 5  # attempts


def judge(mine: Cursor | None, start: Cursor) -> Verdict:
    """Whether a message that begins at ``start`` can be taken at my cursor."""
    if mine is None:
        return "take"
    if mine.epoch != start.epoch:
        return "epoch"
    return "take" if start.seq <= mine.seq else "gap"


def unseen(mine: Cursor | None, events: list[Event]) -> list[Event]:
    """The events past my cursor."""
    if mine is None or not events or events[0].seq > mine.seq:
        return events
    return [event for event in events if event.seq > mine.seq]


def next_transport(transport: Transport, attempt: int, *, is_unsuited: bool | None) -> Transport:
    """By what to try next: a step down when this one does not get through, the best again after other failures."""
    if is_unsuited or (is_unsuited is None and attempt > 2):
        return "sse" if transport == "websocket" else "polling"
    return "websocket" if attempt > 1 else transport


def wait_s(attempt: int, told_s: float | None = None) -> float:
    """Seconds before attempt ``attempt`` (from 1): exponential with full jitter, or what the server said."""
    if told_s is not None:
        return min(max(told_s, 0.0), 60.0)
    most: float = min(_MOST_S, _FIRST_S * 2 ** min(attempt - 1, 10))
    return most * random.uniform(0.5, 1.0)


def is_fatal(status: int) -> bool:
    """Whether trying again cannot help: the token or the request is wrong."""
    return status in (400, 401, 403, 404, 406)
