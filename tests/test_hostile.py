"""What nobody should send: a server answers all of it, says what is wrong with it, lets it take little, and goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from playhead_server import connections
from playhead_server.description import description
from playhead_server.server import Running
from tests import fuzz
from tests.conftest import TOKEN, Process, process
from tests.mutations import NASTY, Maker

ACCESS = {"X-Playhead-Token": TOKEN}


class Target(NamedTuple):
    """A server that nothing may disturb, and what it writes to its log."""

    server: Process
    log: Path

    @property
    def port(self) -> int:
        return self.server.port


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One server for all of it; at the end there is no traceback in its log, and it still ends well."""
    folder = tmp_path_factory.mktemp("hostile")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if most != resource.RLIM_INFINITY else 8192, most))
    with (folder / "log").open("w") as log, process(folder / "a.playhead", stderr=log) as server:
        with httpx.Client(base_url=server.url, headers=ACCESS, trust_env=False) as client:
            client.post("/api/events", json=[Maker(str(n)).event() for n in range(50)]).raise_for_status()
            yield Target(server, folder / "log")
            assert client.get("/readyz").status_code == 200
        assert server.end()[0] == 0
    said = (folder / "log").read_text()
    assert not re.search(r"Traceback|^ERROR|^CRITICAL", said, re.M), said[-3000:]


@pytest.fixture
def http(target: Target) -> Iterator[httpx.Client]:
    """Calls with the token."""
    with httpx.Client(base_url=target.server.url, headers=ACCESS, trust_env=False, timeout=30) as client:
        yield client


def raw(target: Target | Running, *parts: bytes, wait_s: float = 5) -> bytes:
    """Send bytes as they are, and read all that comes until the server closes, or a while."""
    port = int(target.url.rpartition(":")[2]) if isinstance(target, Running) else target.port
    found = b""  # of a connection that is reset, nothing
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as sock, contextlib.suppress(OSError):
        for part in parts:
            sock.sendall(part)
        while piece := sock.recv(65536):
            found += piece
    return found


def is_refusal(answer: bytes, status: int) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    is_problem = head.startswith(b"HTTP/1.1 %d " % status) and b"content-type: application/problem+json" in head.lower()
    return is_problem and json.loads(body)["status"] == status


# What the description says


def values_of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a schema of the description allows."""
    if "anyOf" in schema:
        return st.one_of(*map(values_of, schema["anyOf"]))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("format") == "date-time":
        return st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat())
    if schema["type"] == "array":
        return st.lists(values_of(schema["items"]), min_size=1, max_size=3).map(lambda found: ",".join(map(str, found)))
    if schema["type"] == "integer":
        return st.integers(schema["minimum"], schema["maximum"])
    return st.from_regex(schema["pattern"], fullmatch=True) if "pattern" in schema else st.text(max_size=20)


CALLS = [(path, method, call) for path, methods in description()["paths"].items() for method, call in methods.items()]
Asked = tuple[str, str, dict[str, Any], str, int]
WRONG = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(NASTY).map(str)


@st.composite
def requests(draw: st.DrawFn) -> Asked:
    """A call of the description with parameters as it allows them, or not."""
    path, method, call = draw(st.sampled_from(CALLS))
    given_here = draw(st.lists(st.sampled_from(call["parameters"]), max_size=4)) if call["parameters"] else []
    values = [(one["name"], draw(values_of(one["schema"]) if draw(st.booleans()) else WRONG)) for one in given_here]
    if method == "delete":  # what the others ask about stays
        values = [("olderThan", draw(WRONG))]
    return path, method.upper(), call, urlencode([(name, str(value)) for name, value in values]), draw(st.integers(0, 2**32))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(requests())
def test_every_answer_is_one_that_the_description_has(http: httpx.Client, asked: Asked) -> None:
    """Each call, with parameters right and wrong: a status and a content type of the description; an error is problem+json."""
    path, method, call, query, seed = asked
    body, kind = Maker(str(seed)).body() if method == "POST" else (b"", "application/json")
    with http.stream(method, f"{path}?{query}", content=body, headers={"Content-Type": kind}) as answer:
        answers = call["responses"] | ({"404": {}} if "ws" in path or "replica" in path else {})
        assert str(answer.status_code) in answers, f"{answer.status_code} to {method} {path}?{query}"
        found = answer.headers["content-type"].partition(";")[0]
        if answer.status_code >= 400:
            assert found == "application/problem+json"
            problem = json.loads(answer.read())
            assert problem["status"] == answer.status_code and 5 < len(problem["detail"]) < 1000
        elif answer.status_code != 201:
            assert found in answers[str(answer.status_code)]["content"]


def test_what_was_fuzzed_at_length_in_short(target: Target) -> None:
    """A thousand requests and messages of ``make fuzz``."""
    found = fuzz.Found()
    asyncio.run(fuzz.send(target.server, found, 1500, "suite"))
    assert list(fuzz.check(target.server, found)) == []


# Too large


def test_a_body_that_is_too_large_is_refused(target: Target, http: httpx.Client) -> None:
    """By its length before it is read; without one as soon as it has too much; nothing is kept of it."""
    before = fuzz.resident(target.server)
    head = b"POST /api/events HTTP/1.1\r\nHost: a\r\nX-Playhead-Token: %b\r\nConnection: close\r\n" % TOKEN.encode()
    assert is_refusal(raw(target, head + b"Content-Length: 99999999999\r\n\r\n[", wait_s=2), 413)
    chunk = b"100000\r\n" + b" " * 2**20 + b"\r\n"
    assert b" 413 " in raw(target, head + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 17, wait_s=2)[:20]
    for deep in (b"[" * 2**20, b'{"a":' * 2**18, b'[{"type":"a","data":' + b'{"a":' * 70 + b"1" + b"}" * 70 + b"}]"):
        answer = http.post("/api/events", content=deep, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422) and "deep" in answer.json()["detail"]
    assert fuzz.resident(target.server) - before < 100 * 2**20


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(101)) + b"\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(10**6)),
        b"GET / HTTP/1.1\r\nA: " + b"b" * 2**20,
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 2**20,
        b"\r\n" * 2**20,
        b"GET /api/events/ws?a=" + b"a" * 9000 + b" HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"POST /api/events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 10**5,
    ],
    ids=["101 headers", "a million", "long header", "long path", "endless path", "no request", "path of a socket", "trailers"],
)  # fmt: skip
def test_a_head_that_is_too_large_is_refused(target: Target, head: bytes) -> None:
    """431, whole or not, before any of it reaches the application; or a closed connection while more is sent."""
    answer = raw(target, head).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert answer == b"" or is_refusal(answer, 431) or b" 401 " in answer[:20], answer[:300]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x00\x01\x02\x03\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /none?\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /none%0aERROR HTTP/1.1\r\nHost: [\r\nConnection: close\r\n\r\n", 404),
        (b"GET /api/events HTTP/1.1\r\nHost: [::\r\nOrigin: \xff\r\nConnection: close\r\n\r\n", 403),
    ],
)
def test_what_is_no_request_is_refused(target: Target, request_: bytes, status: int) -> None:
    """Bytes that no client sends, in the form of all other errors; nothing of them begins a line of the log."""
    answer = raw(target, request_)
    assert is_refusal(answer, status), answer[:300]


# Too slow


async def test_what_never_finishes_is_closed_while_others_are_served(target: Target) -> None:
    """Two hundred half-open requests for 10 s, a thousand sockets without a token for 5 s: meanwhile all is well for others."""
    url, begun = f"ws://127.0.0.1:{target.port}/api/events/ws", time.monotonic()
    half = [await asyncio.open_connection("127.0.0.1", target.port) for _ in range(200)]
    for _, writer in half:
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: a\r\n")

    async def unknown() -> tuple[float, int | None]:
        async with connect(url, proxy=None, open_timeout=30, compression=None) as found:
            opened = time.monotonic()
            with contextlib.suppress(ConnectionClosed):
                await found.recv()
            return time.monotonic() - opened, found.close_code

    sockets = [asyncio.create_task(unknown()) for _ in range(1000)]
    slowest = 0.0
    async with httpx.AsyncClient(base_url=target.server.url, headers=ACCESS, trust_env=False, timeout=30) as client:
        while not all(one.done() for one in sockets):
            asked = time.monotonic()
            assert (await client.post("/api/events", json={"type": "a"})).status_code == 201
            slowest = max(slowest, time.monotonic() - asked)
            await asyncio.sleep(0.2)
    closed = [one.result() for one in sockets]
    assert {code for _, code in closed} == {4408}
    assert max(seconds for seconds, _ in closed) < 15
    assert slowest < 10, f"an event took {slowest:.1f} s"
    for reader, writer in half:
        answer = await asyncio.wait_for(reader.read(), 20)
        assert is_refusal(answer, 408), answer
        writer.close()
        await writer.wait_closed()
    assert 9 < time.monotonic() - begun < 40


def test_a_body_that_never_ends_is_closed(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that trickles in, and one that was answered before its body came, are ended in the time that is stated."""
    monkeypatch.setattr(connections, "BODY_S", 0.5)
    monkeypatch.setattr(connections, "HEAD_S", 0.5)
    head = b"POST /api/events HTTP/1.1\r\nHost: a\r\nContent-Length: 90\r\nX-Playhead-Token: "
    assert is_refusal(raw(server, head + TOKEN.encode() + b"\r\n\r\n[", wait_s=10), 408)
    assert is_refusal(raw(server, head + b"not known\r\n\r\n", wait_s=10).partition(b"HTTP/1.1 408")[0], 401)
    begun = time.monotonic()
    assert raw(server, wait_s=10) == raw(server, b"\r\n", wait_s=10)[:0] == b""
    assert time.monotonic() - begun < 8


def test_who_goes_away_is_no_failure(target: Target, http: httpx.Client) -> None:
    """A connection that ends within a body, or before its answer, leaves no traceback; the answer to HEAD ends."""
    access = b" HTTP/1.1\r\nHost: a\r\nX-Playhead-Token: %b\r\n" % TOKEN.encode()
    head = b"POST /api/events" + access + b"Content-Length: 90\r\n\r\n"
    for request in (head + b"[", head + b" " * 90, b"GET /api/stats" + access + b"\r\n"):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", target.port)) as sock:
                sock.sendall(request)
                sock.shutdown(socket.SHUT_WR)
    assert http.head("/api/events/stream").headers["content-type"].startswith("text/event-stream")
    assert http.get("/readyz").status_code == 200


# Sockets


@contextlib.asynccontextmanager
async def opened(target: Target, query: str = "", headers: dict[str, str] = ACCESS) -> Any:
    async with connect(f"ws://127.0.0.1:{target.port}/api/events/ws{query}", additional_headers=headers, proxy=None) as found:
        yield found


async def code_of(found: ClientConnection) -> tuple[int | None, str | None]:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await asyncio.wait_for(found.recv(), 5)
    return found.close_code, found.close_reason


async def test_a_socket_is_closed_with_what_is_wrong(target: Target) -> None:
    """Whatever its reason says, it fits; text that is no UTF-8, names without end, and much before access are refused."""
    async with opened(target, "?type=" + "%C3%A4" * 200) as found:
        code, reason = await code_of(found)
        assert code == 4400 and reason and "ä" in reason
    async with opened(target) as found:
        await found.send(json.dumps({"op": "subscribe", "id": "a" * 257}))
        assert await code_of(found) == (4400, "id must be a string of at most 256 characters")
    async with opened(target) as found:
        await found.send(b"\xff\xfe", text=True)
        assert (await code_of(found))[0] == 1007
    async with opened(target, headers={}) as found:
        await found.send(json.dumps({"op": "auth", "token": "a" * 70_000}))
        assert (await code_of(found))[0] == 1009
    async with opened(target) as found:
        await found.recv()
        await found.send(json.dumps({"op": "publish", "id": "p", "events": [{"type": "a", "data": {"a": "b" * 60_000}}] * 20}))
        assert json.loads(await found.recv())["op"] == "published"
    with pytest.raises(InvalidStatus):
        async with opened(target, headers=ACCESS | {"Origin": "http://[evil"}):
            pass
