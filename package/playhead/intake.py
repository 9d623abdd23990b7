"""
Many events to publish, validated together.

The rules are those of `playhead.events.new_event`. Nearly all groups keep them in the plainest way, which is seen a field
at a time for a fourth of what it costs event by event; any other group is validated one by one, which also tells what is
wrong with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from itertools import chain, repeat
from math import isfinite
from typing import Annotated, Any

import msgspec

from playhead.events import MAX_DATA, MAX_EVENTS, MAX_ID, Event, NewEvent, checked_data, new_event, seen_types, uuid7s
from playhead.times import now, parse_times

_FEW = 8  # a group is not worth it
_NONE = type(None)
_PLAIN = {str, int, float, bool, _NONE}
_ID = b"00000000-0000-0000-0000-000000000000"
_HEX = bytes.maketrans(b"123456789abcdef", b"000000000000000")
_encoder = msgspec.json.Encoder()
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID)]


class _Usual(msgspec.Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    """An event to publish as most are; what is ``Any`` is looked at in all of them together."""

    type: str
    id: Any = None
    timestamp: Any = None
    execution_id: _Name | None = None
    batch_id: _Name | None = None
    job_id: _Name | None = None
    organization_id: _Name | None = None
    data: Any = None
    seq: Any = None
    created_at: Any = None
    expires_at: Any = None


_decode = msgspec.json.Decoder(list[_Usual]).decode


def new_events(given: Iterable[Mapping[str, Any] | Event | NewEvent], *, is_json: bool = False) -> list[NewEvent]:
    """
    Validate the events of a request; ``is_json`` where they were read from JSON for it, so that nobody else holds them.

    Raises:
        InvalidEvent: naming the first event that breaks a rule, the field and what to write instead.
    """
    events: list[Any] = list(given)
    made = None
    if len(events) >= _FEW and set(map(type, events)) == {dict}:
        with contextlib.suppress(msgspec.ValidationError):
            made = _made(msgspec.convert(events, list[_Usual]), is_json)
    return made if made is not None else [new_event(fields, index) for index, fields in enumerate(events)]


def read_events(text: bytes) -> list[NewEvent] | None:
    """The same from the text of a JSON array; None where it is to be decoded and given to `new_events`, which tells why."""
    try:
        rows = _decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return _made(rows, is_json=True) if _FEW <= len(rows) <= MAX_EVENTS else None


def _made(rows: list[_Usual], is_json: bool) -> list[NewEvent] | None:
    """None where a rule may be broken or something is written in an unusual way."""
    kinds = [row.type for row in rows]
    names = (
        [row.execution_id for row in rows], [row.batch_id for row in rows], [row.job_id for row in rows],
        [row.organization_id for row in rows],
    )  # fmt: skip
    if not set(kinds) <= seen_types or not "".join(filter(None, chain(*names))).isascii():
        return None
    identities = [row.id for row in rows]
    is_fresh = set(map(type, identities)) == {_NONE}
    if not is_fresh and not _are_canonical(identities):
        return None
    times = [row.timestamp for row in rows]
    try:
        moments = [now()] * len(times) if set(map(type, times)) == {_NONE} else parse_times(times)
    except ValueError:
        return None
    datas = [row.data for row in rows]
    data = (_read(datas) if is_json else None) or _copies(datas)
    return list(
        map(NewEvent, uuid7s(len(rows)) if is_fresh else identities, kinds, moments, *names, data, repeat(is_fresh))
    )


def _are_canonical(values: list[Any]) -> bool:
    if set(map(type, values)) != {str} or set(map(len, values)) != {36}:
        return False
    text = "".join(values)
    return text.isascii() and text.encode().translate(_HEX) == _ID * len(values)


def _read(datas: list[Any]) -> list[dict[str, Any]] | None:
    """Each ``data`` that was read from JSON and has nothing nested in it, as it is; None where it must be looked at."""
    if not set(map(type, datas)) <= {dict, _NONE}:
        return None
    flat = [{} if data is None else data for data in datas]
    text = _encoder.encode_lines(flat)
    if text.count(b"{") > len(flat) or b"[" in text or b"null" in text or (b"\\" in text and b"\\u" in text):
        return None
    return flat if _is_small(text) else None


def _is_small(text: bytes) -> bool:
    """Whether no line is longer than a ``data`` may be."""
    return len(text) <= MAX_DATA or max(map(len, text.split(b"\n"))) <= MAX_DATA


def _copies(datas: list[Any]) -> list[dict[str, Any]]:
    """Each ``data`` as plain JSON values; flat ones, of which nothing is to be converted, are seen by all their types."""
    if set(map(type, datas)) <= {dict, _NONE}:
        flat = [{} if data is None else data for data in datas]
        kinds = set(map(type, chain.from_iterable(map(dict.values, flat))))
        if kinds <= _PLAIN and set(map(type, set(chain.from_iterable(flat)))) <= {str} and _is_json(flat, float in kinds):
            return list(map(dict.copy, flat))
    return [checked_data(data, index) for index, data in enumerate(datas)]


def _is_json(datas: list[dict[str, Any]], has_floats: bool) -> bool:
    try:
        text = _encoder.encode_lines(datas)
    except (TypeError, ValueError, OverflowError):
        return False
    if has_floats and b"null" in text:
        values = chain.from_iterable(map(dict.values, datas))
        if not all(isfinite(value) for value in values if type(value) is float):
            return False
    return _is_small(text)
