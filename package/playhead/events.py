"""
The event, the cursor and the filter: validated once at the edge, trusted after that.

An event on the wire (RFC 8259 JSON, RFC 3339 times)::

    {"seq": 1042, "id": "01932f6e-…", "type": "job_progress", "timestamp": "2026-11-23T18:00:00.123456Z",
     "executionId": "…", "batchId": "…", "jobId": "…", "organizationId": null,
     "data": {"currentStep": "Extracting data", "progressPercentage": 45},
     "createdAt": "2026-11-23T18:00:00.125001Z", "expiresAt": "2026-12-23T18:00:00.125001Z"}
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from math import isfinite
from typing import Any, Self

import msgspec

from playhead.errors import InvalidCursor, InvalidEvent
from playhead.times import now, parse_time, time_text

MAX_EVENTS = 10_000
MAX_BODY = 16 * 2**20
MAX_DATA = 64 * 1024
MAX_DEPTH = 64
MAX_ID = 256
START_TYPE = "job_started"
FAILURES = ("job_failed", "job_cancelled")  # the ends that tell an error
END_TYPES = ("job_completed", *FAILURES)
JOB_TYPES = ("job_queued", START_TYPE, "job_progress", "job_log", *END_TYPES)
KNOWN_TYPES = ("batch_started", "batch_completed", *JOB_TYPES)

_TYPE = re.compile(r"[a-z][a-z0-9_.:-]{0,63}\Z")
_EPOCH = re.compile(r"[A-Za-z0-9]{1,32}\Z")
_UUID = re.compile(r"(?:urn:uuid:)?\{?[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\}?\Z")
_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_FAR = 2**63
_MOST_TYPES = 1000
seen_types = set(KNOWN_TYPES)  # that are well formed
_uuid_lock = threading.Lock()
_uuid_last = 0
_random = random.Random()
_AT_ONCE = 128  # drawn: a call for each id would take longer than all else
_drawn: list[str] = []
_uuid_head = ""  # of the last one, while that is known
_VARIANT = bytes(0x80 | byte & 0x3F for byte in range(256))  # of the first of an id's last eight bytes
_TICKS = tuple(f"{ticks:03x}-" for ticks in range(4096))


def uuid7() -> str:
    """A UUIDv7 (RFC 9562, section 5.7), ascending within this process."""
    global _uuid_last, _uuid_head
    with _uuid_lock:
        if not _drawn:
            _drawn.extend(_draw(_AT_ONCE))
        ticks = time.time_ns() * 4096 // 1_000_000  # ms and 12 bits of its fraction
        if ticks <= _uuid_last:
            ticks = _uuid_last + 1
        if ticks >> 12 != _uuid_last >> 12 or not _uuid_head:
            _uuid_head = _head(ticks)
        _uuid_last = ticks
        return f"{_uuid_head}{_TICKS[ticks & 0xFFF]}{_drawn.pop()}"


def uuid7s(count: int) -> list[str]:
    """Several of them."""
    global _uuid_last, _uuid_head
    with _uuid_lock:
        first = max(time.time_ns() * 4096 // 1_000_000, _uuid_last + 1)
        _uuid_last, _uuid_head = first + count - 1, ""
        drawn = _draw(count)
    found: list[str] = []
    while len(found) < count:  # those of one millisecond begin alike
        ticks = first + len(found)
        head = _head(ticks)
        these = zip(_TICKS[ticks & 0xFFF : (ticks & 0xFFF) + count - len(found)], drawn[len(found) :], strict=False)
        found += [f"{head}{tick}{last}" for tick, last in these]
    return found


def _head(ticks: int) -> str:
    text = f"{ticks >> 12 & (2**48 - 1):012x}"
    return f"{text[:8]}-{text[8:]}-7"


def _draw(count: int) -> list[str]:
    """The last halves of ids, all of which are random."""
    drawn = bytearray(_random.randbytes(8 * count))
    drawn[::8] = drawn[::8].translate(_VARIANT)
    text = drawn.hex()
    return [f"{text[place : place + 4]}-{text[place + 4 : place + 16]}" for place in range(0, 16 * count, 16)]


def _in_child() -> None:
    global _uuid_lock
    _uuid_lock = threading.Lock()  # another thread of the parent may have held it
    _drawn.clear()
    _random.seed()  # or parent and child would draw the same ids


os.register_at_fork(after_in_child=_in_child)


class Cursor(msgspec.Struct, frozen=True, order=True):
    """A position in one log; exclusive: reading *after* it. ``str(cursor)`` is ``"<epoch>:<seq>"``."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"<epoch>:<seq>"``; raises InvalidCursor."""
        epoch, colon, digits = text.partition(":")
        if not colon or not _EPOCH.match(epoch) or not digits.isascii() or not digits.isdigit() or len(digits) > 18:
            raise InvalidCursor(text[:80], "write it as it was given, like 'k3f9:1041'")
        return cls(epoch, int(digits))


class Event(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, gc=False):
    """
    One fact about a job, as accepted into a log. Times are UTC with microseconds; ``data`` is a JSON object.

    ``expires_at`` is None where it was read from a frame or an export, which do not hold it.
    """

    seq: int
    id: str
    type: str
    timestamp: datetime
    execution_id: str | None
    batch_id: str | None
    job_id: str | None
    organization_id: str | None
    data: dict[str, Any]
    created_at: datetime
    expires_at: datetime | None = None

    def to_json(self) -> bytes:
        """The wire form."""
        return _encoder.encode(self)

    @classmethod
    def from_json(cls, text: bytes | str) -> Event:
        """Read the wire form as a server sends it."""
        return _decoder.decode(text)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Event)


class NewEvent(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """A validated event that has no place in a log yet."""

    id: str
    type: str
    timestamp: datetime
    execution_id: str | None
    batch_id: str | None
    job_id: str | None
    organization_id: str | None
    data: dict[str, Any]
    fresh_id: bool = False  # made here, so it cannot be in any log yet


_WIRE = {
    "id": "id", "type": "type", "timestamp": "timestamp", "executionId": "execution_id", "batchId": "batch_id",
    "jobId": "job_id", "organizationId": "organization_id", "data": "data", "seq": "", "createdAt": "", "expiresAt": "",
}  # fmt: skip
_WIRE_NAMES = frozenset(_WIRE)
_SNAKE = {snake: wire for wire, snake in _WIRE.items() if snake}
_SNAKE |= {"created_at": "createdAt", "expires_at": "expiresAt"}


def new_event(fields: Mapping[str, Any] | Event | NewEvent, index: int = 0) -> NewEvent:
    """
    Validate one event to publish; camelCase or snake_case keys, or an `Event` of another log.

    Args:
        fields: ``type`` is needed; ``id``, ``timestamp``, ``executionId``, ``batchId``, ``jobId``, ``data`` may be.
        index: Its place in the request, for the error.

    Raises:
        InvalidEvent: naming the field and what to write instead.
    """
    if isinstance(fields, NewEvent):
        return fields
    if isinstance(fields, Event):  # anybody can make one
        names = ("id", "type", "timestamp", "executionId", "batchId", "jobId", "organizationId", "data")
        fields = {name: getattr(fields, _WIRE[name]) for name in names}
    if not isinstance(fields, Mapping):
        raise InvalidEvent(index, None, f"an event is a JSON object, not {_json_name(fields)}")
    given = fields if fields.keys() <= _WIRE_NAMES else _renamed(fields, index)
    get = given.get
    kind = get("type")
    if not isinstance(kind, str) or kind not in seen_types:
        kind = _checked_type(kind, index)
    moment = get("timestamp")
    if moment is None:
        timestamp = now()
    else:
        try:
            timestamp = parse_time(moment, "timestamp")
        except ValueError as error:
            raise InvalidEvent(index, "timestamp", str(error)) from None
    identity = get("id")
    return NewEvent(
        uuid7() if identity is None else _identity(identity, index),
        kind,
        timestamp,
        _name(get("executionId"), "executionId", index),
        _name(get("batchId"), "batchId", index),
        _name(get("jobId"), "jobId", index),
        _name(get("organizationId"), "organizationId", index),
        checked_data(get("data"), index),
        identity is None,
    )


def _renamed(fields: Mapping[Any, Any], index: int) -> dict[str, Any]:
    """Fields by their names on the wire."""
    given: dict[str, Any] = {}
    for key, value in fields.items():
        wire = key if key in _WIRE else _SNAKE.get(key)
        if wire is None:
            raise InvalidEvent(index, str(key)[:80], "unknown field; put your own fields inside 'data'")
        given[wire] = value
    return given


def _checked_type(kind: object, index: int) -> str:
    if not isinstance(kind, str) or not _TYPE.match(kind):
        wanted = "write a string such as 'job_started' (a-z first, then a-z 0-9 _ . : -, at most 64 characters)"
        raise InvalidEvent(index, "type", f"missing; {wanted}" if kind is None else f"{str(kind)[:80]!r}: {wanted}")
    if len(seen_types) < _MOST_TYPES:
        seen_types.add(kind)
    return kind


def _identity(value: object, index: int) -> str:
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, str) and _UUID.match(value):
        return value if _CANONICAL.match(value) else str(uuid.UUID(value))
    raise InvalidEvent(index, "id", f"{str(value)[:80]!r} is no UUID; leave it out to have one made")


def _name(value: object, field: str, index: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidEvent(index, field, f"must be a string, not {_json_name(value)}")
    if not 1 <= len(value) <= MAX_ID:
        raise InvalidEvent(index, field, f"has {len(value)} characters; it takes 1 to {MAX_ID}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidEvent(index, field, "has half of a surrogate pair, which is no character") from None
    return value


def checked_data(data: object, index: int) -> dict[str, Any]:
    """``data`` as plain JSON values (tuples, dates and the like become what JSON has); raises InvalidEvent."""
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        raise InvalidEvent(index, "data", f"must be a JSON object, not {_json_name(data)}")
    if type(data) is dict and _is_plain(data):
        return data.copy()
    try:
        text = _encoder.encode(data)
        decoded: dict[str, Any] = msgspec.json.decode(text)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidEvent(index, "data", f"cannot be written as JSON: {error}") from None
    if len(text) > MAX_DATA:
        raise InvalidEvent(index, "data", f"is {len(text):,} bytes of JSON; it takes {MAX_DATA:,}")
    if text.count(b"{") + text.count(b"[") >= MAX_DEPTH and any(depth > MAX_DEPTH for _, depth in _walk(decoded)):
        raise InvalidEvent(index, "data", f"is nested deeper than {MAX_DEPTH} levels")
    if b"null" in text and any(isinstance(value, float) and not isfinite(value) for value, _ in _walk(data)):
        raise InvalidEvent(index, "data", "holds NaN or infinity, which JSON has not; send null or a string")
    return decoded


def _walk(value: object) -> Iterator[tuple[object, int]]:
    """Every value inside a value, with its depth."""
    left: list[tuple[object, int]] = [(value, 1)]
    while left:
        value, depth = left.pop()
        yield value, depth
        if isinstance(value, Mapping):
            left += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list | tuple):
            left += [(item, depth + 1) for item in value]


def _is_plain(data: dict[Any, Any]) -> bool:
    """Whether it is at a glance flat JSON far below the limit, as nearly all data is: then nothing is to be converted."""
    if len(data) > 64:
        return False
    size = 0
    for name, value in data.items():
        kind = type(value)
        if kind is str:
            if not value.isascii():
                return False
            size += len(value)
        elif kind is float or kind is int:
            if not -_FAR < value < _FAR:  # nor NaN
                return False
        elif value is not None and kind is not bool:
            return False
        if type(name) is not str or not name.isascii():
            return False
        size += len(name)
    return size < MAX_DATA // 8  # a letter takes six bytes at most, and 64 names and numbers the rest


def _json_name(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)


class Filter(msgspec.Struct, frozen=True):
    """What a reader wants: every name given must match; several values of one name are alternatives."""

    execution_id: tuple[str, ...] = ()
    batch_id: tuple[str, ...] = ()
    job_id: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    organization_id: str | None = None

    @classmethod
    def make(
        cls, *, execution_id: str | Iterable[str] | None = None, batch_id: str | Iterable[str] | None = None,
        job_id: str | Iterable[str] | None = None, type: str | Iterable[str] | None = None,
        since: datetime | str | None = None, until: datetime | str | None = None, organization_id: str | None = None,
    ) -> Filter:  # fmt: skip
        """Validate a filter: ids and types as one string or several; times with a zone, ``[since, until)``."""
        kinds = _several("type", type)
        for kind in kinds:
            if not _TYPE.match(kind):
                raise ValueError(f"type {kind[:80]!r} is no event type; write one such as 'job_failed'")
        start = None if since is None else parse_time(since, "since")
        end = None if until is None else parse_time(until, "until")
        return cls(
            _several("execution_id", execution_id), _several("batch_id", batch_id), _several("job_id", job_id),
            kinds, start, end, organization_id,
        )  # fmt: skip

    def matches(self, event: Event) -> bool:
        """Whether a reader with this filter is sent the event."""
        return (
            (not self.execution_id or event.execution_id in self.execution_id)
            and (not self.batch_id or event.batch_id in self.batch_id)
            and (not self.job_id or event.job_id in self.job_id)
            and (not self.type or event.type in self.type)
            and (self.since is None or event.timestamp >= self.since)
            and (self.until is None or event.timestamp < self.until)
            and (self.organization_id is None or event.organization_id == self.organization_id)
        )

    def describe(self) -> dict[str, Any]:
        """The names that are set, as plain JSON values."""
        names = ("execution_id", "batch_id", "job_id", "type")
        shown: dict[str, Any] = {name: list(values) for name in names if (values := getattr(self, name))}
        return shown | {name: time_text(value) for name in ("since", "until") if (value := getattr(self, name))}


def _several(name: str, value: str | Iterable[str] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    values = (value,) if isinstance(value, str) else tuple(value)
    if not values:
        raise ValueError(f"{name} is empty, which matches nothing; leave it out to match everything")
    for item in values:
        if not isinstance(item, str) or not 1 <= len(item) <= MAX_ID:
            raise ValueError(f"{name} takes strings of 1 to {MAX_ID} characters, not {str(item)[:80]!r}")
    return tuple(sorted(set(values)))
