"""What goes wrong under a server: no descriptors, no memory, a slow disk. It is said, others are served, nothing is lost."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect as connect_socket

import playhead as ph
from playhead.recording import journal
from playhead_server.server import Running
from tests.conftest import TOKEN, process, wait_for

HEADER = {"X-Playhead-Token": TOKEN}
_SLOW_S = 1.2  # a flush
_LEFT = 100 * 2**20  # of memory, above what the server begins with


def _limited(what: int, most: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(what, (most, most))


def _post(http: httpx.Client, count: int) -> httpx.Response:
    return http.post("/api/events", json=[{"type": "a", "data": {"x": os.urandom(100).hex()}} for _ in range(count)])


def _export(http: httpx.Client) -> bool:
    """Whether an export was whole."""
    try:
        answer = http.get("/api/events?format=parquet")
    except httpx.TransportError:
        return False
    assert answer.status_code in (200, 500, 503), answer.text
    return answer.status_code == 200


def test_without_descriptors_those_inside_go_on(tmp_path: Path) -> None:
    """More connections than descriptors: who is connected publishes and watches on, and others get in when some have gone."""
    with (
        process(tmp_path / "log.playhead", preexec_fn=_limited(resource.RLIMIT_NOFILE, 96)) as server,
        httpx.Client(base_url=server.url, headers=HEADER, trust_env=False, timeout=20) as http,
    ):
        assert _post(http, 10).status_code == 201
        address = f"ws{server.url.removeprefix('http')}/api/events/ws?after=start"
        with connect_socket(address, additional_headers=HEADER, proxy=None) as watching:
            host, _, port = server.url.removeprefix("http://").partition(":")
            crowd = [socket.create_connection((host, int(port)), timeout=20) for _ in range(150)]
            for n in range(5):
                assert _post(http, 10).json()["lastSeq"] == 20 + 10 * n
            seen = 0
            while seen < 60:
                seen += str(watching.recv(20)).count('"seq"')
            for one in crowd:
                one.close()
        wait_for(lambda: httpx.get(f"{server.url}/healthz", trust_env=False, timeout=20).status_code == 200)
        assert http.get("/api/events?limit=0&total=true").json()["pagination"]["total"] == 60
        status, _, err = server.end()
    assert status == 0 and "Traceback" not in err.replace("socket.accept() out of system resource", ""), err


def test_without_memory_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    """
    A limit on its memory: what asks for too much is refused or breaks off, as who reads notices. Where nothing is left at all
    the server may have to be ended; what it acknowledged is there at the next start, each event once.
    """
    with (
        process(tmp_path / "log.playhead", stderr=subprocess.DEVNULL) as server,
        httpx.Client(base_url=server.url, headers=HEADER, trust_env=False, timeout=10) as http,
    ):
        assert _post(http, 10).status_code == 201 and http.get("/api/executions").status_code == 200
        acknowledged, refused = 10, 0
        with ThreadPoolExecutor(4) as others:
            for left in (_LEFT, _LEFT // 2, _LEFT // 4, _LEFT // 8, 0):  # how much it has in hand already differs
                status = Path(f"/proc/{server.process.pid}/status").read_text()
                size = int(re.findall(r"VmSize:\s+(\d+) kB", status)[0]) * 1024
                resource.prlimit(server.process.pid, resource.RLIMIT_AS, (size + left, resource.RLIM_INFINITY))
                for _ in range(3):
                    asked = [others.submit(_export, http) for _ in range(4)]
                    try:
                        answer = _post(http, 9_000)
                    except httpx.TransportError:
                        refused += 1
                        break
                    assert answer.status_code in (201, 500, 503), answer.text
                    acknowledged = answer.json()["lastSeq"] if answer.status_code == 201 else acknowledged
                    refused += sum(not one.result() for one in asked) + answer.is_error
                if refused:
                    break
        assert refused, "the limits are too high to show anything"
    with ph.connect(tmp_path / "log.playhead") as client:
        seqs = client.events().to_pandas()["seq"]
        assert seqs.is_unique and set(range(1, acknowledged + 1)) <= set(seqs)


def test_a_slow_disk_holds_up_who_publishes_and_nobody_else(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Answers to publishers come when the disk has it, and nothing is told before; the server goes on meanwhile. Who asks for
    the newest events waits for the flush that is going on, and no longer.
    """
    with (
        httpx.Client(base_url=server.url, headers=HEADER, trust_env=False, timeout=30) as http,
        contextlib.closing(httpx.Client(base_url=server.url, headers=HEADER, trust_env=False, timeout=30)) as reader,
    ):
        assert _post(http, 100).status_code == 201
        flush, is_slow = os.fdatasync, threading.Event()

        def flushed(handle: int) -> None:
            time.sleep(_SLOW_S if is_slow.is_set() else 0)
            flush(handle)

        monkeypatch.setattr(journal.os, "fdatasync", flushed)
        is_slow.set()
        begun = time.monotonic()
        publishing = threading.Thread(target=_post, args=(http, 100))
        publishing.start()
        time.sleep(_SLOW_S / 4)
        answers = []
        for path in ("/healthz", "/readyz", "/api/events?limit=0&total=true"):
            at = time.monotonic()
            answers.append((reader.get(path), time.monotonic() - at))
        publishing.join()
        took_s = time.monotonic() - begun
        is_slow.clear()
        assert took_s >= _SLOW_S and all(answer.status_code == 200 for answer, _ in answers)
        assert answers[0][1] < _SLOW_S / 2 and answers[1][1] < _SLOW_S / 2 and answers[2][1] < _SLOW_S * 2
        assert answers[2][0].json()["pagination"]["total"] in (100, 200)
        assert reader.get("/api/events?limit=0&total=true").json()["pagination"]["total"] == 200
