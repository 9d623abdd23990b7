"""
Live widgets: `ConnectionStatus`, `LiveGrid`, `EventFeed`, `Timeline`, `ReplayPlayer` and `Dashboard`.

``js/`` holds their sources, ``static/`` what ``make front`` builds of them; only the latter is read here.
"""

from playhead.widgets.connection_status import ConnectionStatus
from playhead.widgets.dashboard import Dashboard
from playhead.widgets.event_feed import EventFeed
from playhead.widgets.live_grid import LiveGrid
from playhead.widgets.replay_player import ReplayPlayer
from playhead.widgets.timeline import Timeline

__all__ = ["ConnectionStatus", "Dashboard", "EventFeed", "LiveGrid", "ReplayPlayer", "Timeline"]
