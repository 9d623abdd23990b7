"""History over HTTP: events in pages and whole, executions, batches, deletion."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from playhead.events import Cursor
from playhead.state import STATES
from playhead.times import duration_s
from playhead_server import formats, params
from playhead_server.service import service_of

_PAGE = 10_000
_encode = msgspec.json.Encoder().encode


async def get_events(request: Request) -> Response:
    """``GET /api/events``: pages of JSON, or everything asked for in another format."""
    service = service_of(request)
    grant = await service.access.need(request, "read")
    query, recording = request.query_params, service.recording
    params.known(query, *params.FILTERS, "at", "after", "limit", "offset", "order", "total", "format", "columns")
    name = formats.wanted(request, tuple(formats.FORMATS))
    where = params.filter_of(query, grant.organization_id)
    is_descending = params.choice(query, "order", ("asc", "desc"), "asc") == "desc"
    at = params.moment(params.single(query, "at"), recording)
    after_text = params.single(query, "after")
    after = params.position(after_text, recording, "start") if after_text or not is_descending else None
    offset = params.number(query, "offset", 0, 0, 10**12) or 0
    if name != "json":
        limit = params.number(query, "limit", None, 0, 10**12)
        columns = params.several(query, "columns") or []
        if columns and name == "ndjson":
            raise ValueError("NDJSON has whole events: leave columns out, or ask for arrow, parquet or csv")
        upto = min(recording.head, at.seq) if isinstance(at, Cursor) else recording.head
        reader = await asyncio.to_thread(
            recording.arrow, where, at=at, after=after, upto=upto, limit=limit, offset=offset, descending=is_descending,
            columns=columns,
        )
        cursor = str(recording.cursor(upto))
        return StreamingResponse(
            formats.pieces(name, reader, cursor),
            media_type=formats.FORMATS[name],
            headers={"X-Playhead-Cursor": cursor},
        )
    if params.single(query, "columns") is not None:
        raise ValueError("JSON has whole events: leave columns out, or ask for arrow, parquet or csv")
    limit = params.number(query, "limit", 100, 0, _PAGE)
    size = 100 if limit is None else limit
    is_counted = params.choice(query, "total", ("true", "false"), "false") == "true"

    def page() -> bytes:
        head = recording.head
        found = recording.read(
            after, upto=head, where=where, at=at, limit=size + 1, offset=offset, descending=is_descending
        )
        events, has_more = found[:size], len(found) > size
        if not has_more and after is not None and not is_descending:
            following: int | None = max(head, after)  # behind all that was looked at
        elif has_more and offset and size:
            # the next request has the same offset, so its start lies one page, and not the offset too, further on
            following = recording.read(after, where=where, at=at, limit=1, offset=size - 1, descending=is_descending)[0].seq
        else:
            following = events[-1].seq if events else after
        pagination: dict[str, Any] = {
            "limit": size,
            "offset": offset,
            "hasMore": has_more,
            "nextCursor": None if following is None else str(recording.cursor(following)),
        }
        if is_counted:
            pagination["total"] = recording.count(where, at)
        return _encode({"events": events, "pagination": pagination})

    return Response(await asyncio.to_thread(page), media_type="application/json")


async def delete_events(request: Request) -> Response:
    """``DELETE /api/events?olderThan=``: a time, or a duration back from now."""
    service = service_of(request)
    grant = await service.access.need(request, "admin")
    params.known(request.query_params, "olderThan")
    text = params.single(request.query_params, "olderThan")
    if text is None:
        raise ValueError("olderThan is missing: write a time such as 2026-11-01T00:00:00Z, or a duration such as 30d")
    try:
        than = datetime.now(UTC) - timedelta(seconds=duration_s(text))
    except ValueError:
        than = params.time_of(text, "olderThan")
    except OverflowError:
        raise ValueError(f"olderThan {text!r} is longer than there has been time") from None
    deleted = await asyncio.to_thread(service.delete_older, than, grant.organization_id)
    return JSONResponse({"deleted": deleted})


_ROW = {
    "execution_id": "executionId", "job_id": "jobId", "batch_id": "batchId", "site_name": "siteName",
    "site_url": "siteUrl", "first_seq": "firstSeq", "last_seq": "lastSeq",
}  # fmt: skip


async def get_executions(request: Request) -> Response:
    """``GET /api/executions``: one row an attempt."""
    service = service_of(request)
    grant = await service.access.need(request, "read")
    query, recording = request.query_params, service.recording
    params.known(query, *params.FILTERS, "state", "at", "attempts", "limit", "offset", "format")
    name = formats.wanted(request, ("json", "arrow"))
    where = params.filter_of(query, grant.organization_id)
    states = params.several(query, "state") or []
    for state in states:
        if state not in STATES:
            raise ValueError(f"state {state[:40]!r} is none of {', '.join(STATES)}")
    attempts = params.choice(query, "attempts", ("all", "last"), "all")
    head = recording.cursor()
    at = params.moment(params.single(query, "at"), recording)
    limit = params.number(query, "limit", None if name == "arrow" else 1000, 0, 10**12 if name == "arrow" else _PAGE)
    offset = params.number(query, "offset", 0, 0, 10**12) or 0
    answered = at if isinstance(at, Cursor) else head

    def ask() -> pa.Table:
        return recording.executions(
            where, states=states, at=at or head, attempts="last" if attempts == "last" else "all",
            limit=None if limit is None else limit + 1, offset=offset,
        )  # fmt: skip

    if name == "arrow":
        reader = (await asyncio.to_thread(ask)).slice(0, limit).to_reader()
        return StreamingResponse(
            formats.pieces("arrow", reader, str(answered)),
            media_type=formats.FORMATS["arrow"],
            headers={"X-Playhead-Cursor": str(answered)},
        )

    def page() -> bytes:
        table = ask()
        rows = []
        for row in table.slice(0, limit).to_pylist():
            duration = row.pop("duration")
            made = {_ROW.get(key, key): value for key, value in row.items()}
            rows.append(made | {"durationMs": None if duration is None else duration.total_seconds() * 1000})
        pagination = {"limit": limit, "offset": offset, "hasMore": table.num_rows > len(rows)}
        return _encode({"executions": rows, "at": str(answered), "pagination": pagination})

    return Response(await asyncio.to_thread(page), media_type="application/json")


async def get_batches(request: Request) -> Response:
    """``GET /api/batches``: newest first; all of them when no limit is given."""
    service = service_of(request)
    grant = await service.access.need(request, "read")
    query = request.query_params
    params.known(query, *params.FILTERS, "limit", "offset")
    where = params.filter_of(query, grant.organization_id)
    limit = params.number(query, "limit", None, 0, 10**9)
    offset = params.number(query, "offset", 0, 0, 10**12) or 0

    def page() -> bytes:
        found = service.recording.batches(where, limit=None if limit is None else limit + 1, offset=offset)
        shown = found[:limit]
        pagination = {"limit": limit, "offset": offset, "hasMore": len(found) > len(shown)}
        return _encode({"batches": shown, "pagination": pagination})

    return Response(await asyncio.to_thread(page), media_type="application/json")
