"""History as pandas frames; each says where it came from in ``df.attrs["playhead"]``."""

from playhead.frames.executions import concurrency, executions
from playhead.frames.shape import events_frame, executions_frame

__all__ = ["concurrency", "events_frame", "executions", "executions_frame"]
