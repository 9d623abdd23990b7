"""
Server-Sent Events: the feed as an `EventSource` reads it::

    id: k3f9:1042
    data: {"seq": 1042, …}

``id:`` is the cursor, so a browser resumes by itself with ``Last-Event-ID``. A heartbeat is a comment and an ``id:``
without data, which moves a filtered reader's cursor and dispatches nothing (HTML, section 9.2.6).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from functools import partial

from sse_starlette import EventSourceResponse
from starlette.requests import Request
from starlette.responses import Response

from playhead.errors import CursorGone
from playhead.events import Filter
from playhead_server import params
from playhead_server.access import Grant
from playhead_server.fanout import FeedClosed, Reader
from playhead_server.groups import Stretch
from playhead_server.service import Service, service_of

_SEND_TIMEOUT_S = 25.0
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_CHECK_S = 5.0  # a token that is revoked or over is noticed within so long, and a heartbeat


async def get_stream(request: Request) -> Response:
    """``GET /api/events/stream``."""
    service = service_of(request)
    grant = await service.access.need(request, "read", takes_ticket=True)
    query, recording = request.query_params, service.recording
    params.known(query, *params.FILTERS, "after")
    where = params.filter_of(query, grant.organization_id)
    after, reset = params.single(query, "after"), b""
    resumed = request.headers.get("last-event-id")
    if resumed:
        try:
            position = params.position(resumed, recording, "now")
        except CursorGone as gone:  # an EventSource would die of a 410
            position, reset = gone.oldest.seq, _reset(gone)
    else:
        position = params.position(after, recording, "now")
    if request.method == "HEAD":  # an answer without a body has no end of its own to wait for
        return Response(media_type="text/event-stream", headers=_HEADERS)
    return EventSourceResponse(
        _feed(service, grant, where, position, reset),
        ping=1_000_000,  # the feed's own heartbeats carry the cursor
        send_timeout=_SEND_TIMEOUT_S,
        headers=_HEADERS,
    )


def _reset(gone: CursorGone) -> bytes:
    facts = json.dumps({"reason": gone.reason, "oldest": str(gone.oldest)})
    return f"event: reset\nid: {gone.oldest}\ndata: {facts}\n\n".encode()


def _lines(epoch: str, stretch: Stretch) -> bytes:
    return b"".join(
        b"id: %b:%d\ndata: %b\n\n" % (epoch.encode(), seq, event)
        for seq, event in zip(stretch.seqs, stretch.events, strict=True)
    )


def _provisional(stretch: Stretch) -> bytes:
    """Without ids: no position moves, and each comes again with its own."""
    return b"".join(b"event: provisional\ndata: %b\n\n" % event for event in stretch.events)


def _status(service: Service) -> bytes:
    return f"event: status\ndata: {json.dumps(service.state())}\n\n".encode()


async def _feed(service: Service, grant: Grant, where: Filter, position: int, reset: bytes) -> AsyncIterator[bytes]:
    epoch, known = service.fanout.epoch, None  # all is well: what is otherwise is said
    reader = Reader(service.fanout, where, position)  # here, so that it is always closed again
    service.streams += 1
    try:
        yield reset + f"retry: 1000\n: from {epoch}:{reader.cursor}\n\n".encode()
        checked = time.monotonic()
        while True:
            if time.monotonic() - checked >= _CHECK_S:
                checked = time.monotonic()
                if not service.access.holds(grant):
                    return  # the next request says why
            if service.trouble != known:
                known = service.trouble
                yield _status(service)
            try:
                async with asyncio.timeout(service.settings.heartbeat_s):
                    stretch = await reader.next()
            except TimeoutError:
                yield f": heartbeat\nid: {epoch}:{reader.settle()}\n\n".encode()
                continue
            except FeedClosed:
                return
            except CursorGone as gone:
                yield _reset(gone)
                reader.close()
                reader = Reader(service.fanout, where, gone.oldest.seq)
                continue
            if stretch.provisional:
                yield stretch.form("sse", partial(_provisional, stretch))
            elif stretch.events:
                yield stretch.form("sse", partial(_lines, epoch, stretch))
    finally:
        service.streams -= 1
        reader.close()
