"""Every call of the HTTP table, against a real server."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import jwt
import pyarrow as pa
import pyarrow.parquet
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from websockets.sync.client import connect as connect_socket

import playhead as ph
from playhead_server.app import ROUTES
from playhead_server.formats import FORMATS
from playhead_server.server import Running, Settings, running
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


def test_pages_with_an_offset_go_on_with_everything_else_unchanged(http: httpx.Client) -> None:
    """`nextCursor` as `after`, the same offset again: each event once, up and down, and then what is new."""
    post(http, some(60))
    for order, wanted in (("asc", [*range(6, 61)]), ("desc", [*range(55, 0, -1)])):
        seen: list[int] = []
        after: dict[str, str] = {}
        while True:
            page = http.get("/api/events", params={"offset": "5", "limit": "7", "order": order} | after).json()
            seen += [event["seq"] for event in page["events"]]
            after = {"after": page["pagination"]["nextCursor"]}
            if not page["pagination"]["hasMore"]:
                break
        assert seen == wanted
    end = http.get("/api/events?jobId=j0&limit=1000").json()["pagination"]["nextCursor"]
    assert end.endswith(":60")  # behind all that was looked at, not at the last match
    post(http, some(1))
    assert [event["seq"] for event in http.get("/api/events", params={"jobId": "j0", "after": end}).json()["events"]] == [61]
    assert http.get("/api/events", params={"order": "desc", "after": end.replace(":60", ":0")}).json()["events"] == []


def test_cloudevents(http: httpx.Client) -> None:
    """Structured and batched; extensions are the ids, a foreign id becomes the same UUID each time, source is kept."""
    event = {
        "specversion": "1.0", "id": "A-1", "source": "/airflow", "type": "job_started", "time": "2026-01-01T00:00:00Z",
        "executionid": "e", "batchid": "b", "jobid": "j", "data": {"goal": "g"},
    }  # fmt: skip
    assert post(http, event, "application/cloudevents+json; charset=utf-8").status_code == 201
    again = post(http, [event, event | {"id": "A-2"}], "application/cloudevents-batch+json").json()
    assert (again["accepted"], again["duplicates"]) == (2, 1)
    found = http.get("/api/events?executionId=e&batchId=b&jobId=j").json()["events"]
    assert [one["data"] for one in found] == [{"goal": "g", "source": "/airflow"}] * 2
    assert found[0]["timestamp"] == "2026-01-01T00:00:00Z"


def test_the_same_request_twice_is_stored_once(http: httpx.Client) -> None:
    """By id; what was exported can be posted again; the cursor lies at or after what was meant."""
    event = {"type": "a", "id": "01932f6e-0000-7000-8000-000000000001"}
    first, second = post(http, event).json(), post(http, event).json()
    assert (first["accepted"], first["duplicates"], first["lastSeq"]) == (1, 0, 1)
    assert (second["accepted"], second["duplicates"], second["firstSeq"], second["cursor"]) == (1, 1, None, first["cursor"])
    exported = http.get("/api/events").json()["events"]
    assert post(http, exported).json()["duplicates"] == 1


def test_a_page_of_an_allowed_site_can_read_answers(tmp_path: Path) -> None:
    """CORS for the allow-list and nobody else."""
    settings = Settings(recording=tmp_path / "a.playhead", port=0, token=TOKEN, allow_origins=("https://lab.example",))
    with running(settings) as server, httpx.Client(base_url=server.url, trust_env=False) as http:
        asked = {"Origin": "https://lab.example", "Access-Control-Request-Method": "GET"}
        asked["Access-Control-Request-Headers"] = "x-playhead-token"
        assert http.options("/api/events", headers=asked).headers["access-control-allow-origin"] == "https://lab.example"
        headers = {"X-Playhead-Token": TOKEN, "Origin": "https://lab.example"}
        assert http.get("/api/events", headers=headers).headers["access-control-allow-origin"] == "https://lab.example"
        foreign = http.get("/api/events", headers=headers | {"Origin": "https://evil.example"})
        assert foreign.status_code == 403 and "access-control-allow-origin" not in foreign.headers


def test_jwts_hold_to_their_scopes_and_organisation(tmp_path: Path) -> None:
    """HS256 by secret, RS256 by JWKS: scopes, `org`, expiry; another algorithm or key is 401."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())) | {"kid": "k", "alg": "RS256"}
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [public]}))
    settings = Settings(
        recording=tmp_path / "a.playhead", port=0, token=TOKEN, jwt_secret="s" * 32, jwks=str(tmp_path / "jwks.json")
    )
    with running(settings) as server, httpx.Client(base_url=server.url, trust_env=False) as http:

        def status(method: str, token: str, path: str = "/api/events", **options: object) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            return http.request(method, path, headers=headers, **options).status_code  # type: ignore[arg-type]

        writer = jwt.encode({"scope": "publish", "org": "ours"}, "s" * 32, "HS256")
        reader = jwt.encode({"scope": "read", "org": "ours"}, key, "RS256", headers={"kid": "k"})
        other = jwt.encode({"scope": "read admin", "org": "theirs"}, "s" * 32, "HS256")
        assert status("POST", writer, json={"type": "a"}) == 201
        assert status("POST", writer, json={"type": "a", "organizationId": "theirs"}) == 422
        assert status("GET", writer) == status("POST", reader, json={"type": "a"}) == 403
        assert status("DELETE", reader, "/api/events?olderThan=0s") == 403
        for token, count in ((reader, 1), (other, 0), (TOKEN, 1)):
            events = http.get("/api/events", headers={"Authorization": f"Bearer {token}"}).json()["events"]
            assert len(events) == count
        assert http.delete("/api/events?olderThan=0s", headers={"Authorization": f"Bearer {other}"}).json() == {"deleted": 0}
        for bad in (
            jwt.encode({"scope": "read", "exp": 1}, "s" * 32, "HS256"),
            jwt.encode({"scope": "read"}, "t" * 32, "HS256"),
            jwt.encode({"scope": "read"}, None, "none"),
        ):
            assert status("GET", bad) == 401


def test_executions_in_pages_and_arrow(http: httpx.Client) -> None:
    """By state, limit and offset; Arrow has all of it; `at` says which position was answered."""
    post(http, [{"type": kind, "jobId": f"j{n}"} for n in range(5) for kind in ("job_started", "job_completed")][:-1])
    page = http.get("/api/executions?state=completed&limit=3").json()
    assert [row["jobId"] for row in page["executions"]] == ["j0", "j1", "j2"] and page["pagination"]["hasMore"]
    assert page["at"].endswith(":9")
    rest = http.get("/api/executions?state=completed&limit=3&offset=3").json()
    assert [row["jobId"] for row in rest["executions"]] == ["j3"] and not rest["pagination"]["hasMore"]
    past = http.get("/api/executions", params={"at": page["at"].replace(":9", ":2")}).json()
    assert [(row["jobId"], row["state"]) for row in past["executions"]] == [("j0", "completed")]
    answer = http.get("/api/executions", headers={"Accept": "application/vnd.apache.arrow.stream"})
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table["state"].to_pylist() == ["completed"] * 4 + ["running"]
    assert str(table.schema.field("duration").type) == "duration[us]"


def test_the_description_names_every_call(http: httpx.Client) -> None:
    """OpenAPI 3.1 with each route and method of the application."""
    described = http.get("/api/openapi.json").json()
    assert described["openapi"] == "3.1.0"
    for route in ROUTES:
        methods = {method.lower() for method in getattr(route, "methods", None) or {"GET"}} - {"head"}
        assert methods <= set(described["paths"][route.path])


def test_what_is_nested_too_deep_is_refused_and_harms_nobody(http: httpx.Client, server: Running) -> None:
    """422 in every form, nothing stored, the server and its readers go on."""
    deep = "[" * 900 + "]" * 900
    for text in (f'{{"x": {deep}}}', f'{{"pad": "{"y" * 40_000}", "x": {deep}}}', '{"a":' * 100 + "null" + "}" * 100):
        answer = post(http, f'{{"type": "a", "data": {text}}}'.encode())
        assert (answer.status_code, answer.json()["field"]) == (422, "data"), answer.text
        assert "nested deeper than 64" in answer.json()["detail"]
    assert post(http, {"type": "a", "data": {"x": [[1, None]]}}).status_code == 201
    assert http.get("/api/events?total=true").json()["pagination"]["total"] == 1


def test_an_empty_filter_is_no_filter_for_everything(http: httpx.Client) -> None:
    """`?batchId=` and an empty list are refused, so that an empty variable does not fetch the whole log."""
    assert "leave it out" in http.get("/api/events?batchId=").json()["detail"]
    with ph.connect() as client, pytest.raises(ValueError, match="leave it out"):
        client.events(batch_id=[])


def test_batches_are_all_there_with_their_own_times(http: httpx.Client) -> None:
    """No default limit; a filter chooses batches and changes nothing of what is said of them."""
    post(http, [{"type": "job_started", "jobId": "j", "batchId": f"b{n}"} for n in range(1200)])
    post(http, {"type": "job_completed", "jobId": "j", "batchId": "b7"})
    page = http.get("/api/batches").json()
    assert len(page["batches"]) == 1200 and not page["pagination"]["hasMore"]
    assert page["batches"][0]["batchId"] == "b1199"
    short = http.get("/api/batches?limit=5&offset=1195").json()
    assert [batch["batchId"] for batch in short["batches"]] == [f"b{n}" for n in (4, 3, 2, 1, 0)]
    one = http.get("/api/batches?batchId=b7&type=job_started").json()["batches"][0]
    assert one["first"] < one["last"] and one == http.get("/api/batches?batchId=b7").json()["batches"][0]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "json"), ("*", "json"), ("text/*", "csv"), ("application/json;q=0, */*", "ndjson"),
        ("text/csv;q=0.5, */*;q=0.1", "csv"),
    ],
)
def test_accept_as_http_says_it(http: httpx.Client, accept: str, kind: str) -> None:
    """RFC 9110: empty, short and weighted ranges."""
    assert http.get("/api/events", headers={"Accept": accept}).headers["content-type"].startswith(FORMATS[kind])


def test_a_method_that_is_not_there_names_those_that_are(http: httpx.Client) -> None:
    """405 with every method of the path."""
    answer = http.put("/api/events")
    assert answer.status_code == 405 and set(answer.headers["allow"].split(", ")) >= {"GET", "POST", "DELETE"}


def test_a_forged_token_is_refused_and_no_failure(tmp_path: Path) -> None:
    """An algorithm that does not fit the key, a scope that is none: 401, as any bad token."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())) | {"kid": "k", "alg": "ES256"}
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [public]}))
    settings = Settings(recording=tmp_path / "a.playhead", port=0, token=TOKEN, jwks=str(tmp_path / "jwks.json"))
    with running(settings) as server, httpx.Client(base_url=server.url, trust_env=False) as http:
        good = jwt.encode({"scope": "read"}, key, "ES256", headers={"kid": "k"})
        head, body, signature = good.split(".")
        forged = base64.urlsafe_b64encode(b'{"alg":"RS256","kid":"k"}').decode().rstrip("=")
        scopeless = jwt.encode({"scope": 5}, key, "ES256", headers={"kid": "k"})
        for token, status in ((good, 200), (f"{forged}.{body}.{signature}", 401), (scopeless, 401), (f"{head}.{body}.", 401)):
            assert http.get("/api/events", headers={"Authorization": f"Bearer {token}"}).status_code == status


def test_tickets_are_in_no_log(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    """Neither of a stream nor of a socket."""
    caplog.set_level("DEBUG", "uvicorn.error")
    with httpx.Client(base_url=server.url, headers={"X-Playhead-Token": TOKEN}, trust_env=False) as http:
        ticket = http.post("/api/tickets").json()["ticket"]
    with connect_socket(f"ws{server.url.removeprefix('http')}/api/events/ws?ticket={ticket}", proxy=None) as socket:
        assert '"welcome"' in socket.recv()
    assert "[accepted]" in caplog.text and ticket not in caplog.text
