"""What nobody should send: events, bodies, queries, requests and messages that were valid until something was replaced."""

from __future__ import annotations

import copy
import json
import random
import re
from typing import Any
from urllib.parse import quote, urlencode

from tests.conftest import TOKEN

IDS = ("executionId", "batchId", "jobId")
TYPES = ("batch_started", "job_queued", "job_started", "job_progress", "job_completed", "job_failed", "made.up-1")
NASTY: tuple[Any, ...] = (
    None, True, 0, -1, 2**53 + 1, 2**63, 2**64, 10**40, 1e308, -0.0, "", " ", "\0", "\n", "\x7f", "'", "\\", "\u202e",
    "\U0001f4a5", "é" * 200, "a" * 256, "a" * 257, "=cmd|' /C calc'!A0", "<script>alert(1)</script>", "../../etc/passwd",
    "%00%ff", "'; DROP TABLE a", "start", "now", "zzz:1", "a:999999999999999999", "2026-02-30T00:00:00Z",
    "1899-12-31T23:59:59Z", "2026-01-01T00:00:00", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "30d", "1e9d",
    "nan", "Infinity", "٣", [], {}, [[]], [None] * 20, {"a": {"b": [{"c": None}]}}, {"__proto__": 1},
    {"error": "a\0b", "progressPercentage": 1e-300}, {"progressPercentage": "50"},
)  # fmt: skip
PIECES = (
    b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"{", b"}", b"[" * 3000, b'"', b",", b"\r\n", b"\n", b"1e999",
    b"NaN", b"9" * 5000, b" ", b":", b"\xef\xbb\xbf", b'{"type":"a"}', b"null",
)  # fmt: skip
PATHS = (
    "/", "/api/events", "/api/events/", "/api/events/stream", "/api/executions", "/api/batches", "/api/replica", "/api/tickets",
    "/api/stats", "/api/openapi.json", "/metrics", "/healthz", "/readyz", "/api/events/ws", "/api/%00", "//", "/api/events%2f",
)  # fmt: skip
PARAMETERS = (
    *IDS, "type", "since", "until", "at", "after", "limit", "offset", "order", "total", "format", "columns", "state",
    "attempts", "epoch", "ticket", "olderthan",
)  # fmt: skip
HEADERS = ("Host", "Accept", "Origin", "Last-Event-ID", "Content-Type", "X-Playhead-Token", "Authorization")
KINDS = ("application/json", "application/x-ndjson", "application/cloudevents+json", "application/cloudevents-batch+json")


class Maker:
    """Makes what is sent, from a seed."""

    def __init__(self, seed: str) -> None:
        self.chance = random.Random(seed)

    def event(self) -> dict[str, Any]:
        """One that is valid."""
        made: dict[str, Any] = {"type": self.chance.choice(TYPES), "data": {"currentStep": "s", "n": self.chance.randrange(99)}}
        for name in self.chance.sample(IDS, self.chance.randrange(4)):
            made[name] = f"{name[0]}{self.chance.randrange(50)}"
        if self.chance.random() < 0.3:
            made["timestamp"] = f"2026-01-{self.chance.randrange(10, 28)}T00:00:00Z"
        if self.chance.random() < 0.1:  # some of them twice
            made["id"] = f"00000000-0000-4000-8000-{self.chance.randrange(500):012}"
        return made

    def bent(self, value: Any) -> Any:
        """A copy with something in it replaced, added or left out."""
        made = copy.deepcopy(value)
        place = made
        while True:
            if not isinstance(place, dict | list) or not place:
                return self.chance.choice(NASTY)
            key: Any = self.chance.choice(list(place)) if isinstance(place, dict) else self.chance.randrange(len(place))
            if isinstance(place[key], dict | list) and self.chance.random() < 0.6:
                place = place[key]
                continue
            how = self.chance.random()
            if how < 0.7:
                place[key] = self.chance.choice(NASTY)
            elif how < 0.85:
                del place[key]
            elif isinstance(place, dict):
                place[str(self.chance.choice(NASTY))[:300]] = self.chance.choice(NASTY)
            return made

    def cut(self, text: bytes) -> bytes:
        """Bytes with a stretch of them replaced."""
        start = self.chance.randrange(len(text) + 1)
        end = start + self.chance.choice((0, 0, 1, 2, 9))
        other = self.chance.choice((self.chance.choice(PIECES), self.chance.randbytes(3), text[:start]))
        return text[:start] + other + text[end:]

    def body(self) -> tuple[bytes, str]:
        """Of a request to publish, and its content type."""
        kind = self.chance.choice((KINDS[0], *KINDS))
        events: list[Any] = [self.event() for _ in range(self.chance.choice((1, 1, 3, 12)))]
        if "cloudevents" in kind:
            cloud = {"specversion": "1.0", "id": f"{self.chance.random()}", "source": "/a"}
            events = [cloud | {"type": one["type"], "data": one["data"]} for one in events]
        events = [self.bent(one) if self.chance.random() < 0.3 else one for one in events]
        if kind == "application/x-ndjson":
            text = b"\n".join(json.dumps(one).encode() for one in events)
        else:
            text = json.dumps(events if "batch" in kind or len(events) > 1 else events[0]).encode()
        return (self.cut(text) if self.chance.random() < 0.3 else text), kind

    def query(self) -> str:
        """Parameters, most of which some call takes."""
        usual = {
            "limit": "5", "order": "desc", "total": "true", "type": "job_started,job_failed", "since": "2026-01-12T00:00:00Z",
            "until": "2026-01-20T00:00:00+01:00", "format": "json", "state": "failed", "attempts": "last",
            "columns": "seq,data",
        }  # fmt: skip
        given = [("limit", "3")]
        for name in self.chance.sample(PARAMETERS, self.chance.randrange(4)):
            is_usual = self.chance.random() < 0.5
            given.append((name, usual.get(name, "x1") if is_usual else str(self.chance.choice(NASTY))))
        text = urlencode(given, errors="surrogatepass")
        return text if self.chance.random() < 0.8 else self.cut(text.encode()).decode("latin-1")

    def request(self) -> tuple[str, bytes, bool]:
        """Its kind, its bytes, and whether its frame is whole, so that others may follow on the connection."""
        how = self.chance.random()
        method, target, body, kind = "GET", self.chance.choice(PATHS), b"", KINDS[0]
        if how < 0.55:
            method, target = "POST", "/api/events"
            body, kind = self.body()
        elif how < 0.6:
            method, target = "DELETE", f"/api/events?olderThan=x{quote(str(self.chance.choice(NASTY)))}"
        elif how < 0.62:
            method = self.chance.choice(("HEAD", "PUT", "OPTIONS", "PATCH", "TRACE", "POST"))
        else:
            target = f"{target}?{self.query()}"
        target = "".join(letter if "!" <= letter <= "~" else quote(letter) for letter in target)
        headers = {"Host": "a", "X-Playhead-Token": TOKEN, "Content-Type": kind, "Content-Length": str(len(body))}
        if self.chance.random() < 0.1:
            headers[self.chance.choice(HEADERS)] = re.sub(r"[^\x20-\x7e\x80-\xff]", "?", str(self.chance.choice(NASTY))[:300])
        text = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        whole = text.encode("latin-1", "replace") + b"\r\n" + body
        if self.chance.random() < 0.04:
            return "raw", self.cut(whole), False
        return method, whole, method in ("GET", "POST", "DELETE") and "stream" not in target

    def message(self) -> bytes | str:
        """Of a WebSocket."""
        made: dict[str, Any] = self.chance.choice(
            (
                {"op": "publish", "id": "p", "events": [self.event() for _ in range(self.chance.choice((1, 2, 9)))]},
                {"op": "publish", "id": "p", "events": [self.event()]},
                {"op": "subscribe", "id": f"s{self.chance.randrange(9)}", "filter": {"batchId": "b1", "type": ["job_failed"]}},
                {"op": "subscribe", "id": "s", "filter": {"jobId": ["j1", "j2"]}, "after": "now"},
                {"op": "unsubscribe", "id": f"s{self.chance.randrange(9)}"},
                {"op": "auth", "token": "x"},
            )
        )
        if self.chance.random() < 0.5:
            made = self.bent(made)
        text = json.dumps(made)
        if self.chance.random() < 0.02:  # ends the socket
            return self.cut(text.encode())
        return text
