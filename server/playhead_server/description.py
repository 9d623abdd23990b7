"""The calls of the server as OpenAPI 3.1: each parameter with what it takes, bodies, answers and refusals."""

from __future__ import annotations

from typing import Any

from playhead import __version__
from playhead.bodies import MEDIA_TYPES
from playhead.columns import FRAME
from playhead.events import MAX_EVENTS, MAX_ID
from playhead.state import STATES
from playhead_server.formats import FORMATS

_TEXT: dict[str, Any] = {"type": "string"}
_TIME: dict[str, Any] = {"type": "string", "format": "date-time"}
_OBJECT: dict[str, Any] = {"type": "object"}
_ARROW = {"application/vnd.apache.arrow.stream": {"schema": {"type": "string", "format": "binary"}}}
_CURSOR = {"type": "string", "pattern": "^[A-Za-z0-9]{1,32}:[0-9]{1,18}$"}
_POSITION = {"anyOf": [{"enum": ["start", "now"]}, _CURSOR]}
_MOMENT = {"anyOf": [_TIME, _CURSOR]}
_AGE = {"anyOf": [_TIME, {"type": "string", "pattern": "^[0-9]{1,4}(ms|s|min|h|d|w)$"}]}
_TYPE = {"type": "string", "pattern": "^[a-z][a-z0-9_.:-]{0,63}$"}
_ID = {"type": "string", "minLength": 1, "maxLength": MAX_ID}


def _number(low: int, high: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


_FILTERS: dict[str, tuple[str, Any]] = {
    "executionId": ("comma list", _list(_ID)),
    "batchId": ("comma list", _list(_ID)),
    "jobId": ("comma list", _list(_ID)),
    "type": ("comma list", _list(_TYPE)),
    "since": ("RFC 3339, inclusive", _TIME),
    "until": ("RFC 3339, exclusive", _TIME),
}
_FOLLOW = _FILTERS | {
    "after": ("start, now or a cursor", _POSITION),
    "ticket": ("a ticket in place of a token, for a browser", _TEXT),
}
_OFFSET: tuple[str, Any] = ("skip so many", _number(0, 10**12))
_AT: tuple[str, Any] = ("cursor or time", _MOMENT)
_EVENT = {
    "type": "object",
    "required": ["type"],
    "additionalProperties": False,
    "properties": {
        "type": _TYPE,
        "id": {"type": ["string", "null"], "format": "uuid"},
        "timestamp": {"type": ["string", "null"], "format": "date-time"},
        **{name: _ID | {"type": ["string", "null"]} for name in ("executionId", "batchId", "jobId", "organizationId")},
        "data": {"type": ["object", "null"]},
        **{name: {"description": "ignored"} for name in ("seq", "createdAt", "expiresAt")},
    },
}
_EVENTS = {"anyOf": [_EVENT, {"type": "array", "items": _EVENT, "maxItems": MAX_EVENTS}]}
_CLOUD = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"enum": ["1.0"]}, "id": _TEXT | {"minLength": 1}, "source": _TEXT | {"minLength": 1}, "type": _TYPE,
        "time": {"type": ["string", "null"], "format": "date-time"}, "data": {"type": ["object", "null"]},
        **{name: _ID | {"type": ["string", "null"]} for name in ("executionid", "batchid", "jobid")},
    },
}  # fmt: skip
_BODIES: dict[str, dict[str, Any]] = {
    "application/json": _EVENTS, "application/x-ndjson": _TEXT | {"description": "an event a line"},
    "application/cloudevents+json": _CLOUD,
    "application/cloudevents-batch+json": {"type": "array", "items": _CLOUD, "maxItems": MAX_EVENTS},
}  # fmt: skip
_PUBLISHED = {
    "accepted": _number(0, MAX_EVENTS), "duplicates": _number(0, MAX_EVENTS), "firstSeq": {"type": ["integer", "null"]},
    "lastSeq": {"type": ["integer", "null"]}, "cursor": _CURSOR,
}  # fmt: skip
_PAGE = {"pagination": _OBJECT}
_REFUSALS = {
    400: "a body or a parameter that cannot be read", 401: "no token, or one that is not known",
    403: "the token lacks the scope", 404: "nothing is there", 406: "a format that is not to be had",
    408: "the request was not whole in time",
    410: "the cursor is not held any more", 413: "over 10,000 events or 16 MiB", 415: "a content type that cannot be read",
    422: "a bad event, with index and field", 429: "the server is full, or the token has asked too much; Retry-After says when",
    431: "headers that are too large", 503: "the server cannot; Retry-After says when",
}  # fmt: skip
_ALWAYS = (400, 401, 403, 408, 429, 431, 503)


def _json(**properties: Any) -> dict[str, Any]:
    return {"application/json": {"schema": {"type": "object", "required": sorted(properties), "properties": properties}}}


def _call(
    summary: str, given: dict[str, tuple[str, Any]], answer: dict[str, Any], *refusals: int, status: int = 200,
    is_open: bool = False, body: dict[str, Any] | None = None, needed: tuple[str, ...] = (),
) -> dict[str, Any]:  # fmt: skip
    parameters = [
        {"name": name, "in": "query", "description": about, "required": name in needed, "schema": schema}
        | ({"style": "form", "explode": False} if schema.get("type") == "array" else {})
        for name, (about, schema) in given.items()
    ]
    refused = {str(one): {"$ref": f"#/components/responses/{one}"} for one in sorted({*_ALWAYS, *refusals})}
    answers = {str(status): {"description": summary, **answer}} | refused
    found = {"summary": summary, "parameters": parameters, "responses": answers}
    return found | ({"security": []} if is_open else {}) | ({"requestBody": body} if body else {})


def _said(content: dict[str, Any]) -> dict[str, Any]:
    return {"content": content}


_TABLES = {kind: {"schema": {"type": "string", "format": "binary"}} for name, kind in FORMATS.items() if name != "json"}
_BODY = {
    "required": True,
    "content": {kind: {"schema": _BODIES[kind]} for kind in MEDIA_TYPES},
}
_TICKET = _json(ticket=_TEXT, expiresAt=_TIME)
_PLAIN = {"text/plain": {"schema": _TEXT}}
_CALLS: dict[str, dict[str, Any]] = {
    "/": {"get": _call("A page for people", {}, _said({"text/html": {"schema": _TEXT}}), is_open=True)},
    "/api/events": {
        "get": _call(
            "History",
            _FILTERS | {
                "limit": ("at most so many; of JSON 10,000", _number(0, 10**12)), "offset": _OFFSET, "at": _AT,
                "after": ("start, now or a cursor; with order=desc the seqs below it", _POSITION),
                "order": ("by seq", {"enum": ["asc", "desc"]}), "total": ("count all, too", {"enum": ["true", "false"]}),
                "format": ("instead of Accept", {"enum": list(FORMATS)}),
                "columns": ("comma list, of arrow, parquet and csv", _list({"enum": list(FRAME)})),
            },
            _said(_json(events={"type": "array", "items": _OBJECT}, **_PAGE) | _TABLES), 406, 410,
        ),
        "post": _call("Publish events, all or none", {}, _said(_json(**_PUBLISHED)), 413, 415, 422, status=201, body=_BODY),
        "delete": _call(
            "Delete older events", {"olderThan": ("a time or a duration such as 30d", _AGE)},
            _said(_json(deleted=_number(0, 2**53))), needed=("olderThan",),
        ),
    },
    "/api/events/stream": {"get": _call("Server-Sent Events", _FOLLOW, _said({"text/event-stream": {"schema": _TEXT}}), 410)},
    "/api/events/ws": {"get": _call("WebSocket playhead.v1", _FOLLOW, {}, 404, status=101)},
    "/api/executions": {
        "get": _call(
            "Executions, one row an attempt",
            _FILTERS | {
                "limit": ("at most so many; of JSON 10,000", _number(0, 10**12)), "offset": _OFFSET, "at": _AT,
                "state": ("comma list", _list({"enum": list(STATES)})),
                "attempts": ("each, or the newest of a pair", {"enum": ["all", "last"]}),
                "format": ("instead of Accept", {"enum": ["json", "arrow"]}),
            },
            _said(_json(executions={"type": "array", "items": _OBJECT}, at=_TEXT, **_PAGE) | _ARROW), 406, 410,
        )
    },
    "/api/batches": {
        "get": _call(
            "Batches, newest first", _FILTERS | {"limit": ("at most so many", _number(0, 10**9)), "offset": _OFFSET},
            _said(_json(batches={"type": "array", "items": _OBJECT}, **_PAGE)),
        )
    },
    "/api/replica": {
        "get": _call(
            "Rows for another server of the same log",
            {
                "after": ("seq", _number(0, 10**15)), "limit": ("at most so many", _number(1, 100_000)),
                "epoch": ("of the log", _TEXT),
            },
            _said(_ARROW), 404, 410,
        )
    },
    "/api/tickets": {
        "post": _call("A one-use ticket of 30 s for a browser's stream or socket", {}, _said(_TICKET), status=201)
    },
    "/api/stats": {"get": _call("Figures for people", {}, _said(_json(version=_TEXT)))},
    "/api/openapi.json": {"get": _call("This description", {}, _said(_json(openapi=_TEXT)))},
    "/metrics": {"get": _call("Figures for Prometheus", {}, _said(_PLAIN))},
    "/healthz": {"get": _call("Running", {}, _said(_json(status=_TEXT)), is_open=True)},
    "/readyz": {"get": _call("Able to serve", {}, _said(_json(status=_TEXT, cursor=_CURSOR)), is_open=True)},
}  # fmt: skip


def description() -> dict[str, Any]:
    """The calls, with what all of them share."""
    problem = {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT, "index": {"type": "integer"},
            "field": {"type": ["string", "null"]},
        },
    }  # fmt: skip
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "playhead", "version": __version__},
        "paths": _CALLS,
        "components": {
            "schemas": {"Problem": problem, "Event": _EVENT},
            "responses": {str(status): {"description": about, "content": content} for status, about in _REFUSALS.items()},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-Playhead-Token"},
            },
        },
        "security": [{"token": []}, {"header": []}],
    }
