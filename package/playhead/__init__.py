"""playhead records what jobs do, streams it while it happens, and rewinds to any moment of it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "connect": "playhead.client",
    "Client": "playhead.client",
    "AsyncClient": "playhead.client",
    "Event": "playhead.events",
    "Cursor": "playhead.events",
    "Filter": "playhead.events",
    "PlayheadError": "playhead.errors",
    "Recording": "playhead.recording",
    "ConnectionStatus": "playhead.widgets",
    "LiveGrid": "playhead.widgets",
    "EventFeed": "playhead.widgets",
    "Timeline": "playhead.widgets",
    "ReplayPlayer": "playhead.widgets",
    "Dashboard": "playhead.widgets",
}
_MODULES = ("frames", "charts", "recording", "widgets", "events", "errors", "state", "client", "demo")

__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from playhead.client import AsyncClient as AsyncClient
    from playhead.client import Client as Client
    from playhead.client import connect as connect
    from playhead.errors import PlayheadError as PlayheadError
    from playhead.events import Cursor as Cursor
    from playhead.events import Event as Event
    from playhead.events import Filter as Filter
    from playhead.recording import Recording as Recording
    from playhead.widgets import ConnectionStatus as ConnectionStatus
    from playhead.widgets import Dashboard as Dashboard
    from playhead.widgets import EventFeed as EventFeed
    from playhead.widgets import LiveGrid as LiveGrid
    from playhead.widgets import ReplayPlayer as ReplayPlayer
    from playhead.widgets import Timeline as Timeline


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import playhead`` stays light."""
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name in _MODULES:
        value = import_module(f"playhead.{name}")
    else:
        raise AttributeError(f"module 'playhead' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})
