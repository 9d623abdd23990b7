"""
Pictures of a history, by Altair: each takes events, executions, or a query, and counts all of them.

What is too much to be drawn one by one is added up, exactly, and the subtitle says how; nothing is sampled. Times are UTC.
"""

from playhead.charts.amounts import comparison, durations, steps
from playhead.charts.chart import Chart
from playhead.charts.time import states, throughput, timeline

__all__ = ["Chart", "comparison", "durations", "states", "steps", "throughput", "timeline"]
