"""
History as pandas frames, and questions to them; each frame says where it came from in ``df.attrs["playhead"]``.

Every question takes events in log order, as ``client.events(…).to_pandas()`` gives them, and most an executions frame too; or a
Dask DataFrame of events, as ``dask.dataframe.read_parquet("night.playhead/archive")`` gives it, in any order.
"""

from playhead.frames.comparison import compare
from playhead.frames.durations import durations, retries, stalled, steps
from playhead.frames.errors import errors
from playhead.frames.executions import batches, executions, state_at
from playhead.frames.load import concurrency, throughput
from playhead.frames.paths import critical_path, event_log
from playhead.frames.shape import events_frame, executions_frame

__all__ = [
    "batches", "compare", "concurrency", "critical_path", "durations", "errors", "event_log", "events_frame", "executions",
    "executions_frame", "retries", "stalled", "state_at", "steps", "throughput",
]  # fmt: skip
