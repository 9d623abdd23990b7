"""Every call of the HTTP table, against a real server."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator

import httpx
import pyarrow as pa
import pyarrow.parquet
import pytest

from playhead_server.server import Running
from tests.conftest import TOKEN


@pytest.fixture
def http(server: Running) -> Iterator[httpx.Client]:
    """Calls with the token."""
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False) as client:
        yield client


def post(http: httpx.Client, events: object, kind: str = "application/json") -> httpx.Response:
    content = events if isinstance(events, bytes) else json.dumps(events).encode()
    return http.post("/api/events", content=content, headers={"Content-Type": kind})


def some(count: int) -> list[dict[str, object]]:
    return [{"type": "job_progress", "executionId": "X", "jobId": f"j{n % 3}", "data": {"n": n}} for n in range(count)]


def test_publish_and_page_through(http: httpx.Client) -> None:
    """201 says what was stored; pages by cursor give each event once; total only when asked."""
    answer = post(http, some(25))
    assert answer.status_code == 201
    assert {key: answer.json()[key] for key in ("accepted", "duplicates", "firstSeq", "lastSeq")} == {
        "accepted": 25, "duplicates": 0, "firstSeq": 1, "lastSeq": 25,
    }  # fmt: skip
    seen, after = [], None
    while True:
        query = {"executionId": "X", "limit": "10"} | ({"after": after} if after else {})
        page = http.get("/api/events", params=query).json()
        seen += [event["seq"] for event in page["events"]]
        assert "total" not in page["pagination"]
        after = page["pagination"]["nextCursor"]
        if not page["pagination"]["hasMore"]:
            break
    assert seen == list(range(1, 26))
    assert http.get("/api/events?jobId=j1,j2&total=true&limit=1").json()["pagination"]["total"] == 16
    newest = http.get("/api/events?order=desc&limit=2").json()
    assert [event["seq"] for event in newest["events"]] == [25, 24]
    older = http.get("/api/events", params={"order": "desc", "limit": "1", "after": newest["pagination"]["nextCursor"]}).json()
    assert older["events"][0]["seq"] == 23


def test_every_format_has_every_event(http: httpx.Client) -> None:
    """NDJSON, CSV, Arrow and Parquet stream all of it, with no default limit."""
    post(http, some(250))
    kinds = {
        "application/x-ndjson": lambda body: body.count(b"\n"),
        "text/csv": lambda body: body.count(b"\n") - 1,
        "application/vnd.apache.arrow.stream": lambda body: pa.ipc.open_stream(body).read_all().num_rows,
        "application/vnd.apache.parquet": lambda body: pyarrow.parquet.read_table(io.BytesIO(body)).num_rows,
    }
    for kind, count in kinds.items():
        answer = http.get("/api/events", headers={"Accept": kind})
        assert answer.headers["content-type"].startswith(kind)
        assert count(answer.content) == 250, kind
    again = post(http, http.get("/api/events?format=ndjson").content, "application/x-ndjson").json()
    assert (again["accepted"], again["duplicates"], again["firstSeq"]) == (250, 250, None)


@pytest.mark.parametrize(
    ("body", "kind", "status", "says"),
    [
        (b"{", "application/json", 400, "not JSON"),
        (b"7", "application/json", 400, "neither a JSON object nor an array"),
        (b'{"type": "a"}', "text/plain", 415, "cannot read"),
        (b'[{"type": "a"}, {"type": "A"}]', "application/json", 422, "a-z first"),
        (b'{"type": "a", "timestamp": "2026-01-01T00:00:00"}', "application/json", 422, "no time zone: write"),
        (b'{"type": "a", "nonsense": 1}', "application/json", 422, "inside 'data'"),
        (b'{"type": "a", "jobId": 7}', "application/json", 422, "must be a string"),
        (b'{"type": "a", "id": "7"}', "application/json", 422, "no UUID"),
        (b'{"type": "a", "data": {"x": "' + b"y" * 70_000 + b'"}}', "application/json", 422, "bytes of JSON"),
        (b"[" + b'{"type": "a"},' * 10_000 + b'{"type": "a"}]', "application/json", 413, "send several"),
        (b"[" * 100_000, "application/json", 400, "nested too deep"),
        (b'{"type": "a"}\n{"type": ', "application/x-ndjson", 400, "line 2"),
        (b'{"specversion": "1.0"}', "application/cloudevents+json", 422, "CloudEvents 1.0 needs it"),
    ],
)
def test_bad_input_is_told_what_to_write_and_stores_nothing(
    http: httpx.Client, body: bytes, kind: str, status: int, says: str
) -> None:
    """Problem+json with the right status; nothing of the request is stored."""
    answer = post(http, body, kind)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]
    if status == 422:
        assert set(answer.json()) >= {"index", "field"}
    assert http.get("/api/events").json()["events"] == []


@pytest.mark.parametrize(
    ("call", "status", "says"),
    [
        ("/api/events?limit=x", 400, "whole number"),
        ("/api/events?limit=10001", 400, "10,000"),
        ("/api/events?exectionId=7", 400, "unknown parameter"),
        ("/api/events?since=2026-01-01", 400, "no time zone"),
        ("/api/events?after=nonsense", 400, "no cursor"),
        ("/api/events?after=zzz:4", 410, "another log"),
        ("/api/events?format=xml", 406, "not to be had"),
        ("/api/executions?state=lost", 400, "none of"),
        ("/api/nothing", 404, "nothing is at"),
        ("/api/batches?at=1", 400, "unknown parameter"),
    ],
)
def test_bad_questions_are_answered_clearly(http: httpx.Client, call: str, status: int, says: str) -> None:
    """Each in the form of RFC 9457."""
    answer = http.get(call)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert says in answer.json()["detail"]


def test_access(server: Running) -> None:
    """No token and a bad token are 401, a foreign page is 403, health needs none; a ticket works once."""
    with httpx.Client(base_url=server.url, trust_env=False) as http:
        assert http.get("/api/events").status_code == 401
        assert http.get("/api/events", headers={"Authorization": "Bearer wrong-token"}).status_code == 401
        good = {"X-Playhead-Token": TOKEN}
        assert http.get("/api/events", headers=good).status_code == 200
        assert http.get("/api/events", headers=good | {"Origin": "https://evil.example"}).status_code == 403
        assert http.get("/healthz").status_code == http.get("/readyz").status_code == 200
        assert http.put("/api/events", headers=good).status_code == 405
        ticket = http.post("/api/tickets", headers=good).json()["ticket"]
        for status in (200, 401):
            with http.stream("GET", "/api/events/stream", params={"ticket": ticket}) as stream:
                assert stream.status_code == status
        assert TOKEN not in repr(server) + http.get("/metrics", headers=good).text


def test_executions_batches_and_deletion(http: httpx.Client) -> None:
    """State, past states, counts of newest attempts; DELETE really deletes."""
    story = ("job_started", "job_failed", "job_started", "job_completed")
    for second, kind in enumerate(story):
        moment = f"2026-01-01T00:00:0{second}Z"
        post(http, {"type": kind, "batchId": "b", "jobId": "j", "timestamp": moment, "data": {"error": "boom"}})
    rows = http.get("/api/executions").json()["executions"]
    assert [(row["attempt"], row["state"], row["durationMs"], row["error"]) for row in rows] == [
        (1, "failed", 1000.0, "boom"), (2, "completed", 1000.0, None),
    ]  # fmt: skip
    past = http.get("/api/executions", params={"at": "2026-01-01T00:00:02+00:00", "attempts": "last"}).json()
    assert [row["state"] for row in past["executions"]] == ["running"]
    batch = http.get("/api/batches").json()["batches"][0]
    assert (batch["batchId"], batch["counts"]["completed"], batch["executions"]) == ("b", 1, 1)
    assert http.delete("/api/events?olderThan=2026-01-01T00:00:02Z").json() == {"deleted": 2}
    assert http.get("/api/events?after=start&total=true").json()["pagination"]["total"] == 2
    assert http.delete("/api/events").status_code == 400


def test_server_sent_events_resume(http: httpx.Client) -> None:
    """`id:` is the cursor; Last-Event-ID goes on after it; a position of another log is a reset and then all."""
    epoch = post(http, some(5)).json()["cursor"].partition(":")[0]

    def read(headers: dict[str, str], count: int) -> list[str]:
        found: list[str] = []
        with http.stream("GET", "/api/events/stream?executionId=X", headers=headers) as stream:
            for line in stream.iter_lines():
                if line.startswith(("id:", "event:")):
                    found.append(line)
                if len(found) == count:
                    return found
        return found

    assert read({"Last-Event-ID": f"{epoch}:3"}, 2) == [f"id: {epoch}:4", f"id: {epoch}:5"]
    assert read({"Last-Event-ID": "zzz:3"}, 3) == ["event: reset", f"id: {epoch}:0", f"id: {epoch}:1"]
    later = threading.Timer(0.3, post, (http, some(1)))
    later.start()
    assert f"id: {epoch}:6" in read({"Last-Event-ID": f"{epoch}:5"}, 3)
    later.join()
