"""Times as they are written and read: RFC 3339 with a zone, microseconds, UTC, the years 1900-2261; and durations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,18}))?)?(?:([Zz])|([+-])(\d\d):?(\d\d))\Z", re.ASCII
)
# the usual shape, as `time_text` writes it: every digit made a 0
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_USUAL = b"0000-00-00T00:00:00.000000Z"
_NAIVE = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d([.,]\d+)?)?)?\Z", re.ASCII)
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|sec|m|min|h|d|w)\s*\Z")
_UNIT_S = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_START = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
_LATEST = datetime(2262, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """The current time, UTC, microseconds."""
    return datetime.now(UTC)


def parse_time(value: object, name: str = "time") -> datetime:
    """
    An instant in UTC from a zoned datetime or RFC 3339 text; more than six decimals of a second are cut.

    Raises:
        ValueError: no zone, no time at all, or outside the years 1900-2261.
    """
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{name} has no time zone: write {value.isoformat()}Z for UTC, or pass tzinfo")
        try:
            moment = _START + (value - _START)
        except OverflowError:
            raise ValueError(f"{name} {value} is outside the years 1900-2261") from None
    elif isinstance(value, str):
        usual = _usual_times([value])
        moment = usual[0] if usual is not None else _other_time(value, name)
    else:
        raise ValueError(f"{name} must be RFC 3339 text such as 2026-11-23T18:00:00Z, not {type(value).__name__}")
    if not _EARLIEST <= moment < _LATEST:
        raise ValueError(f"{name} {value} is outside the years 1900-2261")
    return moment


def parse_times(values: Sequence[Any], name: str = "time") -> list[datetime]:
    """The same of many, quicker where all are written as `time_text` writes them."""
    kinds = set(map(type, values))
    if kinds == {str}:
        usual = _usual_times(values)
        if usual is not None and min(usual) >= _EARLIEST and max(usual) < _LATEST:
            return usual
    return [parse_time(value, name) for value in values]


def _usual_times(texts: Sequence[str]) -> list[datetime] | None:
    """What they say, if all of them are like ``2026-11-23T18:00:00.123456Z``."""
    text = "".join(texts)
    if set(map(len, texts)) != {27} or not text.isascii() or text.encode().translate(_ZEROS) != _USUAL * len(texts):
        return None
    try:
        return list(map(datetime.fromisoformat, texts))
    except ValueError:  # no such day
        return None


def _other_time(value: str, name: str) -> datetime:
    match = _TIME.match(value)
    if match is None:
        value = value if len(value) <= 64 else f"{value[:64]}…"  # said again in the error
        if _NAIVE.match(value):
            full = value if "T" in value or " " in value or "t" in value else f"{value}T00:00"
            raise ValueError(f"{name} {value!r} has no time zone: write {full}Z for UTC, or {full}+02:00")
        raise ValueError(f"{name} {value!r} is no RFC 3339 time: write it like 2026-11-23T18:00:00.123456Z")
    day, minute, second, fraction, zulu, sign, hours, minutes = match.groups()
    zone = "+00:00" if zulu else f"{sign}{hours}:{minutes}"
    text = f"{day}T{minute}:{second or '00'}.{(fraction or '0')[:6].ljust(6, '0')}{zone}"
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name} {value!r} is no time: {error}") from None


def time_text(moment: datetime) -> str:
    """RFC 3339 with six decimals and ``Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").rjust(26, "0") + "Z"


def duration_s(text: str) -> float:
    """Seconds in ``"30d"``, ``"12h"``, ``"90s"``, ``"5min"``, ``"250ms"``, ``"2w"``."""
    match = _DURATION.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no duration: write 30d, 12h, 5min or 90s")
    return float(match[1]) * _UNIT_S[match[2]]


def expiry(created: datetime, retention_s: float) -> datetime:
    """``createdAt`` plus retention, held inside the years that can be written."""
    return min(created + timedelta(seconds=min(retention_s, 6e9)), _LATEST - timedelta(microseconds=1))
