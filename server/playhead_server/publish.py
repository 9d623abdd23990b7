"""Taking events in: ``POST /api/events`` and a socket's ``publish``; all or nothing, answered once on disk."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from playhead.bodies import parse_body
from playhead.errors import InvalidEvent, TooLarge
from playhead.events import MAX_BODY, NewEvent
from playhead.recording import Appended
from playhead_server.access import Grant
from playhead_server.problems import Problem
from playhead_server.service import Service, service_of

_INLINE = 32 * 1024


async def post_events(request: Request) -> Response:
    """``POST /api/events``."""
    service = service_of(request)
    grant = await service.access.need(request, "publish")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Problem(415, "send the body without Content-Encoding")
    body = await _body(request)
    kind = request.headers.get("content-type", "application/json")
    events = parse_body(body, kind) if len(body) <= _INLINE else await asyncio.to_thread(parse_body, body, kind)
    done = await store(service, grant, events)
    return JSONResponse(answer(done), 201)


async def store(service: Service, grant: Grant, events: list[NewEvent]) -> Appended:
    """Append a request's events for the organisation of the token, and wait until they are durable."""
    future = submit(service, grant, events)
    waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell() -> None:
        if not waiting.done():  # a client that has gone away does not take its events back
            waiting.set_result(None)

    service.confirmations.when(future, tell)
    await waiting
    return result(service, future)


def submit(service: Service, grant: Grant, events: list[NewEvent]) -> Future[Appended]:
    """Queue a request's events, behind all that were queued before."""
    own = {None, grant.organization_id}
    named = [event.organization_id for event in events]
    is_admin = grant.organization_id is None and "admin" in grant.scopes
    if not is_admin and not own.issuperset(named):
        service.refused += 1
        index = next(index for index, one in enumerate(named) if one not in own)
        raise InvalidEvent(index, "organizationId", "must be null or the token's own organisation")
    try:
        service.access.count(grant, len(events))
        future = service.submit(events, grant.organization_id)
    except Exception:
        service.refused += 1
        raise
    service.metrics.append(future)
    return future


def result(service: Service, future: Future[Appended]) -> Appended:
    """What became of a request that is done."""
    done = future.result()
    service.accepted += done.accepted
    service.duplicates += done.duplicates
    return done


def answer(done: Appended) -> dict[str, object]:
    """What a publisher is told."""
    told: dict[str, object] = {
        "accepted": done.accepted, "duplicates": done.duplicates, "firstSeq": done.first_seq, "lastSeq": done.last_seq,
        "cursor": str(done.cursor),
    }  # fmt: skip
    return told | {"provisional": True} if done.is_provisional else told


async def _body(request: Request) -> bytes:
    told = request.headers.get("content-length", "0")
    if told.isdigit() and int(told) > MAX_BODY:
        raise TooLarge(f"the body has {int(told):,} bytes; a request takes {MAX_BODY:,}: send several")
    parts = bytearray()
    try:
        async for part in request.stream():
            parts += part
            if len(parts) > MAX_BODY:
                raise TooLarge(f"the body has over {MAX_BODY:,} bytes: send several requests")
    except ClientDisconnect:  # nobody hears this, but it is no failure of the server
        raise Problem(400, "the connection ended before the body did") from None
    return bytes(parts)
