"""Someone follows: every event once and in order, whatever happens to the line, the server, or the reader."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import playhead as ph
from playhead.client.http import Http
from playhead.client.status import ConnectionState
from playhead.client.stream import Subscription
from playhead.errors import AccessDenied, CursorGone, InvalidCursor, ServerUnavailable
from playhead.events import Event, Filter
from playhead_server.server import Running
from tests.conftest import TOKEN, process, wait_for
from tests.line import line


def seqs_into(found: list[int]) -> Callable[[list[Event], str], None]:
    return lambda events, cursor: found.extend(event.seq for event in events)


def test_frame_then_follow_is_the_log(server: Running) -> None:
    """A frame's cursor continues exactly, while events go on."""
    with ph.connect() as client:
        client.publish([{"type": "a", "data": {"n": n}} for n in range(100)])
        client.flush()
        stop = threading.Event()

        def publish() -> None:
            while not stop.wait(0.002):
                client.publish({"type": "a"})

        publisher = threading.Thread(target=publish)
        publisher.start()
        frame = client.events().to_pandas()
        seqs = frame["seq"].tolist()
        with client.follow(after=frame.attrs["playhead"]["cursor"]) as follow:
            for event in follow:
                seqs.append(event.seq)
                if len(seqs) >= 300:
                    break
        stop.set()
        publisher.join()
        assert seqs == list(range(1, len(seqs) + 1))


@pytest.mark.parametrize("transport", ["websocket", "sse", "polling"])
def test_each_transport_gives_every_event_once(server: Running, transport: Any) -> None:
    """History, then live, by each way through."""
    found: list[int] = []
    server.recording.append([{"type": "a", "jobId": "x"}] * 30)
    watch = Subscription(
        Http(server.url, TOKEN), Filter.make(job_id="x"), "start", seqs_into(found), polling_interval=0.05,
        transport=transport,
    )  # fmt: skip
    wait_for(lambda: len(found) >= 30)
    server.recording.append([{"type": "a", "jobId": "y"}, {"type": "a", "jobId": "x"}])
    wait_for(lambda: len(found) >= 31)
    assert found == [*range(1, 31), 32]
    assert watch.status.transport == transport
    watch.close()


def test_a_filtered_readers_cursor_moves_on(server: Running) -> None:
    """Events that do not match move the cursor all the same, so that it does not grow old."""
    with ph.connect() as client:
        watch = client.watch(on_events=lambda events, cursor: None, job_id="x", after="start")
        server.recording.append([{"type": "a", "jobId": "y"}] * 10)
        wait_for(lambda: watch.cursor == str(server.recording.cursor()))


@pytest.mark.parametrize("seed", range(3))
def test_a_line_that_cuts_at_random_bytes(server: Running, seed: int) -> None:
    """Readers and the publisher through a line that breaks every few kilobytes: each event once, in order."""
    found: list[list[int]] = [[] for _ in range(4)]
    with line(server.url, seed=seed) as through:
        through.bytes_until_cut = 20_000
        with ph.connect(through.url, token=TOKEN) as client:
            watches = [client.watch(on_events=seqs_into(one), after="start") for one in found]
            for n in range(3000):
                client.publish({"type": "a", "data": {"n": n, "text": f"event {n} of seed {seed}"}})
                if n % 10 == 0:
                    time.sleep(0.001)
            assert client.flush(60)
            wait_for(lambda: all(len(one) >= 3000 for one in found), 60)
            for watch in watches:
                watch.close()
        assert through.cuts > 20
    assert [event.data["n"] for event in server.recording.read(limit=None)] == list(range(3000))
    for one in found:
        assert one == list(range(1, 3001))


def test_down_to_polling_and_back_up(server: Running) -> None:
    """No WebSocket: SSE; no SSE either: polling, and the status says so; up again once a WebSocket gets through."""
    found: list[int] = []
    states: list[ConnectionState] = []
    with line(server.url) as through:
        through.refused = {b"/api/events/ws": b"404 Not Found"}
        with ph.connect(through.url, token=TOKEN) as client:
            watch = client.watch(on_events=seqs_into(found), on_status=states.append, after="start", polling_interval=0.1)
            server.recording.append([{"type": "a"}])
            wait_for(lambda: found == [1])
            assert (watch.status.state, watch.status.transport) == ("connected", "sse")
            through.refused = {b"/api/events/ws": b"502 Bad Gateway", b"/api/events/stream": b"404 Not Found"}
            through.cut()
            server.recording.append([{"type": "a"}])
            wait_for(lambda: found == [1, 2])
            wait_for(lambda: watch.status.transport == "polling")
            assert watch.status.detail == "polling every 0.1 s"
            through.refused = {}
            before = len(states)
            wait_for(lambda: watch.status.transport == "websocket" and watch.status.state == "connected", 30)
            assert all(state.state == "connected" for state in states[before:])  # no yellow light on the way up
            server.recording.append([{"type": "a"}])
            wait_for(lambda: found == [1, 2, 3])


@pytest.mark.parametrize("transport", ["websocket", "sse", "polling"])
def test_a_silent_server_is_noticed(server: Running, transport: Any) -> None:
    """A line that carries nothing and does not break is no green light: said within 5 s, and recovered from."""
    found: list[int] = []
    with line(server.url) as through:
        if transport != "websocket":
            through.refused[b"/api/events/ws"] = b"426 Upgrade Required"
        watch = Subscription(Http(through.url, TOKEN), Filter(), "now", seqs_into(found), transport=transport)
        wait_for(lambda: watch.status.state == "connected" and watch.status.transport == transport)
        through.freeze()
        begun = time.monotonic()
        server.recording.append([{"type": "a"}])
        wait_for(lambda: watch.status.state != "connected")
        assert time.monotonic() - begun < 6  # 5, and what a busy machine takes
        assert found == []
        through.thaw()
        wait_for(lambda: found == [1] and watch.status.state == "connected")
        watch.close()


def test_a_frozen_server_is_noticed(tmp_path: Path) -> None:
    """SIGSTOP: said within 5 s; SIGCONT: the same log goes on, and the status tells how far behind a reader is."""
    found: list[int] = []
    with process(tmp_path / "log.playhead") as server, ph.connect(server.url, token=TOKEN) as client:
        client.publish([{"type": "a"}] * 50)
        assert client.flush()
        watch = client.watch(on_events=seqs_into(found), after="start")
        wait_for(lambda: len(found) == 50 and watch.status.lag_events == 0)
        server.process.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        wait_for(lambda: watch.status.state != "connected")
        assert time.monotonic() - begun < 6
        client.publish({"type": "a"})  # returns at once all the same
        server.process.send_signal(signal.SIGCONT)
        assert client.flush(20)
        wait_for(lambda: found == list(range(1, 52)))
        watch.close()


_READER = """
import sys, playhead as ph
last = 0
with ph.connect(sys.argv[1], token=sys.argv[2]) as client:
    for event in client.follow(after="start"):
        assert event.seq == last + 1, (event.seq, last)
        last = event.seq
        if last % 1000 == 0:
            print(last, flush=True)
"""


def test_a_stopped_reader_holds_up_nobody(tmp_path: Path) -> None:
    """SIGSTOP of one reader: the others read on, and when it goes on it gets everything, once and in order."""
    found: list[int] = []
    with process(tmp_path / "log.playhead") as server, ph.connect(server.url, token=TOKEN) as client:
        watch = client.watch(on_events=seqs_into(found), after="start")
        client.publish([{"type": "a"}] * 1000)
        with subprocess.Popen(
            [sys.executable, "-c", _READER, server.url, TOKEN], stdout=subprocess.PIPE, text=True
        ) as reader:
            try:
                assert reader.stdout is not None and reader.stdout.readline() == "1000\n"
                reader.send_signal(signal.SIGSTOP)
                for _ in range(30):  # far more than sockets hold
                    client.publish([{"type": "a", "data": {"pad": "x" * 1000}}] * 1000)
                assert client.flush(30)
                wait_for(lambda: len(found) == 31_000)
                reader.send_signal(signal.SIGCONT)
                assert [int(reader.stdout.readline()) for _ in range(30)] == list(range(2000, 32_000, 1000))
            finally:
                reader.kill()
        watch.close()


def test_a_slow_reader_holds_up_nobody(server: Running) -> None:
    """A loop that does not take its events pauses its own watch: bounded, others go on, and it misses nothing."""
    server.recording.append([{"type": "a", "data": {"pad": "x" * 300}}] * 10_000)
    server.recording.append([{"type": "a", "data": {"pad": "x" * 300}}] * 10_000)
    found: list[int] = []
    with ph.connect() as client, client.follow(after="start") as slow:
        assert next(slow).seq == 1
        watch = client.watch(on_events=seqs_into(found), after="start")
        wait_for(lambda: len(found) == 20_000)
        assert len(slow._inbox._events) < 12_000
        assert [next(slow).seq for _ in range(19_999)] == list(range(2, 20_001))
        server.recording.append([{"type": "a"}])
        assert next(slow).seq == 20_001
        watch.close()


def test_another_log_under_the_same_address(tmp_path: Path) -> None:
    """The recording was replaced: the reader is told, and reads the new one from its start."""
    found: list[tuple[str, int]] = []
    resets: list[str] = []
    with process(tmp_path / "log.playhead") as server, ph.connect(server.url, token=TOKEN) as client:

        def take(events: list[Event], cursor: str) -> None:
            found.extend((event.data["log"], event.seq) for event in events)

        watch = client.watch(on_events=take, on_reset=resets.append, after="start")
        client.publish([{"type": "a", "data": {"log": "old"}}] * 5)
        client.flush()
        wait_for(lambda: len(found) == 5)
        server.kill()
        shutil.rmtree(tmp_path / "log.playhead")
        server.start()
        client.publish([{"type": "a", "data": {"log": "new"}}] * 3)
        assert client.flush(20)
        wait_for(lambda: len(found) == 8)
        assert found[5:] == [("new", 1), ("new", 2), ("new", 3)]
        assert resets == ["epoch"]
        watch.close()


def test_killed_servers_lose_nothing(tmp_path: Path) -> None:
    """kill -9 under load, ten times: every event is there once, seq has no hole, each client has seen each once."""
    rounds = int(os.environ.get("PLAYHEAD_KILLS", "10"))
    seen: list[list[int]] = [[], [], []]
    values: list[int] = []
    with process(tmp_path / "log.playhead") as server, ph.connect(server.url, token=TOKEN) as client:
        watches = [client.watch(on_events=seqs_into(one), after="start") for one in seen]
        watches.append(
            client.watch(on_events=lambda events, _: values.extend(event.data["n"] for event in events), after="start")
        )
        count = 0
        for number in range(rounds):
            for _ in range(150 + 37 * number):
                client.publish({"type": "a", "data": {"n": count}})
                count += 1
                time.sleep(0.0005)
            server.kill()
            for _ in range(50):
                client.publish({"type": "a", "data": {"n": count}})
                count += 1
            server.start()
        assert client.flush(30)
        wait_for(lambda: all(len(one) >= count for one in (*seen, values)))
        assert values == list(range(count))
        for one in seen:
            assert one == list(range(1, count + 1))
        assert client.events().to_pandas()["seq"].tolist() == seen[0]
        for watch in watches:
            watch.close()


def test_a_bad_token_ends_the_loop(server: Running) -> None:
    """What no retry helps is raised where the events are read, and shown as disconnected."""
    with ph.connect(server.url, token="not-the-token") as client, client.follow() as follow:
        with pytest.raises(AccessDenied, match="pass token="):
            next(follow)
        assert follow.status.state == client.status.state == "disconnected"
        with pytest.raises(InvalidCursor, match="write it as it was given"):
            client.follow(after="yesterday")
        with pytest.raises(ValueError, match="number of seconds"):
            client.follow(polling_interval=0)


def test_an_idle_client_asks_for_nothing(server: Running) -> None:
    """While nothing happens: no request from a client that follows, no query in the server, nothing but heartbeats."""
    with line(server.url) as through, ph.connect(through.url, token=TOKEN) as client:
        states: list[ConnectionState] = []
        leave = client.on_status(states.append)
        watches = [client.watch(on_events=lambda events, cursor: None, after="start", job_id=job) for job in "abc"]
        server.recording.append([{"type": "a", "jobId": "a"}])
        wait_for(lambda: all(watch.cursor == str(server.recording.cursor()) for watch in watches))
        wait_for(lambda: states and states[-1].state == "connected")
        segments, queries = server.recording._segments, []

        class Counting:
            def __init__(self, inner: Any) -> None:
                self._inner = inner

            def __getattr__(self, name: str) -> Any:
                queries.append(name)
                return getattr(self._inner, name)

        inner, segments.db = segments.db, Counting(inner := segments.db)
        try:
            for _ in range(3):  # what a server does once, when it has begun, may come late on a busy machine
                queries.clear()
                asked = len(through.requests)
                time.sleep(2.0)  # the claim is about a stretch of time
                if not queries and not through.requests[asked:]:
                    break
            assert through.requests[asked:] == [] and queries == []
            assert len(server.recording.read()) == 1 and queries == ["sql"]  # the counter does count
        finally:
            segments.db = inner
        leave()


@pytest.mark.parametrize("kind", ["server", "recording"])
def test_a_loop_ends_with_its_client(server: Running, tmp_path: Path, kind: str) -> None:
    """close() in another thread ends the loop, after what had come."""
    client = ph.connect() if kind == "server" else ph.connect(tmp_path / "other.playhead")
    client.publish({"type": "a"})
    client.flush()
    follow = client.follow(after="start")
    found: list[str] = []
    loop = threading.Thread(target=lambda: found.extend(event.type for event in follow))
    loop.start()
    wait_for(lambda: found == ["a"])
    client.close()
    loop.join(5)
    assert not loop.is_alive() and follow.status.detail == "closed"


@pytest.mark.parametrize("kind", ["server", "recording"])
def test_a_position_of_another_log_is_noticed(server: Running, tmp_path: Path, kind: str) -> None:
    """follow() from it raises and says where to begin; it never quietly starts over."""
    client = ph.connect() if kind == "server" else ph.connect(tmp_path / "other.playhead")
    with client:
        client.publish([{"type": "a"}] * 3)
        client.flush()
        with client.follow(after="zzz:2") as follow, pytest.raises(CursorGone, match="another log; read again from") as caught:
            next(follow)
        assert caught.value.reason == "epoch"
        assert next(client.follow(after=caught.value.oldest)).seq == 1


def test_a_frame_that_was_cut_goes_on_from_its_last_row(server: Running) -> None:
    """The cursor of a frame with a limit, or as of a cursor, is where it ends, so frame plus follow misses nothing."""
    with ph.connect() as client:
        client.publish([{"type": "a", "data": {"n": n}} for n in range(10)])
        client.flush()
        epoch = server.recording.epoch
        cut = client.events(limit=4).to_pandas()
        assert cut.attrs["playhead"]["cursor"] == f"{epoch}:4"
        assert client.events(limit=40).to_pandas().attrs["playhead"]["cursor"] == f"{epoch}:10"
        past = client.events(at=f"{epoch}:6").to_pandas()
        assert (len(past), past.attrs["playhead"]["cursor"]) == (6, f"{epoch}:6")
        assert client.executions(at=f"{epoch}:6").attrs["playhead"]["cursor"] == f"{epoch}:6"
        assert next(client.follow(after=past.attrs["playhead"]["cursor"])).seq == 7


def test_an_answer_that_breaks_off_is_an_error(server: Running) -> None:
    """An export whose line is cut raises ours, and is never a short frame."""
    server.recording.append([{"type": "a", "data": {"text": os.urandom(400).hex()}}] * 3000)
    with line(server.url) as through:
        through.bytes_until_cut = 20_000
        with ph.connect(through.url, token=TOKEN) as client, pytest.raises(ServerUnavailable, match="broke off"):
            client.events().to_pandas()


async def test_the_async_client_is_the_same_awaited(server: Running) -> None:
    """publish, follow, events and executions from a running loop; leaving the loop early is clean."""
    async with ph.AsyncClient(server.url, token=TOKEN) as client:
        client.publish({"type": "job_started", "jobId": "j"})
        await client.publish({"type": "job_completed", "jobId": "j"})
        assert await client.flush()
        assert (await client.stats())["head"] == 2
        found: list[Event] = []
        async with asyncio.timeout(20):
            async for event in client.follow(after="start"):
                found.append(event)
                if len(found) == 2:
                    break
        assert [event.type async for event in client.events(job_id="j")] == ["job_started", "job_completed"]
        assert (await client.events().to_pandas())["seq"].tolist() == [1, 2]
        assert await client.events(type="job_started").count() == 1
        assert (await client.executions())["state"].tolist() == ["completed"]
        follow = client.follow(after="now")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await anext(follow)
        await asyncio.to_thread(server.recording.append, [{"type": "late"}])
        async with asyncio.timeout(20):
            assert (await anext(follow)).type == "late"  # the cancelled wait took nothing along
        await follow.aclose()
