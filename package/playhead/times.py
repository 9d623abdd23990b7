"""Times as they are written and read: RFC 3339 with a zone, microseconds, UTC, the years 1900-2261; and durations."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,18}))?)?(?:([Zz])|([+-])(\d\d):?(\d\d))\Z", re.ASCII
)
_NAIVE = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d([.,]\d+)?)?)?\Z", re.ASCII)
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|sec|m|min|h|d|w)\s*\Z")
_UNIT_S = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
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
        moment = datetime.fromtimestamp(0, UTC) + (value - datetime.fromtimestamp(0, UTC))
    elif isinstance(value, str):
        match = _TIME.match(value)
        if match is None:
            if _NAIVE.match(value):
                full = value if "T" in value or " " in value or "t" in value else f"{value}T00:00"
                raise ValueError(f"{name} {value!r} has no time zone: write {full}Z for UTC, or {full}+02:00")
            raise ValueError(f"{name} {value!r} is no RFC 3339 time: write it like 2026-11-23T18:00:00.123456Z")
        day, minute, second, fraction, zulu, sign, hours, minutes = match.groups()
        zone = "+00:00" if zulu else f"{sign}{hours}:{minutes}"
        text = f"{day}T{minute}:{second or '00'}.{(fraction or '0')[:6].ljust(6, '0')}{zone}"
        try:
            moment = datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{name} {value!r} is no time: {error}") from None
    else:
        raise ValueError(f"{name} must be RFC 3339 text such as 2026-11-23T18:00:00Z, not {type(value).__name__}")
    if not _EARLIEST <= moment < _LATEST:
        raise ValueError(f"{name} {value} is outside the years 1900-2261")
    return moment


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
