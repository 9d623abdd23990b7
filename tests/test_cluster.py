"""Servers that share a log over a real Redis: one order everywhere, whichever of them is asked."""

from __future__ import annotations

import json
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

import playhead as ph
from playhead.recording import Recording
from playhead.recording.stored import Stored
from playhead_server.cluster.link import Link, masked
from playhead_server.cluster.log import Log
from tests.conftest import TOKEN, wait_for
from tests.shared_log import HEADERS, Nginx, Redis, Server, begin, ids_of, place, post, rows_of, settle, shared, some


def test_what_one_takes_in_all_have_at_the_same_places(tmp_path: Path, redis: Redis) -> None:
    """Published on two servers at once: dense seqs, one order, equal rows, and what was acknowledged is there to be read."""
    with shared(tmp_path, 2, redis.url) as servers:
        sent = [some(random.Random(n).randint(1, 30)) for n in range(60)]

        def publish(n: int) -> int:
            first = place(servers[n % 2], sent[n])
            mine = httpx.get(f"{servers[n % 2].url}/api/events?limit=10000", headers=HEADERS).json()["events"]
            assert {one["id"] for one in sent[n]} <= {one["id"] for one in mine}
            return first

        with ThreadPoolExecutor(8) as pool:
            places = list(pool.map(publish, range(60)))
        settle(servers)
        first, second = (rows_of(one.url) for one in servers)
        assert first == second
        assert [json.loads(row)["seq"] for row in first] == list(range(1, sum(map(len, sent)) + 1))
        for events, at in zip(sent, places, strict=True):
            found = [json.loads(row)["id"] for row in first[at - 1 :][: len(events)]]
            assert found == [one["id"] for one in events]


def test_an_id_is_stored_once_whoever_is_asked(tmp_path: Path, redis: Redis) -> None:
    """The same ids on both servers at the same moment, again later, and by another organisation, which has its own."""
    with shared(tmp_path, 2, redis.url) as servers, ThreadPoolExecutor(8) as pool:
        for _ in range(15):
            events = some(random.randint(1, 20))
            both = list(pool.map(lambda one: post(one.url, events), servers * 2))  # noqa: B023  # awaited in the same turn
            assert sum(one["accepted"] - one["duplicates"] for one in both) == len(events)
        again = post(servers[1].url, events + some(1))
        assert (again["accepted"], again["duplicates"]) == (len(events) + 1, len(events))
        mixed = [events[0] | {"organizationId": "o1"}, some(1)[0] | {"organizationId": "o2"}, events[0]]
        assert post(servers[0].url, mixed)["duplicates"] == 1
        settle(servers)
        assert rows_of(servers[0].url) == rows_of(servers[1].url)


def test_a_reader_goes_from_server_to_server(tmp_path: Path, redis: Redis) -> None:
    """With its cursor, and no server knows it: by nginx, to whichever is next."""
    with shared(tmp_path, 2, redis.url) as servers:
        nginx = Nginx(tmp_path / "nginx", [one.port for one in servers])
        try:
            found: list[int] = []
            with ph.connect(nginx.url, token=TOKEN) as client:
                watch = client.watch(on_events=lambda events, cursor: found.extend(one.seq for one in events), after="start")
                for n in range(6):
                    client.publish(some(50))
                    assert client.flush(20)
                    wait_for(lambda n=n: len(found) == 50 * (n + 1))
                    servers[n % 2].kill()
                    servers[n % 2].start()
                assert watch.error is None
            assert found == list(range(1, 301))
        finally:
            nginx.kill()


def test_a_new_server_gets_what_the_stream_holds_no_more(tmp_path: Path, redis: Redis) -> None:
    """From another server, while events go on; and then it takes part like any other."""
    with shared(tmp_path, 1, redis.url) as servers:
        for _ in range(30):
            post(servers[0].url, some(1000))
        redis.ask("XTRIM", "playhead:{main}:log", "MINID", "25001-0")
        assert redis.ask("XLEN", "playhead:{main}:log") == 5
        new = Server(tmp_path / "new.playhead", redis.url)
        try:
            for _ in range(20):
                post(servers[0].url, some(3))
            settle([servers[0], new])
            assert rows_of(new.url) == rows_of(servers[0].url)
            assert place(new, some(1)) == 30_061
            batches = httpx.get(f"{new.url}/api/executions", headers=HEADERS).json()["executions"]
            assert batches[0]["events"] >= 30_060
        finally:
            new.kill()


def test_rows_are_for_the_servers_of_the_log_alone(tmp_path: Path, redis: Redis) -> None:
    """Without the secret that Redis holds, no rows; a server alone has no such call."""
    with shared(tmp_path, 1, redis.url) as (server,):
        assert httpx.get(f"{server.url}/api/replica?after=0", headers=HEADERS).status_code == 401
        secret = redis.ask("HGET", "playhead:{main}:about", "secret")
        answer = httpx.get(f"{server.url}/api/replica?after=0&epoch=other", headers={"X-Playhead-Cluster": secret.decode()})
        assert answer.status_code == 410


def test_what_redis_holds_is_bounded(tmp_path: Path, redis: Redis) -> None:
    """The stream keeps the newest 100,000 events once all servers have them, and a server that is gone pins nothing."""
    with shared(tmp_path, 2, redis.url) as servers:
        servers[1].kill()
        for _ in range(13):
            post(servers[0].url, some(10_000))
        wait_for(lambda: redis.ask("XLEN", "playhead:{main}:log") == 10, 30)
        wait_for(lambda: len(redis.ask("KEYS", "playhead:{main}:ids:*")) <= 2)
        assert redis.ask("INFO", "memory")["used_memory"] < 40e6
        servers[1].start()
        settle(servers)
        assert rows_of(servers[0].url) == rows_of(servers[1].url)


def test_a_deletion_is_every_servers(tmp_path: Path, redis: Redis) -> None:
    """At the same place of the log, on a server that was away too; refused while Redis is away."""
    with shared(tmp_path, 2, redis.url) as servers:
        post(servers[0].url, some(5, timestamp="2026-01-01T00:00:00Z"))
        post(servers[0].url, some(3))
        settle(servers)
        servers[1].kill()
        answer = httpx.delete(f"{servers[0].url}/api/events?olderThan=2026-02-01T00:00:00Z", headers=HEADERS, timeout=30)
        assert answer.json() == {"deleted": 5}
        post(servers[0].url, late := some(2, timestamp="2026-01-01T00:00:00Z"))
        servers[1].start()
        settle(servers)
        assert rows_of(servers[0].url) == rows_of(servers[1].url)
        assert len(rows_of(servers[0].url)) == 5 and ids_of(servers[1])[-2:] == [one["id"] for one in late]
        redis.kill()
        answer = httpx.delete(f"{servers[0].url}/api/events?olderThan=1d", headers=HEADERS, timeout=30)
        assert answer.status_code == 503 and "nothing was deleted" in answer.json()["detail"]


def test_a_recording_of_another_log_is_refused(tmp_path: Path, redis: Redis) -> None:
    """With both epochs and what to do; a recording that was served alone becomes the log where there is none."""
    with Recording.open(tmp_path / "0.playhead") as recording:
        recording.append([{"type": "a"}] * 3)
    with Recording.open(tmp_path / "other.playhead") as recording:
        recording.append([{"type": "a"}])
    with shared(tmp_path, 2, redis.url, is_begun=True) as servers:  # nobody began it: they do
        assert len(rows_of(servers[0].url)) == 3 and rows_of(servers[0].url) == rows_of(servers[1].url)
        command = [*servers[0].process.args[:4], str(tmp_path / "other.playhead"), "--port", "0", "--redis-url", redis.url]  # type: ignore[index]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert answer.returncode != 0 and "holds another log" in answer.stderr and "playhead import" in answer.stderr


def test_a_quiet_log_is_joined_again(tmp_path: Path, redis: Redis) -> None:
    """Nothing was published since it began, all servers end and come back, and nobody is left to be asked."""
    with Recording.open(tmp_path / "0.playhead") as recording:
        recording.append([{"type": "a"}] * 30)
    with shared(tmp_path, 2, redis.url, is_begun=True) as servers:
        for one in servers:
            one.kill()
        for one in servers:
            one.start()
        settle(servers, 15)
        assert place(servers[1], some(1)) == 31


def test_a_recording_that_lost_its_end_takes_no_part(tmp_path: Path, redis: Redis) -> None:
    """Its newest segment is damaged: refused with what to do, and the others go on as if it were not there."""
    with shared(tmp_path, 2, redis.url) as servers:
        post(servers[0].url, some(20))
        settle(servers)
        assert servers[1].end()[0] == 0
        (file,) = (tmp_path / "1.playhead" / "segments").glob("*.duckdb")
        file.write_bytes(b"x" * file.stat().st_size)
        command = [*servers[1].process.args]  # type: ignore[misc]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert answer.returncode == 1 and "lost its newest events" in answer.stderr and "a new recording" in answer.stderr
        assert place(servers[0], some(1)) == 21


def test_a_request_to_redis_that_comes_late_is_refused(tmp_path: Path, redis: Redis) -> None:
    """One that was on its way while its events were sent again: nothing of it is stored a second time."""
    begin(redis.url)
    log = Log(Link(redis.url), "main")
    about = log.look()
    assert about is not None
    with Recording.open(tmp_path / "a.playhead") as recording:
        recording.append(some(3))
        stored = Stored.again(recording.read())

    def append(number: int) -> list[Any]:
        return log.append(stored, epoch=about.epoch, server="s", number=number, seen=0, checked=0, looks=False)

    assert append(2) == ["done", 1, 3]
    assert append(2) == ["done", 1, 3]
    assert append(1) == ["late"]
    for _ in range(30):
        log.control(about.epoch, {"than": "2000-01-01T00:00:00Z", "whose": None})
    assert append(3) == ["done", 4, 6]
    redis.ask("XTRIM", "playhead:{main}:log", "MINID", "3-1")
    found = log.look()
    assert found is not None and (found.first, found.head, found.controls) == (4, 6, 30)


def test_logs_of_several_names_share_a_redis(tmp_path: Path, redis: Redis) -> None:
    """What is in one is not in the other."""
    with shared(tmp_path / "a", 1, redis.url) as (one,), shared(tmp_path / "b", 1, redis.url, "--redis-log", "b") as (two,):
        post(one.url, some(2))
        post(two.url, some(3))
        assert (len(rows_of(one.url)), len(rows_of(two.url))) == (2, 3)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://localhost", "begins with none of redis://"),
        ("redis+sentinel://user:secret@localhost:26379", "names no master"),
    ],
)
def test_a_url_that_cannot_be_is_refused(url: str, says: str) -> None:
    """With what to write, and without the password."""
    with pytest.raises(ValueError, match=says) as error:
        Link(url)
    assert "secret" not in str(error.value)
    assert "secret" not in repr(Link("redis://user:secret@localhost:1")) and masked("redis://u:p@h:1/2") == "redis://h:1/2"
