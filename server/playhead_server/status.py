"""What a server says about itself: health, figures for people, figures for Prometheus, the description of its calls."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from playhead import __version__
from playhead.events import Filter
from playhead_server.description import description
from playhead_server.metrics import own_text
from playhead_server.problems import Problem
from playhead_server.service import Service, service_of

_LEAST_FREE = 64 * 2**20


async def get_healthz(request: Request) -> Response:
    """``GET /healthz``: running."""
    return JSONResponse({"status": "ok"})


async def get_readyz(request: Request) -> Response:
    """``GET /readyz``: able to serve; 503 with the reason when not."""
    service = service_of(request)
    if (problem := _unready(service)) is not None:
        raise problem
    state = service.state()
    said = {"status": state.pop("state"), "cursor": str(service.recording.cursor())}
    return JSONResponse(said | state)  # a server on its own serves: it stays behind the balancer


def _unready(service: Service) -> Problem | None:
    """Why it cannot serve; None when it can."""
    if service.is_stopping:
        return Problem(503, "the server is stopping", {"Retry-After": "5"})
    if service.recording.failure is not None:
        return Problem(503, service.recording.failure, {"Retry-After": "5"})
    if shutil.disk_usage(service.recording.path).free < _LEAST_FREE:
        return Problem(503, "the disk of the recording is nearly full", {"Retry-After": "60"})
    return None


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
    """``GET /api/stats``: of an organisation's token its own events alone."""
    service = service_of(request)
    grant = await service.access.need(request, "read")
    if grant.organization_id is not None:
        return JSONResponse({"version": __version__} | await asyncio.to_thread(_own_figures, service, grant.organization_id))
    figures = await asyncio.to_thread(_figures, service)
    return JSONResponse({"version": __version__, "recording": service.recording.path.name} | figures)


def _own_figures(service: Service, organization_id: str) -> dict[str, Any]:
    """What an organisation may know: how many events it has, and the positions that its cursors tell it anyway."""
    recording = service.recording
    return {
        "organizationId": organization_id,
        "epoch": recording.epoch,
        "head": recording.head,
        "oldest": recording.oldest,
        "events": recording.count(Filter(organization_id=organization_id)),
    }


def measured(service: Service) -> dict[str, float]:
    """What Prometheus is told besides what was counted, by the keys of `metrics.READ`."""
    figures, recording = _figures(service), service.recording
    disk, oldest = shutil.disk_usage(recording.path), service.oldest_time()
    shared = {f"cluster.{key}": value for key, value in figures.get("cluster", {}).items()}
    told = figures | shared | {
        "missing": len(figures["missing"]),
        "diskFree": disk.free,
        "diskSize": disk.total,
        "retention": recording.retention_s,
        "isFailed": recording.failure is not None,
        "isReady": _unready(service) is None,
    } | ({"oldestTime": oldest.timestamp()} if oldest is not None else {})
    return {key: value for key, value in told.items() if isinstance(value, int | float)}


async def get_metrics(request: Request) -> Response:
    """``GET /metrics``: Prometheus text format 0.0.4; of an organisation's token its own events alone."""
    service = service_of(request)
    grant = await service.access.need(request, "read")
    if grant.organization_id is not None:
        own = await asyncio.to_thread(_own_figures, service, grant.organization_id)
        text = own_text({key: own[key] for key in ("events", "head")})
    else:
        text = service.metrics.text(await asyncio.to_thread(measured, service))
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


async def get_openapi(request: Request) -> Response:
    """``GET /api/openapi.json``."""
    await service_of(request).access.need(request, "read")
    return JSONResponse(description())
