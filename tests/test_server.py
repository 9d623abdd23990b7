"""`playhead serve` as its operator meets it: start, files, signals, faults; and the calls as people type them."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

import playhead as ph
from playhead_server.server import Running, Settings, _listen
from tests.conftest import TOKEN, Process, playhead, process, wait_for

HEADER = {"X-Playhead-Token": TOKEN}


def curl(server: Running | Process, *words: str, seconds: float = 10) -> str:
    """What curl prints, stopped after some seconds as a stream must be."""
    command = ["curl", "-sS", "--max-time", str(seconds), "-H", f"X-Playhead-Token: {TOKEN}", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout


def test_the_calls_as_people_type_them(server: Running) -> None:
    """curl with each filter, a stream, and a deletion."""
    start = datetime(2026, 11, 1, tzinfo=UTC)
    story = [("job_started", "X", "a"), ("job_progress", "X", "a"), ("job_completed", "X", "a"), ("job_started", "Y", "b")]
    server.recording.append(
        [
            {"type": kind, "executionId": execution, "jobId": job, "timestamp": start + timedelta(hours=n)}
            for n, (kind, execution, job) in enumerate(story)
        ]
    )

    def seqs(query: str) -> list[int]:
        return [event["seq"] for event in json.loads(curl(server, f"{server.url}/api/events?{query}"))["events"]]

    assert seqs("executionId=X&limit=100") == [1, 2, 3]
    assert seqs("jobId=b") == [4]
    assert seqs("type=job_started,job_completed") == [1, 3, 4]
    assert seqs("type=job_started&type=job_completed") == [1, 3, 4]
    assert seqs("since=2026-11-01T01:00:00Z&until=2026-11-01T03:00:00Z") == [2, 3]
    assert seqs("since=2026-11-01T02:00:00+01:00&limit=1") == [2]  # curl leaves the plus, which a server reads as a space
    stream = curl(server, "-N", f"{server.url}/api/events/stream?executionId=X&after=start", seconds=0.7)
    assert [line for line in stream.splitlines() if line.startswith("id: ")][:3] == [
        f"id: {server.recording.epoch}:{n}" for n in (1, 2, 3)
    ]
    assert json.loads(stream.split("data: ")[1].split("\n")[0])["type"] == "job_started"
    deleted = curl(server, "-X", "DELETE", f"{server.url}/api/events?olderThan=2026-11-01T01:30:00Z")
    assert json.loads(deleted) == {"deleted": 2}
    assert seqs("executionId=X&limit=100") == [3]


def test_start_and_clean_end(tmp_path: Path) -> None:
    """The url alone on stdout; a discovery file for this user only, gone at the end; SIGTERM ends it with 0."""
    with process(tmp_path / "log.playhead") as server:
        file = tmp_path / "runtime" / "server.json"
        assert file.stat().st_mode & 0o777 == 0o600
        assert json.loads(file.read_text())["url"] == server.url
        with ph.connect() as client:
            client.publish({"type": "a"})
            assert client.flush(5)
            assert repr(client) == f"<RemoteClient {server.url}>"
        status, out, err = server.end()
        assert (status, out) == (0, "")
        assert TOKEN not in err and not file.exists()


def test_ending_under_load_loses_nothing(tmp_path: Path) -> None:
    """SIGTERM while events come in and streams are open: quick, status 0, and with the next server the log is whole."""
    with process(tmp_path / "log.playhead") as server, ph.connect(server.url, token=TOKEN) as client:
        seen: list[int] = []
        watch = client.watch(on_events=lambda events, _: seen.extend(one.data["n"] for one in events), after="start")
        count = 0
        for _ in range(3):
            for _ in range(300):
                client.publish({"type": "a", "data": {"n": count}})
                count += 1
                time.sleep(0.0005)
            with httpx.stream("GET", f"{server.url}/api/events/stream", headers=HEADER, trust_env=False) as stream:
                assert stream.status_code == 200
                begun = time.monotonic()
                assert server.end()[0] == 0
                assert time.monotonic() - begun < 4  # an open stream does not hold it up
            server.start()
        assert client.flush(20)
        wait_for(lambda: len(seen) == count)
        assert seen == list(range(count))
        watch.close()


def test_answers_wait_for_no_acknowledgement() -> None:
    """The listening socket says it is TCP: only then asyncio turns Nagle's algorithm off, which costs 40 ms an answer."""
    with _listen(Settings(recording=Path("unused"), port=0)) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def test_what_cannot_be_served_is_one_line(tmp_path: Path, server: Running) -> None:
    """A recording in use, of a newer version, a file, a port that is taken, a bad option: the cause and what to do."""
    newer = tmp_path / "newer.playhead"
    ph.connect(newer).close()
    about = json.loads((newer / "recording.json").read_text())
    (newer / "recording.json").write_text(json.dumps(about | {"format": 99}))
    (tmp_path / "file.playhead").write_text("")
    port = server.url.rpartition(":")[2]
    for words, says in (
        ([str(server.recording.path)], f"use playhead.connect('{server.url}')"),
        ([str(newer)], "pip install -U playhead"),
        ([str(tmp_path / "file.playhead")], "a recording is a directory"),
        ([str(tmp_path / "a.playhead"), "--port", port], f"port {port}"),
        ([str(tmp_path / "a.playhead"), "--retention", "soon"], "write 30d"),
        ([str(tmp_path / "a.playhead"), "--host", "0.0.0.0", "--no-auth"], "loopback"),
        ([str(tmp_path / "a.playhead"), "--token", "short"], "at least 8"),
        ([str(tmp_path / "a.playhead"), "--log-level", "loud"], "none of debug"),
        ([str(tmp_path / "a.playhead"), "--redis-url", "http://localhost"], "--redis-url"),
    ):
        done = playhead("serve", *words)
        assert done.returncode == 1 and says in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1 and done.stdout == ""


def _small_files() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, -1))


def test_a_full_disk_is_said_and_survived(tmp_path: Path) -> None:
    """503 with Retry-After and the cause, nothing half stored, /readyz says so; what was acknowledged is there."""
    events = [{"type": "a", "data": {"x": os.urandom(200).hex()}} for _ in range(1000)]
    acknowledged = 0
    with (
        process(tmp_path / "log.playhead", preexec_fn=_small_files) as server,
        httpx.Client(base_url=server.url, headers=HEADER, trust_env=False, timeout=30) as http,
    ):
        for _ in range(100):
            answer = http.post("/api/events", json=events)
            if answer.status_code != 201:
                break
            acknowledged = answer.json()["lastSeq"]
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
        assert answer.headers["content-type"] == "application/problem+json"
        assert "free some space" in answer.json()["detail"]
        assert http.get("/api/events?limit=0&total=true").json()["pagination"]["total"] == acknowledged > 0
        ready = http.get("/readyz")
        assert ready.status_code == 503 and "cannot be written" in ready.json()["detail"]
        assert http.get("/healthz").status_code == 200
    with ph.connect(tmp_path / "log.playhead") as client:
        assert client.events().to_pandas()["seq"].tolist() == list(range(1, acknowledged + 1))


@pytest.mark.parametrize("kind", ["epoch", "ahead"])
def test_positions_of_elsewhere(server: Running, kind: str) -> None:
    """A cursor of another log is 410 and says where to begin; one ahead of the head answers empty."""
    server.recording.append([{"type": "a"}])
    epoch = server.recording.epoch
    answer = httpx.get(
        f"{server.url}/api/events", params={"after": "zzz:1" if kind == "epoch" else f"{epoch}:99"}, headers=HEADER,
        trust_env=False,
    )  # fmt: skip
    if kind == "epoch":
        assert answer.status_code == 410
        assert (answer.json()["reason"], answer.json()["oldest"]) == ("epoch", f"{epoch}:0")
    else:
        assert answer.json()["events"] == []
        assert answer.json()["pagination"]["nextCursor"] == f"{epoch}:99"
