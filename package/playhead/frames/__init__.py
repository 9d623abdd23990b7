"""History as pandas frames; each says where it came from in ``df.attrs["playhead"]``."""

from playhead.frames.shape import concurrency, events_frame, executions_frame

__all__ = ["concurrency", "events_frame", "executions_frame"]
