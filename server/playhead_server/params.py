"""Query parameters: filters, positions, pages; one reading of them for HTTP, SSE and WebSocket."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from starlette.datastructures import QueryParams

from playhead.events import Cursor, Filter
from playhead.recording import Recording
from playhead.times import parse_time

FILTERS = ("executionId", "batchId", "jobId", "type", "since", "until")
_COMMA = re.compile(r"(?<!\\),")
_ZONE = re.compile(r"(\d\d:\d\d\S*) (\d\d:?\d\d)$")
_LONGEST_TIME = 64
_MOST = 10_000  # values of a parameter; a socket may hold a hundred filters
_CURSOR = re.compile(r"[A-Za-z0-9]{1,32}:\d{1,18}\Z")


def known(params: QueryParams, *names: str) -> None:
    """Refuse parameters that are not for this call, so that a misspelt filter is never silently ignored."""
    for name in params:
        if name not in names and name != "ticket":
            if name == "token":
                raise ValueError("no token in a url: send it as a header, or trade it for a ticket at POST /api/tickets")
            raise ValueError(f"unknown parameter {name[:80]!r}; this call takes {', '.join(names)}")


def several(params: QueryParams, name: str) -> list[str] | None:
    """Values of a parameter that may repeat or hold a comma list (``\\,`` is a comma); None when it is not there."""
    if name not in params:
        return None
    found = [part.replace("\\,", ",") for value in params.getlist(name) for part in _COMMA.split(value)]
    if not any(found):
        raise ValueError(f"{name} is empty, which matches nothing; leave it out to match everything")
    if len(found) > _MOST:
        raise ValueError(f"{name} has {len(found):,} values; it takes {_MOST:,}")
    return [value for value in found if value]


def single(params: QueryParams, name: str) -> str | None:
    """A parameter that may be given once."""
    values = params.getlist(name)
    if len(values) > 1:
        raise ValueError(f"{name} may be given once")
    return values[0] if values and values[0] else None


def time_of(text: str, name: str) -> datetime:
    """A time whose ``+`` may have arrived as a space."""
    # none is long; of a long text the expression would look at every part again and again
    return parse_time(_ZONE.sub(r"\1+\2", text) if len(text) <= _LONGEST_TIME else text, name)


def filter_of(params: QueryParams, organization_id: str | None) -> Filter:
    """The filter of a request, held to the organisation of its token."""
    since, until = single(params, "since"), single(params, "until")
    return Filter.make(
        execution_id=several(params, "executionId"),
        batch_id=several(params, "batchId"),
        job_id=several(params, "jobId"),
        type=several(params, "type"),
        since=None if since is None else time_of(since, "since"),
        until=None if until is None else time_of(until, "until"),
        organization_id=organization_id,
    )


def filter_of_message(given: object, organization_id: str | None) -> Filter:
    """The filter of a WebSocket subscription, an object with the names of the query parameters."""
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise ValueError("filter must be an object such as {\"batchId\": \"b\", \"type\": [\"job_failed\"]}")
    items: list[tuple[str, str]] = []
    for name, value in given.items():
        if name not in FILTERS:
            raise ValueError(f"unknown filter {str(name)[:80]!r}; it takes {', '.join(FILTERS)}")
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, str):
                raise ValueError(f"filter {name} takes strings")
            items.append((name, one.replace(",", "\\,")))
    return filter_of(QueryParams(items), organization_id)


def number(params: QueryParams, name: str, default: int | None, low: int, high: int) -> int | None:
    """A whole number in a range."""
    text = single(params, name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 15 or not low <= int(text) <= high:
        raise ValueError(f"{name} is a whole number from {low:,} to {high:,}, not {text[:40]!r}")
    return int(text)


def choice(params: QueryParams, name: str, allowed: Iterable[str], default: str) -> str:
    """One of a few words."""
    text = single(params, name) or default
    if text not in allowed:
        raise ValueError(f"{name} is one of {', '.join(allowed)}, not {text[:40]!r}")
    return text


def position(text: str | None, recording: Recording, default: str) -> int:
    """The seq that ``start``, ``now`` or a cursor stands for; raises CursorGone when it is not held any more."""
    text = text or default
    if text == "start":
        return recording.oldest - 1
    if text == "now":
        return recording.head
    return recording.check(Cursor.parse(text))


def moment(text: str | None, recording: Recording) -> Cursor | datetime | None:
    """``at``: a cursor (as it was known) or a time (as it happened)."""
    if text is None:
        return None
    if _CURSOR.match(text):
        cursor = Cursor.parse(text)
        recording.check(cursor)
        return cursor
    return time_of(text, "at")
