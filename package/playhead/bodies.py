"""
Bodies of requests that carry events: JSON, NDJSON and CloudEvents 1.0 (structured and batched, JSON format).

A CloudEvent's ``time`` is the timestamp; ``executionid``, ``batchid`` and ``jobid`` are extensions; an ``id`` that is
no UUID becomes the UUIDv5 of source and id; ``source`` is kept in ``data.source`` (a field of that name in its data moves to
``data.dataSource``).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from playhead.errors import InvalidBody, InvalidEvent, TooLarge, UnsupportedMediaType
from playhead.events import MAX_BODY, MAX_EVENTS, NewEvent, new_event
from playhead.intake import new_events, read_events

MEDIA_TYPES = (
    "application/json",
    "application/x-ndjson",
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
)
_SPACE = uuid.UUID("6f8f1c52-2c0b-5c1e-9d59-6c5c9d9a7f01")


def parse_body(body: bytes, content_type: str) -> list[NewEvent]:
    """
    The events of a request, all validated.

    Raises:
        TooLarge: over 10,000 events or 16 MiB.
        InvalidBody: not the format that the content type says.
        InvalidEvent: an event breaks a rule; it has the index and the field.
        UnsupportedMediaType: a content type that is none of `MEDIA_TYPES`.
    """
    kind = content_type.partition(";")[0].strip().lower() or "application/json"
    reader = _READERS.get(kind)
    if reader is None:
        raise UnsupportedMediaType(f"cannot read {kind!r}; send one of {', '.join(MEDIA_TYPES)}")
    if len(body) > MAX_BODY:
        raise TooLarge(f"the body has {len(body):,} bytes; a request takes {MAX_BODY:,}: send several")
    if kind == "application/json" and (events := read_events(body)) is not None:
        return events
    found = reader(body)
    if kind == "application/cloudevents+json" and body.lstrip()[:1] == b"[":
        raise InvalidBody("an array is application/cloudevents-batch+json, not application/cloudevents+json")
    if "cloudevents" in kind:
        return [_from_cloud(fields, index) for index, fields in enumerate(_few_enough(found))]
    return new_events(_few_enough(found), is_json=True)


def parse_message(events: object) -> list[NewEvent]:
    """The same, of what a WebSocket's ``publish`` says; it was decoded with the rest of the message."""
    if not isinstance(events, list):
        raise InvalidBody("events is an array of JSON objects")
    return new_events(_few_enough(events), is_json=True)


def _few_enough(found: list[Any]) -> list[Any]:
    if len(found) > MAX_EVENTS:
        raise TooLarge(f"the request has {len(found):,} events; it takes {MAX_EVENTS:,}: send several")
    return found


def _decode(text: bytes, where: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except RecursionError:
        raise InvalidBody(f"{where} is nested too deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidBody(f"{where} is not JSON: {error}") from None


def _json(body: bytes) -> list[Any]:
    found = _decode(body, "the body")
    if isinstance(found, list):
        return found
    if isinstance(found, dict):
        return [found]
    raise InvalidBody("the body is neither a JSON object nor an array of them")


def _ndjson(body: bytes) -> list[Any]:
    lines = [(number, line) for number, line in enumerate(body.split(b"\n"), 1) if line.strip()]
    if len(lines) > MAX_EVENTS:
        raise TooLarge(f"the request has {len(lines):,} lines; it takes {MAX_EVENTS:,} events: send several")
    return [_decode(line, f"line {number}") for number, line in lines]


_READERS: dict[str, Callable[[bytes], list[Any]]] = {
    "application/json": _json,
    "application/x-ndjson": _ndjson,
    "application/cloudevents+json": _json,
    "application/cloudevents-batch+json": _json,
}


def _from_cloud(fields: object, index: int) -> NewEvent:
    if not isinstance(fields, Mapping):
        raise InvalidEvent(index, None, "a CloudEvent is a JSON object")
    for name in ("specversion", "id", "source", "type"):
        if not isinstance(fields.get(name), str) or not fields[name]:
            raise InvalidEvent(index, name, "CloudEvents 1.0 needs it, as a string")
    if fields["specversion"] != "1.0":
        raise InvalidEvent(index, "specversion", "only CloudEvents 1.0 can be read")
    try:
        identity = str(uuid.UUID(fields["id"]))
    except ValueError:
        identity = str(uuid.uuid5(_SPACE, f"{fields['source']}\n{fields['id']}"))
    data = fields.get("data")
    if "data_base64" in fields:
        raise InvalidEvent(index, "data_base64", "cannot be read; send 'data' as a JSON object")
    if data is None:
        data = {}
    if not isinstance(data, Mapping):
        raise InvalidEvent(index, "data", "must be a JSON object")
    moved = {"dataSource": data["source"]} if data.get("source", fields["source"]) != fields["source"] else {}
    return new_event(
        {
            "id": identity,
            "type": fields["type"],
            "timestamp": fields.get("time"),
            "executionId": fields.get("executionid"),
            "batchId": fields.get("batchid"),
            "jobId": fields.get("jobid"),
            "data": {**data, **moved, "source": fields["source"]},
        },
        index,
    )
