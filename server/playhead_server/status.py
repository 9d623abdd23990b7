"""What a server says about itself: health, figures for people, figures for Prometheus, the description of its calls."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from playhead import __version__
from playhead_server.problems import Problem
from playhead_server.service import Service, service_of

_LEAST_FREE = 64 * 2**20


async def get_healthz(request: Request) -> Response:
    """``GET /healthz``: running."""
    return JSONResponse({"status": "ok"})


async def get_readyz(request: Request) -> Response:
    """``GET /readyz``: able to serve; 503 with the reason when not."""
    service = service_of(request)
    if service.is_stopping:
        raise Problem(503, "the server is stopping", {"Retry-After": "5"})
    if service.recording.failure is not None:
        raise Problem(503, service.recording.failure, {"Retry-After": "5"})
    if shutil.disk_usage(service.recording.path).free < _LEAST_FREE:
        raise Problem(503, "the disk of the recording is nearly full", {"Retry-After": "60"})
    state = service.state()
    said = {"status": state.pop("state"), "cursor": str(service.recording.cursor())}
    return JSONResponse(said | state)  # a server on its own serves: it stays behind the balancer


def _figures(service: Service) -> dict[str, Any]:
    return service.recording.stats() | {
        "uptimeS": round(time.monotonic() - service.started, 1),
        "accepted": service.accepted,
        "duplicates": service.duplicates,
        "refused": service.refused,
        "delivered": service.fanout.delivered,
        "sockets": service.sockets,
        "streams": service.streams,
        "readers": service.fanout.readers,
    } | ({"cluster": service.cluster.figures()} if service.cluster is not None else {})


async def get_stats(request: Request) -> Response:
    """``GET /api/stats``."""
    service = service_of(request)
    service.access.need(request, "read")
    figures = await asyncio.to_thread(_figures, service)
    return JSONResponse({"version": __version__, "recording": service.recording.path.name} | figures)


_METRICS = {
    "accepted": ("counter", "playhead_events_accepted_total", "Events accepted."),
    "duplicates": ("counter", "playhead_events_duplicate_total", "Accepted events that were stored already."),
    "refused": ("counter", "playhead_requests_refused_total", "Publishing requests refused."),
    "delivered": ("counter", "playhead_events_delivered_total", "Events sent to readers."),
    "commits": ("counter", "playhead_commits_total", "Group commits."),
    "head": ("gauge", "playhead_head_seq", "Newest seq."),
    "events": ("gauge", "playhead_events_held", "Events held."),
    "segments": ("gauge", "playhead_segments", "Segment files."),
    "bytes": ("gauge", "playhead_recording_bytes", "Bytes on disk."),
    "waiting": ("gauge", "playhead_events_waiting", "Events that wait to be stored."),
    "sockets": ("gauge", "playhead_websockets", "Open WebSockets."),
    "streams": ("gauge", "playhead_streams", "Open event streams."),
    "cluster.isDegraded": ("gauge", "playhead_degraded", "1 while this server is on its own: Redis is away, say."),
    "cluster.outbox": ("gauge", "playhead_outbox_events", "Events that this server keeps until Redis takes them."),
    "cluster.head": ("gauge", "playhead_log_head_seq", "Newest seq of the log in Redis, as far as is known."),
    "cluster.lag": ("gauge", "playhead_log_lag_events", "Events of the log that are not in this server's recording yet."),
    "uptimeS": ("gauge", "playhead_uptime_seconds", "Seconds since the start."),
}


async def get_metrics(request: Request) -> Response:
    """``GET /metrics``: Prometheus text format 0.0.4."""
    service = service_of(request)
    service.access.need(request, "read")
    figures = await asyncio.to_thread(_figures, service)
    lines = []
    shared = figures.get("cluster", {})
    values = figures | {f"cluster.{key}": int(value) for key, value in shared.items() if isinstance(value, int)}
    for key, (kind, name, text) in _METRICS.items():
        if key in values:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", f"{name} {values[key]}"]
    return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


_FILTERS = {
    "executionId": "comma list", "batchId": "comma list", "jobId": "comma list", "type": "comma list",
    "since": "RFC 3339, inclusive", "until": "RFC 3339, exclusive",
}  # fmt: skip
_PAGE = {"limit": "at most so many", "offset": "skip so many"}
_CALLS: dict[str, dict[str, tuple[str, dict[str, str]]]] = {
    "/": {"get": ("A page of links", {})},
    "/api/events": {
        "get": (
            "History",
            _FILTERS | _PAGE | {"at": "cursor or time", "after": "cursor", "order": "asc or desc", "total": "true",
                                "format": "json, ndjson, csv, arrow, parquet",
                                "columns": "comma list, of arrow, parquet and csv"},
        ),
        "post": ("Publish events, all or none", {}),
        "delete": ("Delete older events", {"olderThan": "a time or a duration such as 30d"}),
    },
    "/api/events/stream": {"get": ("Server-Sent Events", _FILTERS | {"after": "start, now or a cursor"})},
    "/api/events/ws": {"get": ("WebSocket playhead.v1", _FILTERS | {"after": "start, now or a cursor"})},
    "/api/executions": {
        "get": (
            "Executions, one row an attempt",
            _FILTERS | _PAGE | {"state": "comma list", "at": "cursor or time", "attempts": "all or last",
                                "format": "json or arrow"},
        )
    },
    "/api/batches": {"get": ("Batches, newest first", _FILTERS | _PAGE)},
    "/api/replica": {
        "get": ("Rows for another server of the same log", {"after": "seq", "limit": "at most so many", "epoch": "of the log"})
    },
    "/api/tickets": {"post": ("A one-use ticket of 30 s for a browser's stream or socket", {})},
    "/api/stats": {"get": ("Figures for people", {})},
    "/api/openapi.json": {"get": ("This description", {})},
    "/metrics": {"get": ("Figures for Prometheus", {})},
    "/healthz": {"get": ("Running", {})},
    "/readyz": {"get": ("Able to serve", {})},
}  # fmt: skip


def description() -> dict[str, Any]:
    """The calls as OpenAPI 3.1."""
    failed = {"description": "An error", "content": {"application/problem+json": {"schema": {"type": "object"}}}}
    paths: dict[str, Any] = {}
    for path, methods in _CALLS.items():
        for method, (summary, given) in methods.items():
            status = "201" if method == "post" else "200"
            named = [
                {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
                for name, text in given.items()
            ]
            answers = {status: {"description": summary}, "default": failed}
            paths.setdefault(path, {})[method] = {"summary": summary, "parameters": named, "responses": answers}
    schemes = {"token": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "playhead", "version": __version__},
        "paths": paths,
        "components": {"securitySchemes": schemes},
        "security": [{"token": []}],
    }


async def get_openapi(request: Request) -> Response:
    """``GET /api/openapi.json``."""
    service_of(request).access.need(request, "read")
    return JSONResponse(description())
