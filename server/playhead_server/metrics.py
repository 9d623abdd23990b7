"""
The figures of ``GET /metrics``: their names, and a registry for each server, as several may run in one process.

What is counted when it happens (`Metrics`) costs an observation for a request, or for all that is handed out together, never
one for an event. What the server knows anyway is read when it is asked for (`READ`, whose keys are those of
`status.measured`). No label holds anything that a client chooses: neither ids nor organisations, and no path that is none.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from playhead import __version__
from playhead.recording import Appended

READ = {
    "accepted": ("counter", "playhead_events_accepted_total", "Events accepted."),
    "duplicates": ("counter", "playhead_events_duplicate_total", "Accepted events that were stored already."),
    "refused": ("counter", "playhead_requests_refused_total", "Publishing requests refused."),
    "delivered": ("counter", "playhead_events_delivered_total", "Events sent to readers."),
    "commits": ("counter", "playhead_commits_total", "Group commits."),
    "head": ("gauge", "playhead_head_seq", "Newest seq."),
    "events": ("gauge", "playhead_events_held", "Events held."),
    "segments": ("gauge", "playhead_segments", "Segment files."),
    "missing": ("gauge", "playhead_segments_missing", "Ranges of events that were stored and cannot be read."),
    "bytes": ("gauge", "playhead_recording_bytes", "Bytes on disk."),
    "diskFree": ("gauge", "playhead_disk_free_bytes", "Bytes that are free on the disk of the recording."),
    "diskSize": ("gauge", "playhead_disk_size_bytes", "Bytes that the disk of the recording has."),
    "oldestTime": ("gauge", "playhead_oldest_event_timestamp_seconds", "When the oldest event held was stored, since 1970."),
    "retention": ("gauge", "playhead_retention_seconds", "How long an event is kept."),
    "isFailed": ("gauge", "playhead_recording_failed", "1 while events cannot be stored."),
    "isReady": ("gauge", "playhead_ready", "1 while GET /readyz says so."),
    "waiting": ("gauge", "playhead_events_waiting", "Events that wait to be stored."),
    "sockets": ("gauge", "playhead_websockets", "Open WebSockets."),
    "streams": ("gauge", "playhead_streams", "Open event streams."),
    "readers": ("gauge", "playhead_readers", "Readers of live events; a WebSocket may have several."),
    "cluster.isDegraded": ("gauge", "playhead_degraded", "1 while this server is on its own: Redis is away, say."),
    "cluster.outbox": ("gauge", "playhead_outbox_events", "Events that this server keeps until Redis takes them."),
    "cluster.head": ("gauge", "playhead_log_head_seq", "Newest seq of the log in Redis, as far as is known."),
    "cluster.lag": ("gauge", "playhead_log_lag_events", "Events of the log that are not in this server's recording yet."),
    "uptimeS": ("gauge", "playhead_uptime_seconds", "Seconds since the start."),
}  # fmt: skip
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS"})
# from the start at 0: of a series that begins with its first error Prometheus sees no increase
_ERRORS = (400, 401, 403, 404, 405, 410, 413, 415, 422, 429, 500, 503)
_POINT_NOUGHT = re.compile(rb"\.0$", re.M)


class Metrics:
    """
    What one server counts as it happens; from any thread.

    Attributes:
        delivery_lag: A histogram of seconds, from when an event was stored to its being handed to readers.
        deleted: A counter of events, by ``why``: ``expired`` or ``asked``.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Info("playhead_build", "What runs.", registry=registry).info({"version": __version__})
        self._append = Histogram(
            "playhead_append_duration_seconds", "From when a request's events were taken until they were durable.",
            buckets=_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self.delivery_lag = Histogram(
            "playhead_delivery_lag_seconds",
            "From when an event was stored until it was handed to readers, of the oldest of those handed out together.",
            buckets=_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._requests = Counter(
            "playhead_requests", "Requests, by call, method and class of status; no WebSockets.",
            ("call", "method", "status"), registry=registry,
        )  # fmt: skip
        self._answers = Histogram(
            "playhead_request_duration_seconds", "Until the answer to a request began.", ("call", "method"),
            buckets=_BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._errors = Counter(
            "playhead_errors", "Requests, and messages of WebSockets, that were answered with an error.", ("status",),
            registry=registry,
        )  # fmt: skip
        self.deleted = Counter("playhead_events_deleted", "Events really deleted.", ("why",), registry=registry)
        for status in _ERRORS:
            self._errors.labels(status)
        for why in ("expired", "asked"):
            self.deleted.labels(why)

    def append(self, future: Future[Appended]) -> None:
        """Time a request's events from now until they are durable; what fails is an error and has no time."""
        begun = time.perf_counter()

        def done(future: Future[Appended]) -> None:
            if future.exception() is None:
                self._append.observe(time.perf_counter() - begun)

        future.add_done_callback(done)

    def request(self, call: str, method: str, status: int, duration_s: float) -> None:
        """Count a request to one of the calls, or to ``other``; that ``/readyz`` says no is no error."""
        method = method if method in _METHODS else "other"
        self._requests.labels(call, method, f"{status // 100}xx").inc()
        self._answers.labels(call, method).observe(duration_s)
        if status >= 400 and call != "/readyz":
            self.error(status)

    def error(self, status: int) -> None:
        """Count what was answered with an error."""
        self._errors.labels(status).inc()

    def text(self, measured: Mapping[str, float]) -> bytes:
        """All of it in Prometheus' text format 0.0.4, with what was measured just now; whole numbers as such."""
        return _text(_Shown(self._registry, measured))


def own_text(measured: Mapping[str, float]) -> bytes:
    """What was measured of one organisation, and nothing that was counted."""
    return _text(_Shown(CollectorRegistry(), measured))


def _text(shown: Collector) -> bytes:
    return _POINT_NOUGHT.sub(b"", generate_latest(shown))


class _Shown(Collector):
    """What was measured, and what was counted but for the time at which each counter was made."""

    def __init__(self, registry: CollectorRegistry, measured: Mapping[str, float]) -> None:
        self._registry, self._measured = registry, measured

    def collect(self) -> Iterable[Metric]:
        for key, (kind, name, text) in READ.items():
            if key in self._measured:
                family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
                yield family(name, text, value=self._measured[key])
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric
