"""Live widgets: `ConnectionStatus`, `LiveGrid` and `ReplayPlayer`."""

from playhead.widgets.connection_status import ConnectionStatus
from playhead.widgets.live_grid import LiveGrid
from playhead.widgets.replay_player import ReplayPlayer

__all__ = ["ConnectionStatus", "LiveGrid", "ReplayPlayer"]
