"""The application: which path is which call, and the life of what they share."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from playhead.errors import PlayheadError
from playhead.recording import Recording
from playhead.times import time_text
from playhead_server import history, page, problems, publish, sse, status, websocket
from playhead_server.access import Access
from playhead_server.cluster import peers
from playhead_server.confirmations import Confirmations
from playhead_server.fanout import Fanout
from playhead_server.service import Service, service_of
from playhead_server.settings import Settings

if TYPE_CHECKING:
    from playhead_server.cluster.cluster import Cluster

_log = logging.getLogger("playhead.server")
_HEADERS = ["Authorization", "X-Playhead-Token", "Content-Type", "Last-Event-ID"]


async def post_ticket(request: Request) -> Response:
    """``POST /api/tickets``."""
    service = service_of(request)
    grant = service.access.need(request, "read")
    ticket, end = service.access.ticket(grant)
    return JSONResponse({"ticket": ticket, "expiresAt": time_text(end)}, 201)


async def on_events(request: Request) -> Response:
    """``/api/events``: one route, so that a 405 names every method."""
    call = {"POST": publish.post_events, "DELETE": history.delete_events}.get(request.method, history.get_events)
    return await call(request)


ROUTES = [
    Route("/", page.get_page),
    Route("/api/events", on_events, methods=["POST", "GET", "DELETE"]),
    Route("/api/events/stream", sse.get_stream),
    WebSocketRoute("/api/events/ws", websocket.endpoint),
    Route("/api/executions", history.get_executions),
    Route("/api/batches", history.get_batches),
    Route("/api/replica", peers.get_rows),
    Route("/api/tickets", post_ticket, methods=["POST"]),
    Route("/api/stats", status.get_stats),
    Route("/api/openapi.json", status.get_openapi),
    Route("/metrics", status.get_metrics),
    Route("/healthz", status.get_healthz),
    Route("/readyz", status.get_readyz),
]


def create_app(settings: Settings, recording: Recording, access: Access, cluster: Cluster | None = None) -> Starlette:
    """The application over an open recording, and its part in a log of many servers; their owner closes them."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        fanout = Fanout(recording)
        service = Service(settings, recording, access, fanout, Confirmations(), cluster=cluster)
        app.state.service = service
        if cluster is not None:
            cluster.start(
                fanout, told=lambda: _tell(service),
                turned=lambda: websocket.stop_all(1012, "the log begins another epoch; come back with your cursor"),
            )  # fmt: skip
        sweeper = asyncio.create_task(_sweep(service))
        try:
            yield
        finally:
            service.stop()
            sweeper.cancel()
            await asyncio.gather(sweeper, return_exceptions=True)

    handlers = {
        PlayheadError: problems.on_error,
        problems.Problem: problems.on_error,
        ValueError: problems.on_error,
        HTTPException: problems.on_http_error,
        Exception: problems.on_error,
    }
    allowed = list(settings.allow_origins)
    cors = Middleware(
        CORSMiddleware, allow_origins=allowed, allow_methods=["GET", "POST", "DELETE"], allow_headers=_HEADERS,
        expose_headers=["X-Playhead-Cursor", "Retry-After"],
    )  # fmt: skip
    return Starlette(
        routes=ROUTES, lifespan=lifespan, exception_handlers=handlers, middleware=[cors] if allowed else []
    )


def _tell(service: Service) -> None:
    if service.trouble is None:
        service.fanout.forget_provisional()
    websocket.tell_all()


async def _sweep(service: Service) -> None:
    """Really delete what has expired, at the start and then every so often."""
    while True:
        try:
            count = await asyncio.to_thread(service.recording.sweep)
            if count:
                _log.info("%d expired events deleted", count)
        except Exception:
            _log.exception("the sweep failed; it is tried again")
        await asyncio.sleep(service.settings.sweep_s)
