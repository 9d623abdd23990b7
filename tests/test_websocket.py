"""The socket as anybody's client speaks it: plain frames, no library of ours on this side."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import zstandard
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from playhead_server.server import Running, Settings, running
from tests.conftest import TOKEN, process

HEADER = {"X-Playhead-Token": TOKEN}


def opened(server: Any, query: str = "", **options: Any) -> connect:
    options.setdefault("additional_headers", HEADER)
    return connect(f"ws{server.url.removeprefix('http')}/api/events/ws{query}", proxy=None, **options)


async def heard(socket: ClientConnection, *ops: str) -> dict[str, Any]:
    """The next message that is one of ``ops``."""
    async with asyncio.timeout(10):
        while True:
            message: dict[str, Any] = json.loads(await socket.recv())
            if message["op"] in ops:
                return message


async def said(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def close_code(socket: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as caught:
        async with asyncio.timeout(10):
            while True:
                await socket.recv()
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


async def test_filters_in_the_query_need_no_handshake(server: Running) -> None:
    """As `websocat` does it: connect with filters and a position, and read."""
    server.recording.append([{"type": "job_started", "jobId": job, "batchId": "b,1"} for job in "xyx"])
    epoch = server.recording.epoch
    async with opened(server, "?jobId=x&batchId=b%5C,1&after=start") as socket:
        welcome = await heard(socket, "welcome")
        assert (welcome["version"], welcome["epoch"], welcome["head"]) == (1, epoch, f"{epoch}:3")
        subscribed = await heard(socket, "subscribed")
        assert (subscribed["id"], subscribed["from"], subscribed["head"]) == ("default", f"{epoch}:0", f"{epoch}:3")
        events = await heard(socket, "events")
        assert (events["from"], events["to"]) == (f"{epoch}:0", f"{epoch}:3")
        assert [event["seq"] for event in events["events"]] == [1, 3]
        assert (await heard(socket, "caught_up"))["at"] == f"{epoch}:3"


async def test_subscriptions_of_one_socket(server: Running) -> None:
    """Several at once, each with its filter; unsubscribed ones fall silent; heartbeats pass nothing that is unsent."""
    epoch = server.recording.epoch
    async with opened(server) as socket:
        await heard(socket, "welcome")
        await said(socket, op="subscribe", id="all", after="start")
        await said(socket, op="subscribe", id="failed", filter={"type": ["job_failed"]})
        await heard(socket, "subscribed")
        assert (await heard(socket, "subscribed"))["id"] == "failed"
        await said(socket, op="publish", id="p", events=[{"type": "job_started"}, {"type": "job_failed"}])
        answers = {}
        while len(answers) < 3:
            message = await heard(socket, "events", "published")
            answers[message["id"]] = message
        published = answers["p"]
        assert (published["firstSeq"], published["lastSeq"], published["cursor"]) == (1, 2, f"{epoch}:2")
        assert [event["seq"] for event in answers["all"]["events"]] == [1, 2]
        assert [event["seq"] for event in answers["failed"]["events"]] == [2]
        await said(socket, op="unsubscribe", id="all")
        await asyncio.to_thread(server.recording.append, [{"type": "job_started"}])
        assert (await heard(socket, "events", "heartbeat"))["op"] == "heartbeat"
        async with asyncio.timeout(10):
            while (await heard(socket, "heartbeat"))["at"] != f"{epoch}:3":
                pass


async def test_mistakes_are_answered_and_end_nothing(server: Running) -> None:
    """A bad filter, position, event, op or a second subscription of one name: an error each, the socket goes on."""
    async with opened(server) as socket:
        await heard(socket, "welcome")
        for message, code, says in (
            ({"op": "subscribe", "id": "a", "filter": {"batch": "b"}}, "400", "unknown filter 'batch'"),
            ({"op": "subscribe", "id": "a", "filter": {"jobId": 7}}, "400", "takes strings"),
            ({"op": "subscribe", "id": "a", "after": "yesterday"}, "400", "no cursor"),
            ({"op": "subscribe"}, "400", "needs an id"),
            ({"op": "publish", "id": "p", "events": [{"type": "a"}, {"type": "a", "jobId": 7}]}, "422", "must be a string"),
            ({"op": "publish", "id": "p", "events": [{"type": "a"}] * 10_001}, "413", "send several"),
            ({"op": "shout"}, "400", "none of subscribe"),
        ):
            await said(socket, **message)
            error = await heard(socket, "error")
            assert (error["code"], says in error["message"]) == (code, True), error
        assert server.recording.head == 0
        await said(socket, op="subscribe", id="a")
        await heard(socket, "subscribed")
        await said(socket, op="subscribe", id="a")
        assert "unsubscribe it first" in (await heard(socket, "error"))["message"]


async def test_a_position_that_is_not_held_is_a_reset(server: Running) -> None:
    """Of another log, or trimmed: the reason and where to begin again; then the subscription is free for that."""
    server.recording.append([{"type": "a", "timestamp": "2000-01-01T00:00:00Z"}] * 3)
    server.recording.append([{"type": "a"}])
    epoch = server.recording.epoch
    async with httpx.AsyncClient(base_url=server.url, headers=HEADER, trust_env=False) as http:
        assert (await http.delete("/api/events?olderThan=2001-01-01T00:00:00Z")).json() == {"deleted": 3}
    async with opened(server) as socket:
        for after, reason in (("zzz:4", "epoch"), (f"{epoch}:1", "trimmed")):
            await said(socket, op="subscribe", id="s", after=after)
            reset = await heard(socket, "reset")
            assert (reset["id"], reset["reason"], reset["oldest"]) == ("s", reason, f"{epoch}:3")
        await said(socket, op="subscribe", id="s", after=reset["oldest"])
        assert [event["seq"] for event in (await heard(socket, "events"))["events"]] == [4]


async def test_a_position_ahead_waits(server: Running) -> None:
    """A cursor of this log that another server knows further: nothing until the log is there."""
    epoch = server.recording.epoch
    async with opened(server, f"?after={epoch}:2") as socket:
        await heard(socket, "subscribed")
        await asyncio.to_thread(server.recording.append, [{"type": "a"}] * 3)
        assert [event["seq"] for event in (await heard(socket, "events"))["events"]] == [3]


async def test_access_is_settled_first(server: Running) -> None:
    """A first message, a header or a ticket; a bad token is 4401 where a browser can read it; a foreign page is 403."""
    async with opened(server, additional_headers={}) as socket:
        await said(socket, op="auth", token=TOKEN)
        await heard(socket, "welcome")
    async with opened(server, additional_headers={}) as socket:
        await said(socket, op="auth", token="wrong")
        assert (await close_code(socket))[0] == 4401
    async with opened(server, additional_headers={"Authorization": "Bearer wrong"}) as socket:
        code, reason = await close_code(socket)
        assert code == 4401 and "not known here" in reason
    async with httpx.AsyncClient(base_url=server.url, headers=HEADER, trust_env=False) as http:
        made = (await http.post("/api/tickets")).json()
        assert set(made) == {"ticket", "expiresAt"}
    async with opened(server, f"?ticket={made['ticket']}", additional_headers={}) as socket:
        await heard(socket, "welcome")
    async with opened(server, f"?ticket={made['ticket']}", additional_headers={}) as socket:
        assert (await close_code(socket))[0] == 4401
    with pytest.raises(InvalidStatus) as caught:
        async with opened(server, origin=Origin("https://evil.example")):
            pass
    assert caught.value.response.status_code == 403


async def test_a_token_that_comes_too_late(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """No token in time closes with 4408."""
    monkeypatch.setattr("playhead_server.websocket._AUTH_S", 0.2)
    async with opened(server, additional_headers={}) as socket:
        assert (await close_code(socket))[0] == 4408


@pytest.fixture
def tenants(tmp_path: Path) -> Iterator[Running]:
    """A server that takes JWTs."""
    settings = Settings(recording=tmp_path / "log.playhead", port=0, token=TOKEN, jwt_secret="s" * 32)
    with running(settings) as found:
        yield found


async def test_scopes_and_organisations_hold_on_the_socket(tenants: Running) -> None:
    """A reader of one organisation sees its own events alone and may not publish."""
    token = jwt.encode({"scope": "read", "org": "ours"}, "s" * 32, "HS256")
    tenants.recording.append([{"type": "a"}], "theirs")
    tenants.recording.append([{"type": "a"}], "ours")
    async with opened(tenants, "?after=start", additional_headers={"Authorization": f"Bearer {token}"}) as socket:
        events = (await heard(socket, "events"))["events"]
        assert [(event["seq"], event["organizationId"]) for event in events] == [(2, "ours")]
        await said(socket, op="publish", id="p", events=[{"type": "a"}])
        assert (await heard(socket, "error"))["code"] == "403"


@pytest.mark.parametrize(("message", "says"), [("{", "not JSON"), ("7", "JSON object"), ('{"op": "subscribe", "id": 7}', "id")])
async def test_what_is_no_message_closes(server: Running, message: str, says: str) -> None:
    """4400 and why."""
    async with opened(server) as socket:
        await heard(socket, "welcome")
        await socket.send(message)
        code, reason = await close_code(socket)
        assert code == 4400 and says in reason


async def test_a_misspelt_filter_in_the_query_closes(server: Running) -> None:
    """Never a silent subscription to something else."""
    async with opened(server, "?exectionId=7") as socket:
        code, reason = await close_code(socket)
        assert code == 4400 and "unknown parameter 'exectionId'" in reason


async def test_compressed_when_offered(server: Running) -> None:
    """`playhead.v1.zstd` is chosen when offered: the server's messages are zstd frames; `playhead.v1` stays text."""
    server.recording.append([{"type": "a"}] * 50)
    both = [Subprotocol("playhead.v1.zstd"), Subprotocol("playhead.v1")]
    async with opened(server, "?after=start", subprotocols=both) as socket:
        assert socket.subprotocol == "playhead.v1.zstd"
        messages = [json.loads(zstandard.decompress(await socket.recv())) for _ in range(3)]
        assert [message["op"] for message in messages] == ["welcome", "subscribed", "events"]
        assert len(messages[2]["events"]) == 50
    async with opened(server, subprotocols=both[1:]) as socket:
        assert socket.subprotocol == "playhead.v1"
        await heard(socket, "welcome")


async def test_a_restart_says_come_back(tmp_path: Path) -> None:
    """SIGTERM closes with 1012."""
    with process(tmp_path / "log.playhead") as server:
        async with opened(server) as socket:
            await heard(socket, "welcome")
            server.process.terminate()
            assert (await close_code(socket))[0] == 1012


async def test_messages_join_without_a_gap(server: Running) -> None:
    """Each message begins at or before what its subscription was last told, over stretches where nothing matches."""
    server.recording.append([{"type": "noise"}] * 3000)
    server.recording.append([{"type": "wanted"}])
    server.recording.append([{"type": "noise"}] * 2500)
    async with opened(server) as socket:
        await heard(socket, "welcome")
        for name in ("wanted", "noise", "nothing"):
            await said(socket, op="subscribe", id=name, after="start", filter={"type": name})
        cursors: dict[str, int] = {}
        seen = {"wanted": 0, "noise": 0, "nothing": 0}
        published = False
        while min(cursors.values(), default=0) < 5503 or len(cursors) < 3:
            message = await heard(socket, "subscribed", "events", "caught_up", "heartbeat")
            if message["op"] == "subscribed":
                cursors[message["id"]] = int(message["from"].partition(":")[2])
            elif message["op"] == "events":
                assert int(message["from"].partition(":")[2]) <= cursors[message["id"]], message["id"]
                seen[message["id"]] += len(message["events"])
                cursors[message["id"]] = int(message["to"].partition(":")[2])
            else:
                told = [message["id"]] if message["op"] == "caught_up" else list(cursors)
                for name in told:
                    cursors[name] = max(cursors[name], int(message["at"].partition(":")[2]))
            if message["op"] == "heartbeat" and not published:
                published = True
                await asyncio.to_thread(server.recording.append, [{"type": "wanted"}, {"type": "noise"}])
        assert seen == {"wanted": 2, "noise": 5501, "nothing": 0}


async def test_a_reader_that_stops_is_cut(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes nothing for so long is let go of, and comes back with its cursor; others are sent on meanwhile."""
    monkeypatch.setattr("playhead_server.websocket._SEND_S", 0.5)
    async with opened(server, "?after=now", max_queue=1, ping_interval=None) as slow, opened(server, "?after=now") as other:
        for socket in (slow, other):
            await heard(socket, "caught_up")
        for n in range(20):
            await asyncio.to_thread(server.recording.append, [{"type": "a", "data": {"pad": "x" * 2000}}] * 500)
            last = 0
            while last < 500 * (n + 1):
                last = int((await heard(other, "events"))["to"].partition(":")[2])
        async with asyncio.timeout(10):
            while (await asyncio.to_thread(httpx.get, f"{server.url}/api/stats", headers=HEADER)).json()["sockets"] != 1:
                await asyncio.sleep(0.05)
        cursor = 0
        with pytest.raises(ConnectionClosed):
            while True:
                cursor = int((await heard(slow, "events"))["to"].partition(":")[2])
    assert 0 < cursor < 10_000
    async with opened(server, f"?after={server.recording.epoch}:{cursor}") as again:
        while cursor < 10_000:
            events = await heard(again, "events")
            assert [event["seq"] for event in events["events"]] == list(range(cursor + 1, cursor + len(events["events"]) + 1))
            cursor = int(events["to"].partition(":")[2])


async def test_many_requests_of_one_socket_are_in_order(server: Running) -> None:
    """Published without waiting for answers: stored in the order they were sent, each answered once it is durable."""
    async with opened(server) as socket:
        await heard(socket, "welcome")
        for n in range(300):
            await said(socket, op="publish", id=str(n), events=[{"type": "a", "data": {"n": n}}])
        answers = [await heard(socket, "published") for _ in range(300)]
        assert [(answer["id"], answer["firstSeq"], answer["accepted"]) for answer in answers] == [
            (str(n), n + 1, 1) for n in range(300)
        ]
        assert [event.data["n"] for event in server.recording.read(limit=None)] == list(range(300))


async def test_who_reads_no_answers_publishes_no_further(server: Running) -> None:
    """Its requests wait in its own socket, no memory grows for them, and they go on in order once it reads."""
    count, identity, pad = 15_000, "x" * 200, "x" * 3_000  # more than the buffers of two kernels
    async with opened(server, max_queue=1, ping_interval=None) as socket:
        await heard(socket, "welcome")

        async def publish() -> None:
            for n in range(count):
                await said(socket, op="publish", id=f"{identity}{n}", events=[{"type": "a", "data": {"n": n, "pad": pad}}])

        publishing = asyncio.create_task(publish())
        head = -1
        async with asyncio.timeout(60):
            while head != (head := server.recording.head) or not head:
                await asyncio.sleep(1)
        assert 64 <= head < count and not publishing.done()
        for n in range(count):
            assert (await heard(socket, "published"))["id"] == f"{identity}{n}"
        await publishing
        assert server.recording.head == count


async def test_a_reader_whose_next_events_were_deleted_is_told(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted before a slow reader came to them: a reset, never a silent skip."""
    monkeypatch.setattr("playhead_server.fanout._RING_EVENTS", 100)
    old = [{"type": "a", "timestamp": "2000-01-01T00:00:00Z", "data": {"pad": "x" * 2000}}]
    for _ in range(5):
        server.recording.append(old * 1000)
    server.recording.append([{"type": "a"}] * 10)
    async with opened(server, "?after=start", max_queue=1) as socket:
        first = await heard(socket, "events")  # and no further: the socket's buffers fill
        assert await asyncio.to_thread(server.recording.delete_older, datetime(2001, 1, 1, tzinfo=UTC)) == 5000
        epoch, last = server.recording.epoch, int(first["to"].partition(":")[2])
        while (message := await heard(socket, "events", "reset"))["op"] == "events":
            assert int(message["from"].partition(":")[2]) == last
            last = int(message["to"].partition(":")[2])
        assert (message["reason"], message["oldest"]) == ("trimmed", f"{epoch}:5000")
