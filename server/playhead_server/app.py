"""The application: which path is which call, and the life of what they share."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from playhead.errors import PlayheadError
from playhead.recording import Recording
from playhead.times import time_text
from playhead_server import history, page, problems, publish, sse, status, websocket
from playhead_server.access import Access
from playhead_server.cluster import peers
from playhead_server.confirmations import Confirmations
from playhead_server.fanout import Fanout
from playhead_server.metrics import Metrics
from playhead_server.service import Service, service_of
from playhead_server.settings import Settings

if TYPE_CHECKING:
    from playhead_server.cluster.cluster import Cluster

_log = logging.getLogger("playhead.server")
_HEADERS = ["Authorization", "X-Playhead-Token", "Content-Type", "Last-Event-ID"]


async def post_ticket(request: Request) -> Response:
    """``POST /api/tickets``."""
    service = service_of(request)
    grant = await service.access.need(request, "read")
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
_PATHS: dict[object, str] = {route.endpoint: route.path for route in ROUTES if isinstance(route, Route)}


class _Counting:
    """Counts each request and times it until its answer begins; sockets pass by."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, has_begun = time.perf_counter(), False

        def count(status: int) -> None:
            call = _PATHS.get(scope.get("endpoint"), "other")
            scope["app"].state.service.metrics.request(call, scope["method"], status, time.perf_counter() - begun)

        async def sending(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                count(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception:
            if not has_begun:  # Starlette answers 500, outside of all middleware
                count(500)
            raise


def create_app(settings: Settings, recording: Recording, access: Access, cluster: Cluster | None = None) -> Starlette:
    """The application over an open recording, and its part in a log of many servers; their owner closes them."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        metrics = Metrics()
        fanout = Fanout(recording, metrics.delivery_lag.observe)
        service = Service(settings, recording, access, fanout, Confirmations(), metrics, cluster=cluster)
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
        routes=ROUTES, lifespan=lifespan, exception_handlers=handlers,
        middleware=[Middleware(_Counting), *([cors] if allowed else [])],
    )


def _tell(service: Service) -> None:
    if service.trouble is None:
        service.fanout.forget_provisional()
    websocket.tell_all()


async def _sweep(service: Service) -> None:
    """Really delete what has expired, at the start and then every so often, for a short retention more often."""
    pause_s = min(service.settings.sweep_s, max(1.0, service.settings.retention_s / 30))
    while True:
        try:
            count = await asyncio.to_thread(service.recording.sweep)
            service.metrics.deleted.labels("expired").inc(count)
            if count:
                _log.info("%d expired events deleted", count)
        except Exception:
            _log.exception("the sweep failed; it is tried again")
        await asyncio.sleep(pause_s)
