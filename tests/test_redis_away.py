"""What goes away while servers share a log (Redis, its memory, its master, servers, links): nothing is lost or doubled."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

import playhead as ph
from playhead.events import Event
from tests.chaos import Chaos
from tests.conftest import TOKEN, Process, free_port, wait_for
from tests.line import line
from tests.shared_log import HEADERS, Redis, Server, all_well, ids_of, post, rows_of, settle, shared, some, state


def test_redis_away_no_request_fails_and_nothing_is_lost(tmp_path: Path, redis: Redis) -> None:
    """Stopped under load: answered all the same, said within 5 s, and in order for each publisher once it is back."""
    with shared(tmp_path, 2, redis.url) as servers:
        order: dict[str, list[str]] = {one.url: [] for one in servers}
        slowest = 0.0

        def publish(server: Process, seconds: float) -> None:
            nonlocal slowest
            end = time.monotonic() + seconds
            with httpx.Client(base_url=server.url, headers=HEADERS, timeout=30) as client:
                while time.monotonic() < end:
                    events = some(5)
                    begun = time.monotonic()
                    answer = client.post("/api/events", json=events)
                    slowest = max(slowest, time.monotonic() - begun)
                    assert answer.status_code == 201, answer.text
                    order[server.url] += [one["id"] for one in events]
                    time.sleep(0.01)

        with ThreadPoolExecutor(2) as pool:
            working = [pool.submit(publish, one, 7) for one in servers]
            time.sleep(1)
            redis.freeze()
            begun = time.monotonic()
            wait_for(lambda: all(state(one.url)["status"] == "degraded" for one in servers), 5)
            reason = state(servers[0].url)["reason"]  # anybody may read it: it does not say where Redis is
            assert "Redis" in reason and "127.0.0.1" not in reason and time.monotonic() - begun < 5
            metrics = httpx.get(f"{servers[0].url}/metrics", headers=HEADERS).text
            assert "\nplayhead_degraded 1\n" in metrics
            time.sleep(max(0.0, 4 - (time.monotonic() - begun)))
            redis.thaw()
            for one in working:
                one.result()
        settle(servers)
        rows = [ids_of(one) for one in servers]
        assert rows[0] == rows[1]
        assert sorted(rows[0]) == sorted(one for sent in order.values() for one in sent)
        places = {one: place for place, one in enumerate(rows[0])}
        for sent in order.values():
            assert [places[one] for one in sent] == sorted(places[one] for one in sent)
        assert slowest < 5
        metrics = httpx.get(f"{servers[0].url}/metrics", headers=HEADERS).text
        assert "\nplayhead_degraded 0\n" in metrics and "\nplayhead_outbox_events 0\n" in metrics


def test_while_redis_is_away_a_servers_own_readers_see_what_it_takes_in(tmp_path: Path, redis: Redis) -> None:
    """Marked provisional, no seq, no cursor moved, over WebSocket and SSE and to Python; then each once with its seq."""
    with shared(tmp_path, 1, redis.url) as (server,):
        post(server.url, some(2))
        found: list[Event] = []
        ahead: list[Event] = []
        with (
            ph.connect(server.url, token=TOKEN) as client,
            connect(
                server.url.replace("http", "ws") + "/api/events/ws?batchId=b&after=start",
                additional_headers=HEADERS, proxy=None,
            ) as socket,
            httpx.stream("GET", f"{server.url}/api/events/stream?batchId=b", headers=HEADERS, timeout=20) as stream,
        ):
            watch = client.watch(
                on_events=lambda events, cursor: found.extend(events), after="start", on_provisional=ahead.extend, batch_id="b"
            )
            wait_for(lambda: len(found) == 2)
            cursor = watch.cursor
            redis.kill()
            answer = post(server.url, events := some(3))
            assert answer["provisional"] is True and answer["firstSeq"] is None and answer["cursor"] == cursor
            wait_for(lambda: len(ahead) == 3)
            assert [one.id for one in ahead] == [one["id"] for one in events] and watch.cursor == cursor
            wait_for(lambda: "Redis" in watch.status.degraded)
            redis.start()
            wait_for(lambda: len(found) == 5)
            assert [one.id for one in found[2:]] == [one["id"] for one in events]
            wait_for(lambda: watch.status.degraded == "")
            said = []
            while {"op": "status", "state": "ok"} not in said:
                said.append(json.loads(socket.recv(timeout=10)))
            (told,) = [one for one in said if one["op"] == "provisional"]
            assert [one["id"] for one in told["events"]] == [one["id"] for one in events]
            assert all("seq" not in one for one in told["events"])
            assert any(one["op"] == "events" and one["to"].endswith(":5") for one in said)
            lines = stream.iter_lines()
            seen = [next(lines)]
            while '"seq":5' not in seen[-1]:
                seen.append(next(lines))
            assert seen.count("event: provisional") == 3
            assert sum(one.startswith("data: {\"seq\"") for one in seen) == 3


def test_a_server_begins_where_no_redis_is(tmp_path: Path) -> None:
    """It takes events in, keeps them over a kill, and sends them on once a Redis is there."""
    port = free_port()
    server = Server(tmp_path / "0.playhead", f"redis://127.0.0.1:{port}")
    try:
        events = some(4)
        assert post(server.url, events[:2])["provisional"] is True
        wait_for(lambda: state(server.url)["status"] == "degraded")
        server.kill()
        server.start()
        assert post(server.url, events[1:])["accepted"] == 3
        redis = Redis(tmp_path / "redis", port=port)
        try:
            settle([server])
            assert ids_of(server) == [one["id"] for one in events]
        finally:
            redis.kill()
    finally:
        server.kill()


def test_a_line_that_stalls_is_noticed(tmp_path: Path, redis: Redis) -> None:
    """A link to Redis that carries nothing and does not break: degraded within 5 s, and well again when it carries."""
    with line(redis.url, is_raw=True) as link, shared(tmp_path, 1, link.url) as (server,):
        link.freeze()
        wait_for(lambda: state(server.url)["status"] == "degraded", 5)
        post(server.url, events := some(3))
        link.thaw()
        settle([server])
        assert ids_of(server) == [one["id"] for one in events]
def test_redis_emptied_the_log_is_whole_again(tmp_path: Path, redis: Redis) -> None:
    """FLUSHALL under load: noticed, another epoch, readers are reset and have each event once in the end."""
    with shared(tmp_path, 2, redis.url) as servers:
        sent = some(300)
        post(servers[0].url, sent)
        settle(servers)
        epoch = state(servers[0].url)["cursor"].partition(":")[0]
        found: list[Event] = []
        resets: list[str] = []

        def reset(reason: str) -> None:
            resets.append(reason)
            found.clear()

        with ph.connect(servers[1].url, token=TOKEN) as client:
            client.watch(on_events=lambda events, cursor: found.extend(events), after="start", on_reset=reset)
            wait_for(lambda: len(found) == 300)
            redis.ask("FLUSHALL")
            begun = time.monotonic()
            while state(servers[0].url)["cursor"].partition(":")[0] == epoch:
                sent += (more := some(3))
                post(servers[len(sent) % 2].url, more)
                assert time.monotonic() - begun < 10
            settle(servers)
            assert ids_of(servers[0]) == ids_of(servers[1])
            assert sorted(ids_of(servers[0])) == sorted(one["id"] for one in sent)
            wait_for(lambda: [one.id for one in found] == ids_of(servers[0]))
            assert resets == ["epoch"]
        old = httpx.get(f"{servers[0].url}/api/events?after={epoch}:10", headers=HEADERS)
        assert old.status_code == 410 and old.json()["reason"] == "epoch"


def test_a_redis_with_an_older_log_is_brought_up_to_date(tmp_path: Path, redis: Redis) -> None:
    """Restarted from an older copy of its file: what the servers have is in the log again, what is new is not mixed up."""
    with shared(tmp_path, 2, redis.url) as servers:
        sent = some(20)
        post(servers[0].url, sent)
        settle(servers)
        shutil.copytree(tmp_path / "redis" / "appendonlydir", tmp_path / "older")
        sent += (more := some(30))
        post(servers[1].url, more)
        settle(servers)
        restore(redis, tmp_path)
        for n in range(10):
            sent += (more := some(2))
            post(servers[n % 2].url, more)
        settle(servers)
        assert ids_of(servers[0]) == ids_of(servers[1])
        assert sorted(ids_of(servers[0])) == sorted(one["id"] for one in sent)


def test_a_server_that_was_away_cannot_split_the_log(tmp_path: Path, redis: Redis) -> None:
    """It holds events that the others gave up: they are published again, and its recording is as theirs."""
    with shared(tmp_path, 2, redis.url) as servers:
        post(servers[0].url, both := some(10))
        settle(servers)
        servers[0].kill()
        post(servers[1].url, alone := some(7))
        servers[1].kill()
        redis.ask("FLUSHALL")
        servers[0].start()  # which holds less, and whose log goes on
        wait_for(lambda: state(servers[0].url)["status"] == "ok")
        post(servers[0].url, after := some(5))
        wait_for(lambda: state(servers[0].url)["cursor"].endswith(":15"))
        servers[1].start()
        wait_for(lambda: state(servers[0].url)["cursor"].endswith(":22"))
        settle(servers)
        assert ids_of(servers[0]) == ids_of(servers[1]) == [one["id"] for one in both + after + alone]
        assert rows_of(servers[0].url) == rows_of(servers[1].url)


def restore(redis: Redis, folder: Path) -> None:
    """Start a Redis again with an older copy of its file."""
    redis.kill()
    shutil.rmtree(folder / "redis" / "appendonlydir")
    shutil.copytree(folder / "older", folder / "redis" / "appendonlydir")
    redis.start()


def test_a_server_that_held_other_events_begins_another_epoch(tmp_path: Path, redis: Redis) -> None:
    """While it was away Redis lost what it held and went on in that epoch: its own are published again, behind the others."""
    with shared(tmp_path, 2, redis.url) as servers:
        post(servers[0].url, both := some(10))
        settle(servers)
        shutil.copytree(tmp_path / "redis" / "appendonlydir", tmp_path / "older")
        servers[1].kill()
        post(servers[0].url, alone := some(7))
        servers[0].kill()
        restore(redis, tmp_path)
        servers[1].start()
        wait_for(lambda: state(servers[1].url)["status"] == "ok")
        post(servers[1].url, others := some(9))
        before = state(servers[1].url)["cursor"].partition(":")[0]
        servers[0].start()
        wait_for(lambda: state(servers[1].url)["cursor"].endswith(":26"))
        settle(servers)
        assert ids_of(servers[0]) == ids_of(servers[1]) == [one["id"] for one in both + others + alone]
        assert state(servers[0].url)["cursor"].partition(":")[0] != before
        new = Server(tmp_path / "new.playhead", redis.url)  # which reads entries of both epochs
        try:
            settle([*servers, new])
            assert rows_of(new.url) == rows_of(servers[0].url) == rows_of(servers[1].url)
        finally:
            new.kill()


def test_a_redis_of_an_earlier_epoch_is_overruled(tmp_path: Path, redis: Redis) -> None:
    """Restored from before the servers agreed on another one: they agree once more, and nothing is missing."""
    with shared(tmp_path, 2, redis.url) as servers:
        post(servers[0].url, sent := some(10))
        settle(servers)
        shutil.copytree(tmp_path / "redis" / "appendonlydir", tmp_path / "older")
        redis.ask("FLUSHALL")
        wait_for(lambda: state(servers[0].url)["status"] == "degraded")
        settle(servers)
        sent += (more := some(10))
        post(servers[1].url, more)
        settle(servers)
        restore(redis, tmp_path)
        sent += (more := some(5))
        post(servers[0].url, more)
        settle(servers)
        assert ids_of(servers[0]) == ids_of(servers[1]) == [one["id"] for one in sent]


def test_a_log_whose_end_was_deleted_is_whole_again(tmp_path: Path, redis: Redis) -> None:
    """Redis emptied after the newest events were deleted: others follow, a new server too."""
    with shared(tmp_path, 2, redis.url) as servers:
        post(servers[0].url, some(10))
        httpx.delete(f"{servers[0].url}/api/events?olderThan=2100-01-01T00:00:00Z", headers=HEADERS, timeout=30)
        settle(servers)
        redis.ask("FLUSHALL")
        wait_for(lambda: state(servers[0].url)["status"] == "degraded")
        settle(servers)
        post(servers[1].url, some(4))
        new = Server(tmp_path / "new.playhead", redis.url)
        try:
            settle([*servers, new])
            assert len(rows_of(new.url)) == 4 and rows_of(new.url) == rows_of(servers[0].url) == rows_of(servers[1].url)
        finally:
            new.kill()


def test_enough_replicas_or_the_outbox(tmp_path: Path, redis: Redis) -> None:
    """``--redis-wait 1`` with no replica: kept in the outbox; with one, the events are there before they are acknowledged."""
    server = Server(tmp_path / "0.playhead", redis.url, "--redis-wait", "1")
    try:
        wait_for(lambda: "0 of the 1 replicas" in state(server.url).get("reason", ""))
        assert post(server.url, events := some(2)).get("provisional") is True
        replica = Redis(tmp_path / "replica", "--replicaof", "127.0.0.1", str(redis.port))
        try:
            wait_for(lambda: all_well([server]))
            assert post(server.url, more := some(1))["firstSeq"] == 3
            assert replica.ask("XLEN", "playhead:{main}:log") == 2
            assert ids_of(server) == [one["id"] for one in events + more]
        finally:
            replica.kill()
    finally:
        server.kill()


def test_sentinel_names_another_master(tmp_path: Path) -> None:
    """The master is killed, a replica takes its place: the same counts, each event once."""
    first = Redis(tmp_path / "first")
    second = Redis(tmp_path / "second", "--replicaof", "127.0.0.1", str(first.port))
    config = tmp_path / "sentinel.conf"
    port = free_port()
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor main 127.0.0.1 {first.port} 1\n"
        "sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n"
    )
    sentinel = subprocess.Popen(["redis-server", str(config), "--sentinel"], stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: second.ask("INFO", "replication").get("master_link_status") == "up")
        cli = ["redis-cli", "-p", str(port), "sentinel", "replicas", "main"]
        wait_for(lambda: str(second.port).encode() in subprocess.run(cli, capture_output=True, check=False).stdout)
        with shared(tmp_path, 2, f"redis+sentinel://127.0.0.1:{port}/main") as servers:
            sent = some(100)
            post(servers[0].url, sent)
            first.kill()
            end = time.monotonic() + 8
            while time.monotonic() < end:
                sent += (more := some(2))
                post(servers[len(sent) // 2 % 2].url, more)
                time.sleep(0.05)
            settle(servers)
            assert second.ask("INFO", "replication")["role"] == "master"
            assert ids_of(servers[0]) == ids_of(servers[1])
            assert sorted(ids_of(servers[0])) == sorted(one["id"] for one in sent)
    finally:
        sentinel.kill()
        sentinel.wait()
        first.kill()
        second.kill()


def test_a_slot_of_a_cluster_moves(tmp_path: Path) -> None:
    """The log's slot is moved to another node under load: the same counts, each event once."""
    nodes = [Redis(tmp_path / f"node{n}", "--cluster-enabled", "yes") for n in range(3)]
    try:
        places = [f"127.0.0.1:{one.port}" for one in nodes]
        make = ["redis-cli", "--cluster", "create", *places, "--cluster-yes"]
        subprocess.run(make, check=True, capture_output=True, timeout=60)
        cli = ["redis-cli", "-p", str(nodes[0].port)]
        wait_for(lambda: b"cluster_state:ok" in subprocess.run([*cli, "cluster", "info"], capture_output=True).stdout)
        slot = int(subprocess.run([*cli, "cluster", "keyslot", "{main}"], capture_output=True, check=True).stdout)
        names = {one.port: one.ask("CLUSTER MYID").decode() for one in nodes}
        owner = next(one for one in nodes if _owns(one, slot))
        target = next(one for one in nodes if one is not owner)
        with shared(tmp_path, 2, "redis+cluster://" + ",".join(places)) as servers:
            sent = some(200)
            post(servers[0].url, sent)
            target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", names[owner.port])
            owner.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target.port])
            while keys := owner.ask("CLUSTER", "GETKEYSINSLOT", slot, 1):
                owner.ask("MIGRATE", "127.0.0.1", target.port, keys[0], 0, 5000)
                sent += (more := some(2))
                post(servers[len(sent) // 2 % 2].url, more)
            for one in (target, owner, *nodes):
                one.ask("CLUSTER", "SETSLOT", slot, "NODE", names[target.port])
            for _ in range(20):
                sent += (more := some(2))
                post(servers[len(sent) // 2 % 2].url, more)
            settle(servers)
            assert target.ask("CLUSTER", "COUNTKEYSINSLOT", slot) > 0
            assert ids_of(servers[0]) == ids_of(servers[1])
            assert sorted(ids_of(servers[0])) == sorted(one["id"] for one in sent)
            for one in nodes:
                one.kill()
            assert post(servers[0].url, some(1))["provisional"] is True
    finally:
        for one in nodes:
            one.kill()


def _owns(node: Redis, slot: int) -> bool:
    said = node.ask("CLUSTER", "SLOTS")
    return any(low <= slot <= high and where[1] == node.port for low, high, where, *_ in said)


@pytest.mark.parametrize("faults", [("server", "redis", "freeze", "nginx", "link", "stall"), ("flush", "server", "link")])
def test_whatever_goes_away_every_reader_has_everything_once(tmp_path: Path, faults: tuple[str, ...]) -> None:
    """3 servers behind nginx, readers that hop, something broken every 2 s; the seed is in the message."""
    seed = random.randrange(10**6)
    print(Chaos(tmp_path, readers=8, rate=500, seed=seed).run(12, 2, faults))
