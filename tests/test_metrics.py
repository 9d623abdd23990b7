"""What Prometheus sees of real servers: each figure, the dashboard, and the alerts, each on the fault that it is for."""

from __future__ import annotations

import contextlib
import json
import math
import re
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from websockets.sync.client import connect as connect_socket

import playhead as ph
from playhead.recording import Recording
from playhead_server.metrics import READ
from playhead_server.server import Running, Settings, running
from tests.conftest import TOKEN, free_port, process, wait_for
from tests.pages import TEXT
from tests.shared_log import HEADERS, PATH, Program, Redis, post, shared, some

ROOT = Path(__file__).parents[1]
DASHBOARD = json.loads((ROOT / "server" / "grafana.json").read_text())
RULES = (ROOT / "server" / "alerts.yml").read_text()
WINDOW = "6s"
OURS = re.compile(r"\b(?:playhead|process)_\w+")


def exprs() -> list[str]:
    """What the dashboard asks, of all servers."""
    found = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    return [one.replace("$instance", ".*").replace("$__rate_interval", WINDOW) for one in found]


def impatient(rules: str) -> str:
    """The alerts, with windows of seconds; and the disk of whoever runs this counts as nearly full."""
    rules = re.sub(r"\bfor: \w+", "for: 1s", rules).replace("[5m]", f"[{WINDOW}]")
    assert "disk_size_bytes < 0.1" in rules
    return rules.replace("disk_size_bytes < 0.1", "disk_size_bytes < 2")


class Prometheus(Program):
    """A Prometheus that asks servers every second, and the impatient alerts."""

    def __init__(self, folder: Path, urls: Sequence[str]) -> None:
        folder.mkdir()
        program, port = shutil.which("prometheus", path=PATH), free_port()
        assert program, "prometheus is missing; `make ready` installs it"
        (folder / "alerts.yml").write_text(impatient(RULES))
        asked = [url.removeprefix("http://") for url in urls]
        job = {
            "job_name": "playhead", "authorization": {"credentials": TOKEN}, "static_configs": [{"targets": asked}],
        }  # fmt: skip
        every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config = {"global": every, "rule_files": ["alerts.yml"], "scrape_configs": [job]}
        (folder / "prometheus.yml").write_text(json.dumps(config))  # which is YAML too
        command = [
            program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]  # fmt: skip
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10)
        super().__init__(command, port, folder / "prometheus.log")
        wait_for(lambda: self._http.get("/-/ready").status_code == 200)

    def end(self) -> None:
        """kill -9."""
        self._http.close()
        self.kill()

    def _ask(self, path: str, **query: str) -> Any:
        answer = self._http.get(f"/api/v1/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def values(self, expr: str) -> list[float]:
        """What an expression is at this moment, of each series."""
        return [float(one["value"][1]) for one in self._ask("query", query=expr)["result"]]

    def has(self, expr: str) -> bool:
        """Whether an expression has a number."""
        return any(math.isfinite(value) for value in self.values(expr))

    def rules(self) -> list[dict[str, Any]]:
        """Every alert, as it is understood."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def firing(self) -> set[tuple[str, str]]:
        """Which alerts fire, and of which server."""
        found = [one for one in self._ask("alerts")["alerts"] if one["state"] == "firing"]
        return {(one["labels"]["alertname"], f"http://{one['labels']['instance']}") for one in found}


@contextlib.contextmanager
def asking(urls: Sequence[str], folder: Path) -> Iterator[Prometheus]:
    """A Prometheus that has seen each server, ended with the block."""
    found = Prometheus(folder, urls)
    try:
        wait_for(lambda: len(found.values("up == 1")) == len(urls))
        yield found
    finally:
        found.end()


@contextlib.contextmanager
def meanwhile(*work: Callable[[], object], every_s: float = 0.05) -> Iterator[None]:
    """Something that goes on again and again, each in a thread, until the block ends."""
    is_over = threading.Event()

    def go_on(one: Callable[[], object]) -> None:
        while not is_over.wait(every_s):
            one()

    with ThreadPoolExecutor(len(work)) as pool:
        going = [pool.submit(go_on, one) for one in work]
        try:
            yield
        finally:
            is_over.set()
    for one in going:
        one.result()


@contextlib.contextmanager
def loaded(url: str) -> Iterator[None]:
    """A publisher that repeats itself and asks, and readers by WebSocket and by Server-Sent Events."""

    def publish() -> None:
        events = some(5, batchId="batch-of-the-suite", jobId="job-of-the-suite")
        for _ in range(2):
            assert http.post("/api/events", json=events).status_code == 201
        assert http.get("/api/executions?limit=1").status_code == 200

    with (
        httpx.Client(base_url=url, headers=HEADERS, trust_env=False, timeout=20) as http,
        http.stream("GET", "/api/events/stream") as stream,
        ph.connect(url, token=TOKEN) as client,
    ):
        lines = stream.iter_lines()
        watch = client.watch(on_events=lambda events, _: None, after="now")
        with meanwhile(publish), meanwhile(lambda: next(lines)):  # who reads leaves first, while there is something to read
            yield
        watch.close()


def figure(server: Running, series: str) -> float:
    """One line of /metrics."""
    text = httpx.get(f"{server.url}/metrics", headers=HEADERS, trust_env=False).text
    (found,) = [line for line in text.splitlines() if line.startswith(f"{series} ")]
    return float(found.rpartition(" ")[2])


def families(url: str) -> dict[str, str]:
    """The kinds of figures of a server, by name."""
    answer = httpx.get(f"{url}/metrics", headers=HEADERS, trust_env=False)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "_created" not in answer.text
    return dict(re.findall(r"^# TYPE (\w+) (\w+)$", answer.text, re.M))


def test_the_dashboard_has_something_to_show(tmp_path: Path, redis: Redis) -> None:
    """A loaded server of a log of many: each question has an answer, all figures are shown, and no alert fires."""
    with (
        shared(tmp_path, 1, redis.url) as (server,),
        loaded(server.url),
        asking([server.url], tmp_path / "prometheus") as prometheus,
    ):
        left = exprs()

        def all_answered() -> bool:
            time.sleep(0.2)
            left[:] = [expr for expr in left if not prometheus.has(expr)]
            return not left

        with contextlib.suppress(AssertionError):
            wait_for(all_answered)
        assert left == []
        known = families(server.url)
        rules = prometheus.rules()
        assert [rule["lastError"] for rule in rules if rule["health"] != "ok"] == []
        assert {alert for alert, _ in prometheus.firing()} <= {"PlayheadDiskNearlyFull"}
    samples = set(known) | {f"{name}_bucket" for name, kind in known.items() if kind == "histogram"}
    asked = set(OURS.findall(" ".join(exprs())))
    assert asked | set(OURS.findall(" ".join(rule["query"] for rule in rules))) <= samples
    assert {name for _, name, _ in READ.values()} <= asked
    assert [name for name in known if f"`{name}`" not in TEXT] == []


def test_alerts_say_what_to_do() -> None:
    """Each waits a while, says how bad it is, what is the matter and what to do; promtool finds nothing wrong with them."""
    rules = RULES.split("- alert: ")[1:]
    assert len(rules) >= 12
    for rule in rules:
        for needed in ("expr: ", "for: ", "labels: {severity: ", "summary: ", "description: "):
            assert rule.count(f" {needed}") == 1, rule
    if promtool := shutil.which("promtool", path=PATH):
        command = [promtool, "check", "rules", str(ROOT / "server" / "alerts.yml")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0 and f"{len(rules)} rules found" in done.stdout, done.stdout + done.stderr


def _poor() -> None:
    """Of a process: small files, as on a full disk, and few descriptors."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, -1))
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))


def without_a_segment(path: Path) -> Path:
    """A recording that has lost a file."""
    for _ in range(3):
        with Recording.open(path, segment_events=10) as recording:
            recording.append(some(10))
    sorted((path / "segments").iterdir())[0].unlink()
    return path


def test_each_alert_fires_on_its_fault(tmp_path: Path, redis: Redis) -> None:
    """
    Servers that are killed, stopped, without Redis, without disk, descriptors or a file, and asked by who may not.

    Times are shortened to seconds. All faults are real but one: to fill a whole disk is not ours, so for
    PlayheadDiskNearlyFull any disk counts as nearly full.
    """
    poor_path = without_a_segment(tmp_path / "poor.playhead")
    with (
        shared(tmp_path, 2, redis.url) as (one, two),
        process(poor_path, preexec_fn=_poor, stderr=subprocess.DEVNULL) as poor,
        asking([one.url, two.url, poor.url], tmp_path / "prometheus") as prometheus,
        ph.connect(two.url, token=TOKEN) as client,
        contextlib.ExitStack() as held,
        httpx.Client(trust_env=False, headers=HEADERS, timeout=30) as http,
    ):
        seen: set[tuple[str, str]] = set()

        def fires(*wanted: tuple[str, str]) -> None:
            def all_seen() -> bool:
                seen.update(prometheus.firing())
                time.sleep(0.1)
                return seen >= set(wanted)

            with contextlib.suppress(AssertionError):
                wait_for(all_seen)
            assert set(wanted) - seen == set()

        def fill() -> None:
            assert http.post(f"{poor.url}/api/events", json=some(1000, data={"x": "x" * 1000})).status_code in (201, 503)

        def guess() -> None:
            assert http.get(f"{one.url}/api/events", headers={"X-Playhead-Token": "a guess"}).status_code == 401

        watch = client.watch(on_events=lambda events, _: None, after="now")
        wait_for(lambda: client.status.state == "connected")
        post(one.url, some(10))
        for _ in range(145):
            held.enter_context(socket.create_connection(("127.0.0.1", poor.port)))
        with meanwhile(fill, guess):
            two.process.send_signal(signal.SIGSTOP)
            post(one.url, some(10))
            time.sleep(3)
            two.process.send_signal(signal.SIGCONT)
            fires(("PlayheadDeliveryLags", two.url))
            redis.freeze()
            with ThreadPoolExecutor(4) as pool:
                assert all(pool.map(lambda _: post(one.url, some(10))["provisional"], range(4)))
            fires(("PlayheadAppendsSlow", one.url))
            redis.kill()
            fires(("PlayheadDegraded", one.url), ("PlayheadDegraded", two.url))
            post(one.url, some(1500))
            with meanwhile(lambda: post(one.url, some(10))):
                fires(("PlayheadOutboxGrowing", one.url))
            watch.close()
            two.process.kill()
            of_poor = ("NotReady", "RecordingFailed", "Errors", "SegmentMissing", "DescriptorsNearlyUsedUp", "DiskNearlyFull")
            fires(
                ("PlayheadDown", two.url), ("PlayheadRefusesMuch", one.url), *((f"Playhead{one}", poor.url) for one in of_poor)
            )
            assert {alert for alert, _ in seen} == {rule["name"] for rule in prometheus.rules()}
            assert {alert for alert, url in seen if url == one.url}.isdisjoint(
                {"PlayheadDown", "PlayheadNotReady", "PlayheadRecordingFailed", "PlayheadErrors", "PlayheadSegmentMissing"}
            )


def test_figures_are_for_who_may_see_all_and_tell_of_nobody(tmp_path: Path) -> None:
    """An organisation's token: its own alone; none: 401. No token, organisation, batch, job or path that a client made up."""
    settings = Settings(recording=tmp_path / "a.playhead", port=0, token=TOKEN, jwt_secret="s" * 32)
    with running(settings) as server, httpx.Client(base_url=server.url, trust_env=False) as http:
        token = jwt.encode({"scope": "read publish", "org": "org-of-the-suite"}, "s" * 32, "HS256")
        ours = {"Authorization": f"Bearer {token}"}
        event = {"type": "job_started", "batchId": "batch-of-the-suite", "jobId": "job-of-the-suite"}
        assert http.post("/api/events", json=event | {"executionId": "run-of-the-suite"}, headers=ours).status_code == 201
        assert http.get("/path-of-the-suite?q=query-of-the-suite", headers=ours).status_code == 404
        assert http.request("PATCH", "/api/events", headers=ours).status_code == 405
        assert "playhead_events_accepted_total" not in http.get("/metrics", headers=ours).text
        assert http.get("/metrics").status_code == 401
        answer = http.get("/metrics", headers=HEADERS)
        assert answer.status_code == 200
        assert [word for word in ("of-the-suite", TOKEN, token, "PATCH", str(tmp_path)) if word in answer.text] == []


def test_what_happened_is_counted_where_it_happened(tmp_path: Path, server: Running) -> None:
    """Requests and messages, their errors and times, what is deleted; of one server, while another runs in the process."""
    brief = Settings(
        recording=tmp_path / "b.playhead", port=0, token=TOKEN, write_discovery=False, retention_s=1, sweep_s=0.05
    )
    socket_url = f"ws{server.url.removeprefix('http')}/api/events/ws"
    with (
        running(brief) as other,
        httpx.Client(base_url=server.url, headers=HEADERS, trust_env=False) as http,
        connect_socket(socket_url, additional_headers=HEADERS, proxy=None) as line,
    ):
        begun = time.time()
        for _ in range(3):
            assert http.post("/api/events", json=some(7)).status_code == 201
        assert http.post("/api/events", json={"type": "No"}).status_code == 422
        assert '"welcome"' in line.recv()
        line.send(json.dumps({"op": "publish", "id": "1", "events": some(2)}))
        assert '"published"' in line.recv()
        line.send(json.dumps({"op": "publish", "id": "2", "events": [{"type": "No"}]}))
        assert '"422"' in line.recv()
        stored = figure(server, "playhead_oldest_event_timestamp_seconds")
        assert begun - 1 < stored < time.time() + 1
        assert http.delete("/api/events?olderThan=0s").json() == {"deleted": 23}
        for series, value in (
            ('playhead_requests_total{call="/api/events",method="POST",status="2xx"}', 3),
            ('playhead_requests_total{call="/api/events",method="POST",status="4xx"}', 1),
            ('playhead_request_duration_seconds_count{call="/api/events",method="POST"}', 4),
            ('playhead_errors_total{status="422"}', 2),
            ("playhead_append_duration_seconds_count", 4),
            ("playhead_events_accepted_total", 23),
            ('playhead_events_deleted_total{why="asked"}', 23),
            ('playhead_events_deleted_total{why="expired"}', 0),
            ("playhead_retention_seconds", 30 * 86400),
            ("playhead_recording_failed", 0),
            ("playhead_ready", 1),
            ("playhead_websockets", 1),
        ):  # fmt: skip
            assert figure(server, series) == value, series
        other.recording.append(some(5))
        wait_for(lambda: figure(other, 'playhead_events_deleted_total{why="expired"}') == 5)
        assert figure(other, "playhead_append_duration_seconds_count") == 0
        assert figure(other, 'playhead_errors_total{status="422"}') == 0


def test_an_event_that_waits_for_readers_is_timed_once_for_all(server: Running) -> None:
    """What is handed out together is one observation, whatever the number of events and readers; nobody reads, none."""
    server.recording.append(some(10))
    assert figure(server, "playhead_delivery_lag_seconds_count") == 0
    seen: list[int] = []
    with ph.connect(server.url, token=TOKEN) as client:
        watches = [client.watch(on_events=lambda events, _: seen.extend(one.seq for one in events)) for _ in range(3)]
        wait_for(lambda: figure(server, "playhead_readers") == 3)
        seen.clear()
        server.recording.append(some(1000))
        wait_for(lambda: len(seen) == 3000)
        for watch in watches:
            watch.close()
    assert figure(server, "playhead_delivery_lag_seconds_count") == 1
    assert 0 < figure(server, "playhead_delivery_lag_seconds_sum") < 5


def test_a_call_that_fails_is_an_error_and_a_server_that_is_not_ready_none(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 counts, though it is answered outside of all that counts; the 503 of /readyz says how the server is."""

    def fail(recording: Recording) -> dict[str, Any]:
        raise RuntimeError("of the suite")

    with monkeypatch.context() as patched:
        patched.setattr(Recording, "stats", fail)
        assert httpx.get(f"{server.url}/api/stats", headers=HEADERS, trust_env=False).status_code == 500
    assert figure(server, 'playhead_errors_total{status="500"}') == 1
    assert figure(server, 'playhead_requests_total{call="/api/stats",method="GET",status="5xx"}') == 1
    monkeypatch.setattr(Recording, "failure", property(lambda recording: "the disk is full"))
    assert httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 503
    assert figure(server, "playhead_ready") == 0 and figure(server, "playhead_recording_failed") == 1
    assert figure(server, 'playhead_errors_total{status="503"}') == 0
