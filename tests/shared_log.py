"""What a log of many servers runs on, each a real process on a free port: Redis, nginx, servers, and links between them."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import redis

from playhead.recording.directory import new_epoch
from playhead_server.cluster.link import Link
from playhead_server.cluster.log import About, Log
from tests.conftest import TOKEN, Process, free_port, wait_for

HEADERS = {"X-Playhead-Token": TOKEN}
PATH = os.environ.get("PATH", "") + ":/usr/sbin"


class Program:
    """A process that can be killed, stopped and started again on the same port."""

    def __init__(self, command: Sequence[str], port: int, log: Path) -> None:
        self._command, self.port, self._log = command, port, log
        self.start()

    def start(self) -> None:
        """Start it, and wait until its port answers."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)
        wait_for(self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()[-2000:]
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def kill(self) -> None:
        """kill -9, of what it has started too."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def freeze(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)


class Redis(Program):
    """A Redis whose file of commands outlives kill -9 unflushed; flushed, it would stop for as long as a busy disk takes."""

    def __init__(self, folder: Path, *options: str, port: int | None = None, fsync: str = "no") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        port = port or free_port()
        while "--cluster-enabled" in options and port > 55_000:  # nodes speak to each other on a port 10,000 above
            port = free_port()
        durable = ("--save", "", "--appendonly", "yes", "--appendfsync", fsync)
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), *durable, *options]
        super().__init__(command, port, folder / "redis.log")
        self.url = f"redis://127.0.0.1:{port}"

    def ask(self, *words: Any) -> Any:
        """The answer to one command."""
        with redis.Redis(port=self.port, protocol=2) as client:
            return client.execute_command(*words)


class Server(Process):
    """A server of the log, with its log in a file: a pipe that nobody reads would stop it when it is full."""

    def __init__(self, recording: Path, redis_url: str, *options: str) -> None:
        self.log = recording.with_suffix(".log")
        super().__init__(recording, 0, "--redis-url", redis_url, *options)

    def start(self) -> None:
        """Start it and wait for its first line, the url."""
        with self.log.open("ab") as log:
            self._started["stderr"] = log
            super().start()


_NGINX = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log warn; worker_processes 1; {user}
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 20m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream playhead {{ {servers} keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://playhead; proxy_http_version 1.1; proxy_buffering off; proxy_read_timeout 75s;
      proxy_set_header Host $host:$server_port; proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    }}
  }}
}}
"""


class Nginx(Program):
    """nginx in front of servers."""

    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        servers = " ".join(f"server 127.0.0.1:{one} max_fails=1 fail_timeout=1s;" for one in ports)
        user = "user root;" if os.geteuid() == 0 else ""
        file = folder / "nginx.conf"
        file.write_text(_NGINX.format(folder=folder, user=user, servers=servers, port=port))
        program = shutil.which("nginx", path=PATH)
        assert program, "nginx is missing; `make ready` installs it"
        super().__init__([program, "-c", str(file), "-p", str(folder)], port, folder / "nginx.log")
        self.url = f"http://127.0.0.1:{port}"


def state(url: str) -> dict[str, str]:
    """What a server says of itself at /readyz."""
    with contextlib.suppress(httpx.HTTPError):
        found: dict[str, str] = httpx.get(f"{url}/readyz", timeout=5).json()
        return found
    return {"status": "away"}


def all_well(servers: Sequence[Process]) -> bool:
    """Whether every server is with the others, and all are at the same position."""
    said = [state(one.url) for one in servers]
    return all(one["status"] == "ok" for one in said) and len({one["cursor"] for one in said}) == 1


def some(count: int, **more: Any) -> list[dict[str, Any]]:
    """Events with ids of their own."""
    return [{"type": "job_progress", "jobId": "j", "batchId": "b", "id": str(uuid.uuid4())} | more for _ in range(count)]


def post(url: str, events: list[dict[str, Any]]) -> dict[str, Any]:
    """Publish, and what was answered."""
    answer = httpx.post(f"{url}/api/events", json=events, headers=HEADERS, timeout=30)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def place(server: Process, events: list[dict[str, Any]]) -> int:
    """Publish, and the seq of the first of them: as answered, or as found where Redis was slow and they went by the outbox."""
    answer = post(server.url, events)
    if answer.get("provisional"):
        wait_for(lambda: events[0]["id"] in ids_of(server), 60)
        return ids_of(server).index(events[0]["id"]) + 1
    return int(answer["firstSeq"])


def ids_of(server: Process) -> list[str]:
    """The ids of what a server holds, in its order."""
    return [json.loads(row)["id"] for row in rows_of(server.url)]


def rows_of(url: str) -> list[str]:
    """Every event that a server holds, as the lines of its export."""
    with httpx.stream("GET", f"{url}/api/events?format=ndjson", headers=HEADERS, timeout=120) as answer:
        assert answer.status_code == 200, answer.read()
        return list(answer.iter_lines())


def begin(redis_url: str, name: str = "main") -> None:
    """Begin a log at once; the first server would wait a few seconds for others that may hold it."""
    link = Link(redis_url)
    log = Log(link, name)
    log.claim("suite", 0, 0)
    assert log.seed("suite", About(new_epoch(), 1, 0, 1, secrets.token_urlsafe(32), {}, 0), []) == ["done"]
    link.use(None)


@contextlib.contextmanager
def shared(folder: Path, count: int, redis_url: str, *options: str, is_begun: bool = False) -> Iterator[list[Server]]:
    """Servers that share a log, new but for one that is begun, ended with the block; each has its port for good."""
    found: list[Server] = []
    folder.mkdir(parents=True, exist_ok=True)
    if not is_begun:
        begin(redis_url, options[options.index("--redis-log") + 1] if "--redis-log" in options else "main")
    try:
        with ThreadPoolExecutor(count) as pool:  # the first of a log waits a moment for others
            found += pool.map(lambda number: Server(folder / f"{number}.playhead", redis_url, *options), range(count))
        wait_for(lambda: all_well(found))
        yield found
    finally:
        for one in found:
            one.process.send_signal(signal.SIGCONT)
            one.kill()


def settle(servers: Sequence[Server], seconds: float = 60) -> None:
    """Wait until all servers are at the same position, and stay there."""
    end = time.monotonic() + seconds
    while True:
        try:
            wait_for(lambda: all_well(servers), max(1.0, end - time.monotonic()))
        except AssertionError as error:
            said = [(state(one.url), one.log.read_text()[-1500:]) for one in servers]
            raise AssertionError(f"{error}: {said}") from None
        before = [state(one.url) for one in servers]
        time.sleep(0.5)
        if all_well(servers) and [state(one.url) for one in servers] == before:
            return
