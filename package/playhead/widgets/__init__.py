"""
Live widgets: `ConnectionStatus`, `LiveGrid` and `ReplayPlayer`.

``js/`` holds their sources, ``static/`` what ``make front`` builds of them; only the latter is read here.
"""

from playhead.widgets.connection_status import ConnectionStatus
from playhead.widgets.live_grid import LiveGrid
from playhead.widgets.replay_player import ReplayPlayer

__all__ = ["ConnectionStatus", "LiveGrid", "ReplayPlayer"]
